"""Decoding of frames, sound and face crops. A file that cannot be read whole is refused, never silently shortened.

PyAV is the reader, here and in all other modules: see `read_video` for other readers of frames, and why they are not
the default.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, closing, nullcontext
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from affectgpt.media.readers import FrameReader, fetch, require_reader
from affectgpt.media.sampling import Sampling, Uniform, even_indices
from affectgpt.media.source import MAX_PIXELS, MediaError, MediaFile, Track, open_media, require_content

_MARGIN = 0.1
"""Seconds of sound around a cut that the resampler sees too, so that its filter has run in."""
_LOWEST_RATE, _HIGHEST_RATE = 1000, 1_000_000
"""Limits of a file's sample rate in Hz; beyond them its header is damaged, and resampling would need huge memory."""
_SKIPS_UNUSED = ("h264", "hevc")
"""Decoders that can leave out, packet by packet, frames that no other refers to."""


def read_frames(
    source: str | Path | MediaFile, num_frames: int, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Read frames spread evenly over a video, or over its part in [start, end): `read_video` with `Uniform`.

    Args:
        source: a video file.
        num_frames: number of frames to return, 1 or more.
        start, end: seconds from the start of the file.

    Returns:
        (num_frames, H, W, 3) uint8, RGB.

    Raises:
        MediaError: unreadable, truncated, without a video stream or without a frame in [start, end).
    """
    return read_video(source, Uniform(num_frames), start, end)[0]


def read_video(
    source: str | Path | MediaFile,
    sampling: Sampling,
    start: float | None = None,
    end: float | None = None,
    reader: FrameReader = "auto",
) -> tuple[np.ndarray, np.ndarray]:
    """Read frames of a video, or of its part in [start, end), and the times at which they are shown.

    Memory holds the frames taken and, for files up to 64 MB, the packets, whatever the length of the video.

    Args:
        source: a video file, or one opened by `open_media`; rotation metadata is applied, non-square pixels are left as
            they are.
        sampling: choice of frames: `Uniform`, `Fps` or `Times`.
        start, end: seconds from the start of the file.
        reader: library that decodes. All give the same frames: if another than PyAV fails, or counts or times the
            frames differently from PyAV, PyAV reads that file. `auto` is PyAV, which here decodes only what the
            wanted frames need: 16 frames each of drawn clips and of H.264 of 360p and 720p took it, on one thread and
            with the check that the file is whole, 0.85 of the time of torchcodec alone, 0.74 of decord, 0.64 of OpenCV
            and 0.56 of PyAV in a plain loop (`scripts/bench_decode.py`, medians of nine rounds).

    Returns:
        (F, H, W, 3) uint8, RGB, and (F,) float64, seconds from the start of the file.

    Raises:
        MediaError: unreadable, truncated, without a video stream, without a frame in [start, end), or without one at a
            time that `sampling` names.
        ValueError: the reader is not installed.
    """
    require_reader(reader)
    with _opened(source) as media:
        track = media.track("video")
        begin, stop = start or 0.0, track.seconds if end is None else min(end, track.seconds)

        def choose(shown: np.ndarray) -> list[int]:
            try:
                return sampling.choose(shown, begin, stop)
            except ValueError as error:
                raise MediaError(f"{media.path}: {error}") from error

        places, times = track.presentation()
        first = 0 if start is None else int(np.searchsorted(times, start))
        last = len(times) if end is None else int(np.searchsorted(times, end))
        chosen = [first + index for index in choose(times[first:last])]
        frames = _fetch(media, track, reader, sorted(set(chosen)), places, times)
        if frames is None:
            frames, times, chosen = _sweep(media, track, start, end, choose, times[first:last])
        if not chosen:
            raise MediaError(f"{media.path}: no video frame {_span_in_words(start, end)}")
        return np.stack([frames[index] for index in chosen]), times[chosen]


def read_audio(
    source: str | Path | MediaFile, sample_rate: int, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Read the sound of a file, or of its part in [start, end); channels are averaged, then resampled.

    Args:
        source: an audio or video file, or one opened by `open_media`.
        sample_rate: samples per second to return.
        start, end: seconds from the start of the file.

    Returns:
        (samples,) float32.

    Raises:
        MediaError: unreadable, truncated, without an audio track, without a sample in [start, end), or with samples
            that are not finite.
    """
    earliest = -math.inf if start is None else start
    latest = math.inf if end is None else end
    resampler = av.AudioResampler(format="fltp", rate=sample_rate)
    blocks: list[np.ndarray] = []
    begin: float | None = None

    def resample(frame: AudioFrame | None) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            blocks.extend(block.to_ndarray().mean(axis=0) for block in resampler.resample(frame))

    with _opened(source) as media, closing(media.decode(media.track("audio"))) as frames:
        path = media.path
        for time, frame in frames:
            assert isinstance(frame, AudioFrame)
            if not _LOWEST_RATE <= frame.sample_rate <= _HIGHEST_RATE:
                raise MediaError(
                    f"{path}: sound of {frame.sample_rate} Hz, expected 1 kHz to 1 MHz: its header is damaged"
                )
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
    """Read face crops spread evenly over an array file, by the rule of `Uniform`. Only the crops taken are read.

    Args:
        path: an .npy file of aligned crops, (N, H, W, 3) uint8, RGB.
        num_frames: number of crops to return, 1 or more.

    Returns:
        (num_frames, H, W, 3) uint8, RGB.

    Raises:
        MediaError: unreadable, truncated, of another type or shape, pickled, or without a crop.
    """
    require_content(path)
    try:
        with np.errstate(over="raise"):
            crops = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # A header is an untrusted Python literal: it can raise any exception.
        raise MediaError(f"{path}: not a whole .npy array of numbers ({error})") from error
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise MediaError(f"{path}: expected (N, H, W, 3) uint8 face crops, got {crops.shape} {crops.dtype}")
    if not crops.size:
        raise MediaError(f"{path}: no face crop, its shape is {crops.shape}")
    if crops[0, :, :, 0].size > MAX_PIXELS:
        raise MediaError(f"{path}: face crops of shape {crops.shape}, expected at most {MAX_PIXELS} pixels in each")
    return np.array(crops[even_indices(len(crops), num_frames)])


def _opened(source: str | Path | MediaFile) -> AbstractContextManager[MediaFile]:
    return nullcontext(source) if isinstance(source, MediaFile) else open_media(source)


def _fetch(
    media: MediaFile, track: Track, reader: FrameReader, wanted: list[int], places: np.ndarray, times: np.ndarray
) -> dict[int, np.ndarray] | None:
    """Fetch frames by their index in display order; None if only sequential decoding can determine them."""
    if not wanted or not track.is_indexed():
        return None
    if reader in ("decord", "torchcodec"):
        with closing(media.decode(track)) as decoded:
            _, frame = next(decoded, (0.0, None))
        if isinstance(frame, VideoFrame) and not frame.rotation and not frame.interlaced_frame:
            frames = fetch(reader, media.path, wanted, times)
            if frames is not None:
                return dict(zip(wanted, frames, strict=True))
    return _pick(media, track, wanted, places, times)


def _pick(
    media: MediaFile, track: Track, wanted: list[int], places: np.ndarray, times: np.ndarray
) -> dict[int, np.ndarray] | None:
    """Decode only what the wanted frames need: from the key frame before each, without unreferenced frames."""
    stretches: list[tuple[int, int]] = []
    for place, time in sorted(zip(places[wanted].tolist(), times[wanted].tolist(), strict=True)):
        # A frame that follows its key frame in the file but is shown before it needs the key frame before that.
        before = reversed(track.keys[: bisect_right(track.keys, place)])
        first = next((key for key in before if track.times[key] <= time), None)
        if first is None:
            return None
        while stretches and first <= stretches[-1][1] + 1:
            first = min(first, stretches.pop()[0])
        stretches.append((first, place))
    indices = {track.stamps[place]: index for place, index in zip(places[wanted].tolist(), wanted, strict=True)}
    frames: dict[int, np.ndarray] = {}
    convert = _Converter()
    try:
        with media.packets(track) as (codec, packets):
            assert isinstance(codec, VideoCodecContext)
            rest, at = iter(packets), 0
            for first, last in stretches:
                codec.flush_buffers()
                for packet in chain(islice(rest, first - at, last + 1 - at), [None]):
                    if codec.name in _SKIPS_UNUSED:
                        codec.skip_frame = "DEFAULT" if packet and packet.pts in indices else "NONREF"
                    for frame in codec.decode(packet):
                        if frame.pts in indices:
                            frames[indices[frame.pts]] = convert(frame)
                at = last + 1
    except av.FFmpegError:
        return None
    return frames if len(frames) == len(wanted) else None


def _sweep(
    media: MediaFile,
    track: Track,
    start: float | None,
    end: float | None,
    choose: Callable[[np.ndarray], list[int]],
    expected: np.ndarray,
) -> tuple[dict[int, np.ndarray], np.ndarray, list[int]]:
    """Decode [start, end) frame by frame; return the chosen frames by index, all frames' times, and the choice."""

    def take(wanted: Collection[int], seek_to: float | None) -> tuple[dict[int, np.ndarray], np.ndarray]:
        frames: dict[int, np.ndarray] = {}
        times: list[float] = []
        convert = _Converter()
        with closing(media.decode(track, seek_to)) as decoded:
            for time, frame in decoded:
                assert isinstance(frame, VideoFrame)
                if start is not None and time < start:
                    continue
                if end is not None and time >= end:
                    break
                if len(times) in wanted:
                    frames[len(times)] = convert(frame)
                times.append(time)
        return frames, np.array(times)

    frames, times = take(set(choose(expected)), start)
    if len(times) != len(expected):
        # The container's index was wrong, or a seek missed: count what decodes, from the beginning.
        frames, times = take((), None)
    chosen = choose(times)
    if not frames.keys() >= set(chosen):
        frames, times = take(set(chosen), None)
    return frames, times, chosen


class _Converter:
    """Converter of one video's frames to pixels. Some videos change their size: all frames get that of the first."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Convert a frame to (H, W, 3) uint8, RGB, with its rotation applied."""
        width, height = self._size = self._size or (frame.width, frame.height)
        # One thread: starting others takes longer than converting a frame.
        pixels = self._reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
        return np.rot90(pixels, k=round(frame.rotation / 90) % 4)


def _span_in_words(start: float | None, end: float | None) -> str:
    if start is None and end is None:
        return "decodes"
    return f"between {start or 0.0:g} s and {'the end' if end is None else f'{end:g} s'}"
