"""Opening of media files and reading of all their packets. An incomplete file is refused, never silently shortened.

A file counts as truncated when a packet or a frame of it is broken, or when its header promises more bytes (WAV, AVI,
Matroska), or clearly more seconds (over 0.5 s and over a tenth), than are there. Formats that promise neither
(transport streams, MP3, Ogg, raw AAC) show only the former.
"""

from __future__ import annotations

import math
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import Literal, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from affectgpt.media.media import is_lfs_pointer

av.logging.set_level(av.logging.PANIC)

MAX_PIXELS = 1 << 25
"""Most pixels of a frame: 8K fits, and the claims of a damaged header do not."""

# Demuxers by FFmpeg's names. Playlists (hls, concat, dash) are left out: they make FFmpeg open other files.
_DECLARING = ("mov", "matroska", "avi", "flv", "asf", "wav", "w64", "flac", "aiff", "caf")
_ESTIMATED = ("ogg", "mp3", "aac", "ac3", "amr", "mpeg", "mpegts", "gif")
_INDEXED = ("mov", "matroska")
_CODEC_OPTIONS = {"max_pixels": str(MAX_PIXELS)}
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_DECLARING + _ESTIMATED), **_CODEC_OPTIONS}
"""Options with which PyAV opens the given file and no other; every call that opens media uses them."""

_LOST_SECONDS, _LOST_SHARE = 0.5, 0.1
_SLACK_BYTES = 1024
"""Bytes by which a file may declare more than it has, since some writers overstate the size."""
_KEPT_BYTES = 1 << 26
"""Size up to which the packets of a file are kept; a larger file is read again to be decoded."""
_ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "av1")
_ZEROS = bytes(8)

Kind = Literal["video", "audio"]


class MediaError(ValueError):
    """Error of a file that cannot be used; the message gives the reason in words."""


@dataclass(slots=True)
class Track:
    """Stream of a file, after all packets of the file were read. Times are seconds from the start of the file."""

    stream: Stream
    times: list[float] = field(default_factory=list)
    """Display time of each packet that has a time stamp, in the order of the file."""
    ends: list[float] = field(default_factory=list)
    """End time of each packet in `times`."""
    shown: list[bool] = field(default_factory=list)
    """Visibility of each packet in `times`; False where an edit list hides it."""
    stamps: list[int | None] = field(default_factory=list)
    """Time stamp that the frame of each packet in `times` will carry."""
    keys: list[int] = field(default_factory=list)
    """Indices into `times` at which decoding can start."""
    packets: list[Packet] = field(default_factory=list)
    """All packets, also those without a stamp and the one that flushes the decoder; empty if too large to keep."""
    unstamped: int = 0
    """Number of packets without a stamp; the one that flushes the decoder is the first."""

    @property
    def covered(self) -> float:
        """Seconds from the first packet, or the start of the file, to the last."""
        return max(0.0, max(self.ends, default=0.0)) - min(0.0, min(self.times, default=0.0))

    @property
    def seconds(self) -> float:
        """End time of the last packet that is shown."""
        return max(0.0, max(compress(self.ends, self.shown), default=0.0))

    def presentation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the packets that are shown, in display order: indices into `times`, (n,), and times, (n,) float64."""
        places = np.flatnonzero(self.shown)
        times = np.array(self.times)[places]
        order = np.argsort(times, kind="stable")
        return places[order], times[order]

    def is_indexed(self) -> bool:
        """Tell whether each packet holds the frame shown at its time, so that frames can be picked by packet."""
        return (
            self.unstamped == 1
            and len(set(self.times)) == len(self.times)
            and _codec(self.stream) in _ONE_FRAME_A_PACKET
            and self.stream.container.format.name.startswith(_INDEXED)
        )


class MediaFile:
    """Open media file for `read_video` and `read_audio`, which share its packets. Made by `open_media`."""

    def __init__(self, path: Path, container: InputContainer) -> None:
        self.path = path
        self.origin = (container.start_time or 0) / av.time_base
        self._container = container
        self._tracks: list[Track] = []
        self._damaged = False

    def track(self, kind: Kind) -> Track:
        """Return the first video or audio stream, after all packets of the file have been read and verified.

        Raises:
            MediaError: there is no such stream, or the file is incomplete.
        """
        stream = self._find_stream(kind)
        if not self._tracks:
            self._read_packets()
        track = self._tracks[stream.index]
        container = self._container
        declared_bytes = _declared_bytes(self.path) or 0
        covered = promised = track.covered
        short = self._damaged or declared_bytes > container.size + _SLACK_BYTES
        if container.format.name.split(",")[0] in _DECLARING:
            longest = max(each.covered for each in self._tracks)
            by_file = (container.duration or 0) / av.time_base
            by_stream = float((stream.duration or 0) * (stream.time_base or 0))
            short = short or _is_short(longest, by_file) or _is_short(covered, by_stream)
            promised = max(by_file, by_stream, longest * declared_bytes / container.size)
        if short:
            raise self._truncated(covered, promised)
        return track

    def decode(
        self, track: Track, seek_to: float | None = None
    ) -> Generator[tuple[float, VideoFrame | AudioFrame], None, None]:
        """Yield the frames of a track with their display times, from the key frame before `seek_to` on.

        Raises:
            MediaError: a packet cannot be decoded, or the decoded frames end clearly before the track does.
        """
        clock = 0.0
        with self.packets(track, seek_to) as (_, packets):
            try:
                for packet in packets:
                    for decoded in packet.decode():
                        frame = cast("VideoFrame | AudioFrame", decoded)
                        time = clock if frame.time is None else frame.time - self.origin
                        clock = time + float((frame.duration or 0) * (frame.time_base or 0))
                        yield time, frame
            except av.FFmpegError as error:
                raise self._truncated(clock, track.seconds) from error
        if _is_short(clock, track.seconds):
            raise self._truncated(clock, track.seconds)

    @contextmanager
    def packets(self, track: Track, seek_to: float | None = None) -> Iterator[tuple[CodecContext, Iterable[Packet]]]:
        """Yield a fresh decoder and the packets of a track for it, from the key frame before `seek_to` on."""
        stream = track.stream
        # A reset audio decoder continues its random numbers for filling in: it must be a new one.
        is_fresh = not stream.codec_context.is_open or _codec(stream) in _ONE_FRAME_A_PACKET
        if track.packets and is_fresh:
            first = 0
            if seek_to is not None and track.unstamped == 1:
                first = max((key for key in track.keys if track.times[key] <= seek_to), default=0)
            stream.codec_context.flush_buffers()
            stream.codec_context.skip_frame = "DEFAULT"
            yield stream.codec_context, track.packets[first:]
            return
        with _open(self.path) as container:
            again = container.streams[stream.index]
            if seek_to is not None and again.time_base:
                with suppress(av.FFmpegError):
                    container.seek(math.floor((seek_to + self.origin) / again.time_base), stream=again)
            yield again.codec_context, container.demux(again)

    def _find_stream(self, kind: Kind) -> Stream:
        streams = [stream for stream in self._container.streams if stream.type == kind]
        streams = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
        if not streams:
            raise MediaError(f"{self.path}: no {kind} stream")
        stream = streams[0]
        if stream.codec_context is None:
            raise MediaError(f"{self.path}: no decoder for its {kind} stream")
        if isinstance(stream, VideoStream) and stream.width * stream.height > MAX_PIXELS:
            raise MediaError(
                f"{self.path}: frames of {stream.width} x {stream.height}, expected at most {MAX_PIXELS} pixels: "
                "the header is damaged, or the video has to be scaled down"
            )
        return stream

    def _read_packets(self) -> None:
        """Demultiplex the whole file. Nothing is decoded, so it costs little more than reading the bytes."""
        container = self._container
        self._tracks = [Track(stream) for stream in container.streams]
        bases = [stream.time_base or av.time_base for stream in container.streams]
        fractions = [(base.numerator, base.denominator) for base in bases]
        starts_with_zeros_when_lost = [
            container.format.name.startswith(_INDEXED) and _codec(stream) in _ONE_FRAME_A_PACKET
            for stream in container.streams
        ]
        # FFmpeg takes the end of a WAV that was written to a pipe, its length unset, for a broken packet.
        trusts_flags = _declared_bytes(self.path) != 0
        kept_bytes = 0
        try:
            for packet in container.demux():
                index = packet.stream.index  # packet.stream_index is 0 in those that flush
                track = self._tracks[index]
                self._damaged |= packet.is_corrupt and trusts_flags
                kept_bytes += packet.size
                if kept_bytes <= _KEPT_BYTES:
                    track.packets.append(packet)
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is None:
                    track.unstamped += 1
                    continue
                numerator, denominator = fractions[index]
                time = stamp * numerator / denominator - self.origin
                if packet.is_keyframe:
                    track.keys.append(len(track.times))
                track.stamps.append(packet.pts)
                track.times.append(time)
                track.ends.append(time + (packet.duration or 0) * numerator / denominator)
                track.shown.append(not packet.is_discard)
                if starts_with_zeros_when_lost[index] and packet.size >= len(_ZEROS):
                    self._damaged |= memoryview(packet)[: len(_ZEROS)] == _ZEROS
        except av.FFmpegError:
            self._damaged = True
        if kept_bytes > _KEPT_BYTES:
            for track in self._tracks:
                track.packets.clear()

    def _truncated(self, held: float, promised: float) -> MediaError:
        of_what = f" of the {promised:.2f} s promised" if promised > held else ""
        return MediaError(f"{self.path}: truncated or damaged: {held:.2f} s decode{of_what}")


@contextmanager
def open_media(path: str | Path) -> Iterator[MediaFile]:
    """Open a file for several reads, such as of its pictures and its sound: its packets are read only once.

    Raises:
        MediaError: nothing there, a folder, empty, or of no format that can be read.
    """
    with _open(Path(path)) as container:
        yield MediaFile(Path(path), container)


def require_content(path: str | Path) -> None:
    """Raise MediaError unless `path` is a non-empty file."""
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path}: {'a folder' if path.is_dir() else 'nothing there'}, expected a file")
    if not path.stat().st_size:
        raise MediaError(f"{path}: the file is empty")
    if is_lfs_pointer(path):
        raise MediaError(f"{path}: a pointer of Git LFS, not the file itself; fetch it with: git lfs pull")


@contextmanager
def _open(path: Path) -> Iterator[InputContainer]:
    require_content(path)
    try:
        # An absolute path, lest a name with a colon be taken for a protocol.
        container = av.open(os.path.abspath(path), options=OPTIONS, metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: no video or audio file that can be read ({error.strerror})") from error
    with container:
        for stream in container.streams:
            if stream.codec_context is not None:
                # Clips are decoded in parallel processes; threads inside each would only compete.
                stream.codec_context.thread_count = 1
                stream.codec_context.options = _CODEC_OPTIONS
        yield container


def _codec(stream: Stream) -> str:
    return "" if stream.codec_context is None else stream.codec_context.codec.canonical_name


def _declared_bytes(path: str | Path) -> int | None:
    """Return the size that a RIFF (WAV, AVI) or Matroska file declares; 0 if it was left open, None for other files."""
    with open(path, "rb") as file:
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


def _is_short(held: float, promised: float) -> bool:
    lost = promised - held
    return lost > _LOST_SECONDS and lost > _LOST_SHARE * promised
