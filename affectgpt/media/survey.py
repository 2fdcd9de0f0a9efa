"""Survey of a media file: all its packets, whether it is whole, which streams are read, and how long it is.

A file counts as truncated when a packet of it is broken, or when its header promises more bytes (WAV, AVI, Matroska),
or clearly more seconds (over 0.5 s and over a tenth), than are there. Formats that promise neither (transport streams,
MP3, Ogg, raw AAC) show only the former.
"""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from affectgpt.media.container import (
    DECLARING,
    INDEXED,
    MAX_PIXELS,
    MediaError,
    NoSoundError,
    codec_of,
    open_container,
    require_content,
)
from affectgpt.media.wav import wav_with_its_length

_LOST_SECONDS, _LOST_SHARE = 0.5, 0.1
_SLACK_BYTES = 1024
"""Bytes by which a file may declare more than it has, since some writers overstate the size."""
KEPT_BYTES = 1 << 26
"""Size up to which the packets of a file are kept; a larger file is read again to be decoded."""
_KEPT_SURVEYS = 8
"""Files whose surveys a process keeps; that of an hour of film takes about 8 MB."""
ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1")
_ZEROS = bytes(8)
_BACK_S, _FORWARD_S = 1.0, 40_000.0
"""Seconds by which the stamps of a stream jump where another capture begins; forward where FFmpeg takes a lower stamp
for one that has passed the 26.5 hours after which MPEG counts anew."""
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
    """For each further capture joined to the file: index of its first packet, and what its stamps are raised by."""

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


class SurveyCache:
    """Surveys of the files that were read last, as long as they do not change."""

    def __init__(self) -> None:
        self._surveys: OrderedDict[tuple[str | int, ...], Survey] = OrderedDict()

    def get(self, path: Path) -> Survey | None:
        """Return the survey of a file; None if there is none of the file as it is now."""
        state = _state_of(path)
        if state in self._surveys:
            self._surveys.move_to_end(state)
        return self._surveys.get(state)

    def keep(self, survey: Survey) -> None:
        """Keep a survey; that of the file not read for longest is dropped."""
        if state := _state_of(survey.path):
            self._surveys[state] = survey
        while len(self._surveys) > _KEPT_SURVEYS:
            self._surveys.popitem(last=False)


def _state_of(path: Path) -> tuple[str | int, ...]:
    """Return what changes when a file does; nothing of a file that is gone."""
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return os.path.abspath(path), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


SURVEYS = SurveyCache()
"""Surveys of this process: the cuts of a long film cost one survey."""


def survey_of(path: str | Path) -> Survey:
    """Return the survey of a file, from the cache if it is there: its streams and its length, nothing decoded.

    Raises:
        MediaError: the file cannot be opened.
    """
    path = Path(path)
    require_content(path)
    if (known := SURVEYS.get(path)) is not None:
        return known
    with open_container(path) as container:
        survey, _ = survey_packets(path, container)
    SURVEYS.keep(survey)
    return survey


class _Column:
    """What is collected of one stream while its packets are read."""

    def __init__(self, stream: Stream, container: InputContainer) -> None:
        base = stream.time_base
        self.numerator, self.denominator = (base.numerator, base.denominator) if base else (av.time_base, 1)
        self.times: list[float] = []
        self.ends: list[float] = []
        self.shown: list[bool] = []
        self.stamps: list[int] = []
        self.keys: list[int] = []
        self.corrupt: list[int] = []
        self.captures: list[tuple[int, int]] = []
        """Index of the first packet of each capture, and its number in the file."""
        self.unstamped = 0
        self.clock = 0.0
        one_frame = codec_of(stream) in ONE_FRAME_A_PACKET
        self.starts_with_zeros_when_lost = one_frame and container.format.name.startswith(INDEXED)

    def add(self, packet: Packet, origin: float, capture: int) -> int:
        """Add a packet; return the number of the capture that it belongs to, given the last one begun by any stream."""
        stamp = packet.dts if packet.pts is None else packet.pts
        if packet.is_corrupt:
            self.corrupt.append(len(self.times))
        if stamp is None:
            self.unstamped += 1
            return capture
        time = stamp * self.numerator / self.denominator - origin
        clock = time if packet.dts is None else packet.dts * self.numerator / self.denominator - origin
        if not self.times:
            self.captures.append((0, capture))
        elif not -_BACK_S < clock - self.clock < _FORWARD_S:
            self.captures.append((len(self.times), max(self.captures[-1][1] + 1, capture)))
        self.clock = clock
        if packet.is_keyframe:
            self.keys.append(len(self.times))
        self.stamps.append(NO_STAMP if packet.pts is None else packet.pts)
        self.times.append(time)
        self.ends.append(time + (packet.duration or 0) * self.numerator / self.denominator)
        self.shown.append(not packet.is_discard)
        return max(capture, self.captures[-1][1])

    @property
    def broken(self) -> bool:
        """Whether a packet is corrupt other than those beside a seam, where a capture begins or breaks off."""
        seams = {start + beside for start, _ in self.captures[1:] for beside in (-1, 0)}
        return bool({*self.corrupt} - seams)


def survey_packets(path: Path, container: InputContainer) -> tuple[Survey, dict[int, list[Packet]]]:
    """Demultiplex a whole file. Nothing is decoded, so it costs little more than reading the bytes.

    Returns:
        Its survey, and the packets of each stream, the flushing ones included; empty lists if too large to keep.
    """
    origin = (container.start_time or 0) / av.time_base
    columns = [_Column(stream, container) for stream in container.streams]
    packets: dict[int, list[Packet]] = {stream.index: [] for stream in container.streams}
    declared = _declared_bytes(path)
    # FFmpeg takes the end of a WAV whose length is unset for a broken packet.
    trusts_flags = declared != 0
    kept_bytes, damaged, capture = 0, False, 0
    try:
        for packet in container.demux():
            index = packet.stream.index  # packet.stream_index is 0 in those that flush
            column = columns[index]
            kept_bytes += packet.size
            if kept_bytes <= KEPT_BYTES:
                packets[index].append(packet)
            capture = column.add(packet, origin, capture)
            if column.starts_with_zeros_when_lost and packet.size >= len(_ZEROS):
                damaged |= memoryview(packet)[: len(_ZEROS)] == _ZEROS
    except av.FFmpegError:
        damaged = True
    if kept_bytes > KEPT_BYTES:
        packets = {index: [] for index in packets}
    damaged |= trusts_flags and any(column.broken for column in columns)
    shifts = _join(columns) if capture else [[] for _ in columns]
    for stream, moved in zip(container.streams, shifts, strict=True):
        packets[stream.index] = [*shift(packets[stream.index], moved)]
    declaring = container.format.name.split(",")[0] in DECLARING
    seekable = container.format.name.startswith(INDEXED) and not capture
    tracks = [
        _track(stream, column, moved, declaring, seekable)
        for stream, column, moved in zip(container.streams, columns, shifts, strict=True)
    ]
    survey = Survey(
        path,
        origin,
        tracks,
        (container.duration or 0) / av.time_base if declaring else 0.0,
        (declared or 0) / container.size if (declared or 0) > container.size + _SLACK_BYTES else 1.0,
        damaged,
    )
    return survey, packets


def shift(packets: Sequence[Packet] | Iterator[Packet], shifts: Sequence[tuple[int, int]]) -> Iterator[Packet]:
    """Yield the packets of a stream, those of captures that were joined to it with their stamps raised."""
    moved, index, rest = 0, 0, [*shifts]
    for packet in packets:
        stamped = packet.pts is not None or packet.dts is not None
        while stamped and rest and index >= rest[0][0]:
            moved = rest.pop(0)[1]
        if moved and packet.pts is not None:
            packet.pts += moved
        if moved and packet.dts is not None:
            packet.dts += moved
        index += stamped
        yield packet


def _track(stream: Stream, column: _Column, shifts: list[tuple[int, int]], declaring: bool, seekable: bool) -> Track:
    size = (stream.width, stream.height) if codec_of(stream) and isinstance(stream, VideoStream) else (0, 0)
    return Track(
        stream.index,
        stream.type,
        codec_of(stream),
        bool(stream.disposition & Disposition.default),
        bool(stream.disposition & Disposition.attached_pic),
        size,
        float((stream.duration or 0) * (stream.time_base or 0)) if declaring else 0.0,
        np.array(column.times),
        np.array(column.ends),
        np.array(column.shown, bool),
        np.array(column.stamps, np.int64),
        np.array(column.keys, np.int64),
        column.unstamped,
        seekable,
        shifts,
    )


def _join(columns: Sequence[_Column]) -> list[list[tuple[int, int]]]:
    """Move the captures that a file was joined from behind each other, the same for all streams, so that their sound
    and pictures stay together; return `Track.shifts` of each stream."""
    spans: dict[int, list[tuple[_Column, int, int]]] = {}
    for column in columns:
        starts = [start for start, _ in column.captures]
        for (start, capture), end in zip(column.captures, [*starts[1:], len(column.times)], strict=True):
            spans.setdefault(capture, []).append((column, start, end))
    shifts: list[list[tuple[int, int]]] = [[] for _ in columns]
    end_s = 0.0
    for capture in sorted(spans):
        first = min(min(column.times[start:end]) for column, start, end in spans[capture])
        moved = end_s - first if capture else 0.0
        end_s = moved + max(max(column.ends[start:end]) for column, start, end in spans[capture])
        for column, start, end in spans[capture]:
            ticks = round(moved * column.denominator / column.numerator)
            seconds = ticks * column.numerator / column.denominator
            for index in range(start, end) if ticks else ():
                column.times[index] += seconds
                column.ends[index] += seconds
                column.stamps[index] += ticks if column.stamps[index] != NO_STAMP else 0
            if capture:
                shifts[columns.index(column)].append((start, ticks))
    return shifts


def _declared_bytes(path: Path) -> int | None:
    """Return the size that a RIFF (WAV, AVI) or Matroska file declares; 0 if it was left open, None for other files."""
    with wav_with_its_length(path) or open(path, "rb") as file:
        head = file.read(4096)
    if head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        return 0 if size == 0xFFFFFFFF else size + 8
    segment = head.find(b"\x18\x53\x80\x67")
    if head.startswith(b"\x1a\x45\xdf\xa3") and 0 < segment < len(head) - 4:
        start = segment + 4
        # A number of EBML: the leading zeros of its first byte tell how many bytes follow; all ones is "unknown".
        length = 9 - head[start].bit_length()
        mask = (1 << 7 * length) - 1
        size = int.from_bytes(head[start : start + length]) & mask
        return 0 if size == mask else start + length + size
    return None
