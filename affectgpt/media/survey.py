"""Survey of a media file from its packets: its streams, which of them are read, how long it is, whether it is whole.

A file counts as truncated when a packet of it is broken, or when its header promises more bytes (WAV, AVI, Matroska),
or clearly more seconds (over 0.5 s and over a tenth), than are there. Formats that promise neither (transport streams,
MP3, Ogg, raw AAC) show only the former.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from affectgpt.media.container import MAX_PIXELS, MediaError, NoSoundError

_LOST_SECONDS, _LOST_SHARE = 0.5, 0.1
ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1")
NO_STAMP = -(1 << 63)
"""Stamp of a packet that has none."""

Kind = Literal["video", "audio"]

_log = logging.getLogger(__name__)
_named_streams: set[str] = set()


@dataclass(slots=True)
class Track:
    """Stream of a file, after all packets of the file were read. Times are seconds from the start of the file."""

    index: int
    kind: str
    codec: str
    is_default: bool
    is_cover: bool
    size: tuple[int, int]
    """Width and height in pixels that the container gives; zeros for sound."""
    promised: float
    """Seconds that the header promises of this stream; 0 if it promises none."""
    times: np.ndarray
    """Display time of each packet that has a time stamp, in the order of the file, (n,) float64."""
    ends: np.ndarray
    """End time of each packet in `times`."""
    shown: np.ndarray
    """Visibility of each packet in `times`, (n,) bool; False where an edit list hides it."""
    stamps: np.ndarray
    """Time stamp that the frame of each packet in `times` will carry, (n,) int64, or `NO_STAMP`."""
    keys: np.ndarray
    """Indices into `times` at which decoding can start."""
    unstamped: int
    """Number of packets without a stamp; the one that flushes the decoder is the first."""
    seekable: bool
    """Whether the container can be sought by the times of its packets."""
    shifts: list[tuple[int, int]] = field(default_factory=list)
    """First packet of each further capture joined to the file, by index, and what its stamps are raised by."""

    @property
    def covered(self) -> float:
        """Seconds from the first packet, or the start of the file, to the last."""
        return max(0.0, self.ends.max(initial=0.0)) - min(0.0, self.times.min(initial=0.0))

    @property
    def seconds(self) -> float:
        """End time of the last packet that is shown."""
        return max(0.0, float(self.ends[self.shown].max(initial=0.0)))

    @property
    def is_indexed(self) -> bool:
        """Whether each packet holds the frame shown at its time, so that frames can be picked by packet."""
        return (
            self.seekable
            and self.unstamped == 1
            and len(np.unique(self.times)) == len(self.times)
            and self.codec in ONE_FRAME_A_PACKET
        )

    def presentation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the packets that are shown, in display order: indices into `times`, (n,), and times, (n,) float64."""
        indices = np.flatnonzero(self.shown)
        times = self.times[indices]
        order = np.argsort(times, kind="stable")
        return indices[order], times[order]

    def key_before(self, time: float) -> int:
        """Return the index of the last packet at or before a time at which decoding can start; 0 if there is none."""
        before = self.keys[self.times[self.keys] <= time] if self.unstamped == 1 else self.keys[:0]
        return int(before.max(initial=0))


@dataclass(slots=True)
class Survey:
    """Everything about a file that its packets tell."""

    path: Path
    origin: float
    """Time stamp of the start of the file in seconds."""
    tracks: list[Track]
    promised: float
    """Seconds that the header promises of the file; 0 if it promises none."""
    overstated: float
    """Bytes that the header promises, as a multiple of those of the file; at most 1 where all are there."""
    damaged: bool
    joined: bool
    """Whether the file was joined from captures whose packets cannot be put in order: some have no time stamps, or a
    capture lacks a stream of another."""

    @property
    def seconds(self) -> float:
        """Length of the pictures and the sound that are read, the longer of the two."""
        tracks = [self.choose("video"), self.choose("audio")]
        return max((track.seconds for track in tracks if track is not None), default=0.0)

    def choose(self, kind: Kind) -> Track | None:
        """Choose the stream that is read: the default one, else the first; no cover, and no still beside a film."""
        having = [track for track in self.tracks if track.kind == kind and not track.is_cover]
        moving = 1 if kind == "video" else 0

        def rank(track: Track) -> tuple[bool, bool, bool, bool]:
            packets = len(track.times)
            return bool(track.codec), packets > moving, packets > 0, track.is_default

        return max(having, key=rank, default=None)  # the first of the best

    def track(self, kind: Kind) -> Track:
        """Return the stream that is read, verified to be whole.

        Raises:
            MediaError: there is no such stream, or the file is incomplete.
        """
        track = self.choose(kind)
        if track is None:
            raise missing_stream(self.path, kind)
        if not track.codec:
            raise MediaError(f"{self.path}: no decoder for its {kind} stream. Convert it to H.264 and AAC.")
        width, height = track.size
        if width * height > MAX_PIXELS:
            raise MediaError(
                f"{self.path}: frames of {width} x {height}, expected at most {MAX_PIXELS} pixels: the header is "
                "damaged, or the video has to be scaled down. Copy it again, or scale it with FFmpeg."
            )
        if self.joined:
            raise MediaError(
                f"{self.path}: its time stamps begin anew, as where recordings were joined, and do not tell which "
                "sound belongs to which pictures. Convert each recording for itself, or the whole to MP4."
            )
        covered = track.covered
        short = self.damaged or self.overstated > 1
        longest = max(each.covered for each in self.tracks)
        short = short or is_short(longest, self.promised) or is_short(covered, track.promised)
        if short:
            raise truncated(self.path, covered, max(self.promised, track.promised, longest * self.overstated))
        self._name_choice(track)
        return track

    def choices(self) -> list[str]:
        """Return a sentence for each kind of which the file has several streams: how many, and which one is read."""
        sentences = []
        for kind in ("video", "audio"):
            having = [track for track in self.tracks if track.kind == kind and not track.is_cover]
            track = self.choose(kind)
            if len(having) > 1 and track is not None:
                why = "the default one" if track.is_default else "as none is marked as default"
                sentences.append(f"{len(having)} {kind} streams: stream {track.index} is read, {why}")
        return sentences

    def _name_choice(self, track: Track) -> None:
        """Log which of several streams is read, once in a process for each kind."""
        for sentence in self.choices():
            if f" {track.kind} " in sentence and track.kind not in _named_streams:
                _named_streams.add(track.kind)
                _log.warning("%s: %s. Other files with several are read in the same way.", self.path, sentence)


def missing_stream(path: Path, kind: Kind) -> MediaError:
    """Make the error of a file without pictures or without sound."""
    if kind == "video":
        return MediaError(f"{path}: no video stream. If it is sound alone, name it as the audio of its row.")
    return NoSoundError(
        f'{path}: no audio stream. If the clip has no sound, write "audio": false on its row; else name a file of its '
        'sound as "audio".'
    )


def truncated(path: Path, held: float, promised: float) -> MediaError:
    """Make the error of a file that is not whole."""
    of_what = f" of the {promised:.2f} s promised" if promised > held else ""
    return MediaError(f"{path}: truncated or damaged: {held:.2f} s decode{of_what}. Copy or download it again.")


def is_short(held: float, promised: float) -> bool:
    """Tell whether clearly fewer seconds are held than promised."""
    lost = promised - held
    return lost > _LOST_SECONDS and lost > _LOST_SHARE * promised
