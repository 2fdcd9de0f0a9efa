"""Reads frames, sound and face crops out of files. What cannot be read whole is refused, never silently shortened.

A file counts as truncated when a packet or a frame of it is broken, or when its header promises more bytes (WAV, AVI,
Matroska), or clearly more seconds (over 0.5 s and over a tenth), than are there. Formats that promise neither
(transport streams, MP3, Ogg, raw AAC) show only the former.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame

av.logging.set_level(av.logging.PANIC)

# Demuxers by FFmpeg's names. Playlists (hls, concat, dash) are left out: they make FFmpeg open other files.
_DECLARING = ("mov", "matroska", "avi", "flv", "asf", "wav", "w64", "flac", "aiff", "caf")
_ESTIMATED = ("ogg", "mp3", "aac", "ac3", "amr", "mpeg", "mpegts", "gif")
_OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(_DECLARING + _ESTIMATED)}

_LOST_SECONDS, _LOST_SHARE = 0.5, 0.1
_SLACK_BYTES = 1024
"""By how much a sloppy writer may overstate the size of its file."""
_MARGIN = 0.1
"""Seconds of sound around a cut that the resampler sees too, so that its filter has run in."""

Kind = Literal["video", "audio"]


class MediaError(ValueError):
    """A file cannot be used; the message says why in words."""


def read_frames(path: str | Path, num_frames: int, start: float | None = None, end: float | None = None) -> np.ndarray:
    """Frames spread evenly over a video, or over the part of it in [start, end).

    Of the n frames that decode there, those at floor(k * n / num_frames) are taken; where n is less than num_frames,
    all are, and the last is repeated. Memory holds no more than the frames taken, whatever the length of the video.

    Args:
        path: a video file; rotation metadata is applied, non-square pixels are left as they are.
        num_frames: how many to return, 1 or more.
        start, end: seconds from the start of the file.

    Returns:
        (num_frames, H, W, 3) uint8, RGB.

    Raises:
        MediaError: unreadable, truncated, without a video stream or without a frame in [start, end).
    """
    track = _survey(path, "video")
    expected = track.count(start, end)
    frames, found = _take_frames(track, start, end, even_indices(expected, num_frames), seek=start is not None)
    if found != expected:
        # The container's index was wrong, or a seek missed: count what decodes, from the beginning.
        _, found = _take_frames(track, start, end, [], seek=False)
        frames, _ = _take_frames(track, start, end, even_indices(found, num_frames), seek=False)
    if not frames:
        raise MediaError(f"{path}: no video frame {_span_in_words(start, end)}")
    return np.stack([frames[index] for index in even_indices(found, num_frames)])


def read_audio(path: str | Path, sample_rate: int, start: float | None = None, end: float | None = None) -> np.ndarray:
    """The sound of a file, or what its track holds of [start, end); channels are averaged, then resampled.

    Args:
        path: an audio or video file.
        sample_rate: samples per second to return.
        start, end: seconds from the start of the file.

    Returns:
        (samples,) float32.

    Raises:
        MediaError: unreadable, truncated, without an audio track, without a sample in [start, end), or with samples
            that are not finite.
    """
    track = _survey(path, "audio")
    earliest = -math.inf if start is None else start
    latest = math.inf if end is None else end
    resampler = av.AudioResampler(format="fltp", rate=sample_rate)
    blocks: list[np.ndarray] = []
    begin: float | None = None

    def resample(frame: AudioFrame | None) -> None:
        blocks.extend(block.to_ndarray().mean(axis=0) for block in resampler.resample(frame))

    with closing(_decode(track)) as frames:
        for time, frame in frames:
            assert isinstance(frame, AudioFrame)
            if time + frame.samples / frame.sample_rate <= earliest - _MARGIN:
                continue
            if time >= latest + _MARGIN:
                break
            begin = time if begin is None else begin
            try:
                resample(frame)
            except ValueError as error:
                raise MediaError(f"{path}: the sound changes its format at {time:.1f} s") from error
    if begin is not None:
        resample(None)
    samples = np.concatenate(blocks).astype(np.float32) if blocks else np.zeros(0, np.float32)
    if begin is not None:
        first = 0 if start is None else max(0, round((start - begin) * sample_rate))
        stop = None if end is None else max(0, round((end - begin) * sample_rate))
        samples = samples[first:stop]
    if not samples.size:
        raise MediaError(f"{path}: no audio sample {_span_in_words(start, end)}")
    if not np.isfinite(samples).all():
        raise MediaError(f"{path}: the sound holds samples that are NaN or infinite")
    return samples


def read_face(path: str | Path, num_frames: int) -> np.ndarray:
    """Face crops spread evenly over an array file, by the rule of `read_frames`. Only the crops taken are read.

    Args:
        path: an .npy file of aligned crops, (N, H, W, 3) uint8, RGB.
        num_frames: how many to return, 1 or more.

    Returns:
        (num_frames, H, W, 3) uint8, RGB.

    Raises:
        MediaError: unreadable, truncated, of another type or shape, pickled, or without a crop.
    """
    _require_content(path)
    try:
        crops = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise MediaError(f"{path}: not a whole .npy array of numbers ({error})") from error
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise MediaError(f"{path}: expected (N, H, W, 3) uint8 face crops, got {crops.shape} {crops.dtype}")
    if not crops.size:
        raise MediaError(f"{path}: no face crop, its shape is {crops.shape}")
    return np.array(crops[even_indices(len(crops), num_frames)])


def even_indices(count: int, num_frames: int) -> list[int]:
    """`num_frames` indices spread evenly over `count` items; the last is repeated where there are too few."""
    if num_frames < 1:
        raise ValueError(f"num_frames must be 1 or more, got {num_frames}")
    if count < num_frames:
        return [min(k, count - 1) for k in range(num_frames)] if count else []
    return [k * count // num_frames for k in range(num_frames)]


@dataclass(frozen=True, slots=True)
class _Track:
    """One stream of a file, after all packets of the file were read and found whole. Times are in seconds."""

    path: Path
    index: int
    origin: float
    """Time stamp of the container's start; every other time counts from it."""
    times: np.ndarray
    """(packets,) float64: when each packet is shown."""
    seconds: float
    """When the last packet that is shown ends."""

    def count(self, start: float | None, end: float | None) -> int:
        """How many packets are shown in [start, end)."""
        first = -math.inf if start is None else start
        last = math.inf if end is None else end
        return int(np.count_nonzero((self.times >= first) & (self.times < last)))


def _survey(path: str | Path, kind: Kind) -> _Track:
    """Read all packets of a file without decoding them; MediaError where some that it promises are not there."""
    with _open(path) as container:
        stream = _find_stream(container, kind, path)
        origin = (container.start_time or 0) / av.time_base
        first: dict[int, float] = {}
        last: dict[int, float] = {stream.index: 0.0}
        times: list[float] = []
        seconds = 0.0
        damaged = False
        declared_bytes = _declared_bytes(path)
        try:
            for packet in container.demux():
                stamp = packet.dts if packet.pts is None else packet.pts
                # FFmpeg takes the end of a WAV that was written to a pipe, its length unset, for a broken packet.
                damaged |= packet.is_corrupt and declared_bytes != 0
                if stamp is None or packet.time_base is None:
                    continue
                index = packet.stream_index
                time = float(stamp * packet.time_base) - origin
                ends = time + float((packet.duration or 0) * packet.time_base)
                first[index] = min(time, first.get(index, 0.0))
                last[index] = max(ends, last.get(index, 0.0))
                if index == stream.index and not packet.is_discard:
                    times.append(time)
                    seconds = max(ends, seconds)
        except av.FFmpegError:
            damaged = True
        covered = {index: last[index] - first.get(index, 0.0) for index in last}
        promised = covered[stream.index]
        short = damaged or (declared_bytes or 0) > container.size + _SLACK_BYTES
        if container.format.name.split(",")[0] in _DECLARING:
            longest = max(covered.values())
            by_file = (container.duration or 0) / av.time_base
            by_stream = float((stream.duration or 0) * (stream.time_base or 0))
            short = short or _is_short(longest, by_file) or _is_short(promised, by_stream)
            promised = max(by_file, by_stream, longest * (declared_bytes or 0) / container.size)
        if short:
            raise _truncated(path, covered[stream.index], promised)
        return _Track(Path(path), stream.index, origin, np.array(times), seconds)


def _decode(
    track: _Track, seek_to: float | None = None
) -> Generator[tuple[float, VideoFrame | AudioFrame], None, None]:
    """The frames of a track with the times at which they are shown, from the last key frame before `seek_to` on."""
    with _open(track.path) as container:
        stream = container.streams[track.index]
        # Clips are decoded in parallel processes; threads inside each would only compete.
        stream.codec_context.thread_count = 1
        if seek_to is not None and stream.time_base:
            with suppress(av.FFmpegError):
                container.seek(math.floor((seek_to + track.origin) / stream.time_base), stream=stream)
        clock = 0.0
        try:
            for decoded in container.decode(stream):
                frame = cast("VideoFrame | AudioFrame", decoded)
                time = clock if frame.time is None else frame.time - track.origin
                clock = time + float((frame.duration or 0) * (frame.time_base or 0))
                yield time, frame
        except av.FFmpegError as error:
            raise _truncated(track.path, clock, track.seconds) from error
        if _is_short(clock, track.seconds):
            raise _truncated(track.path, clock, track.seconds)


def _take_frames(
    track: _Track, start: float | None, end: float | None, wanted: Collection[int], *, seek: bool
) -> tuple[dict[int, np.ndarray], int]:
    """The wanted ones of the frames that decode in [start, end), by index, and how many decode there."""
    chosen = set(wanted)
    frames: dict[int, np.ndarray] = {}
    found = 0
    size: tuple[int, int] | None = None
    with closing(_decode(track, start if seek else None)) as decoded:
        for time, frame in decoded:
            assert isinstance(frame, VideoFrame)
            if start is not None and time < start:
                continue
            if end is not None and time >= end:
                break
            if found in chosen:
                # Some streams change their size; all frames get that of the first.
                size = size or (frame.width, frame.height)
                frames[found] = _upright(frame, *size)
            found += 1
    return frames, found


def _upright(frame: VideoFrame, width: int, height: int) -> np.ndarray:
    pixels = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.rot90(pixels, k=round(frame.rotation / 90) % 4)


@contextmanager
def _open(path: str | Path) -> Iterator[InputContainer]:
    _require_content(path)
    try:
        # An absolute path, lest a name with a colon be taken for a protocol.
        with av.open(os.path.abspath(path), options=_OPTIONS, metadata_errors="ignore") as container:
            yield container
    except (av.FFmpegError, OSError) as error:
        raise MediaError(f"{path}: no video or audio file that can be read ({error.strerror})") from error


def _require_content(path: str | Path) -> None:
    path = Path(path)
    if not path.is_file():
        raise MediaError(f"{path}: {'a folder' if path.is_dir() else 'nothing there'}, expected a file")
    if not path.stat().st_size:
        raise MediaError(f"{path}: the file is empty")


def _find_stream(container: InputContainer, kind: Kind, path: str | Path) -> Stream:
    streams = [stream for stream in container.streams if stream.type == kind]
    streams = [stream for stream in streams if not stream.disposition & Disposition.attached_pic]
    if not streams:
        raise MediaError(f"{path}: no {kind} stream")
    if streams[0].codec_context is None:
        raise MediaError(f"{path}: no decoder for its {kind} stream")
    return streams[0]


def _declared_bytes(path: str | Path) -> int | None:
    """The size that a RIFF (WAV, AVI) or Matroska file declares, 0 where it was left open, None for any other file."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        return 0 if size == 0xFFFFFFFF else size + 8
    segment = head.find(b"\x18\x53\x80\x67")
    if head.startswith(b"\x1a\x45\xdf\xa3") and segment > 0:
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


def _truncated(path: str | Path, held: float, promised: float) -> MediaError:
    of_what = f" of the {promised:.2f} s promised" if promised > held else ""
    return MediaError(f"{path}: truncated or damaged: {held:.2f} s decode{of_what}")


def _span_in_words(start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return "decodes"
    return f"between {start or 0.0:g} s and {'the end' if end is None else f'{end:g} s'}"
