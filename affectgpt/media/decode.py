"""Decoding of frames, sound and face crops. A file that cannot be read whole is refused, never silently shortened.

PyAV is the reader, here and in all other modules: see `read_video` for other readers of frames, and why they are not
the default.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import closing
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from affectgpt.media.orientation import UPRIGHT, orient, orientation_of
from affectgpt.media.readers import FrameReader, fetch, require_reader
from affectgpt.media.sampling import Sampling, Uniform, even_indices
from affectgpt.media.sound import read_audio, span_in_words
from affectgpt.media.source import MAX_PIXELS, MediaError, MediaFile, Track, open_media, opened, require_content

__all__ = ["MediaError", "open_media", "read_audio", "read_face", "read_frames", "read_video"]

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
        source: a video file, or one opened by `open_media`; frames are turned and mirrored as the file asks for,
            non-square pixels are left as they are.
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
    with opened(source) as media:
        track = media.track("video")
        begin, stop = start or 0.0, track.seconds if end is None else min(end, track.seconds)

        def choose(shown: np.ndarray) -> list[int]:
            try:
                return sampling.choose(shown, begin, stop)
            except ValueError as error:
                raise MediaError(f"{media.path}: {error}. Mend start, end or the times.") from error

        places, times = track.presentation()
        first = 0 if start is None else int(np.searchsorted(times, start))
        last = len(times) if end is None else int(np.searchsorted(times, end))
        chosen = [first + index for index in choose(times[first:last])]
        frames = _fetch(media, track, reader, sorted(set(chosen)), places, times)
        if frames is None:
            frames, times, chosen = _sweep(media, track, start, end, choose, times[first:last])
        if not chosen:
            raise MediaError(f"{media.path}: no video frame {span_in_words(start, end)}")
        return np.stack([frames[index] for index in chosen]), times[chosen]


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
        raise MediaError(f"{path}: not a whole .npy array of numbers ({error}). Save it again.") from error
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[3] != 3:
        raise MediaError(
            f"{path}: expected (N, H, W, 3) uint8 face crops, got {crops.shape} {crops.dtype}. Write them anew."
        )
    if not crops.size:
        raise MediaError(f"{path}: no face crop, its shape is {crops.shape}. Leave the file out of the row.")
    if crops[0, :, :, 0].size > MAX_PIXELS:
        raise MediaError(
            f"{path}: face crops of shape {crops.shape}, expected at most {MAX_PIXELS} pixels in each. Scale them down."
        )
    return np.array(crops[even_indices(len(crops), num_frames)])


def _fetch(
    media: MediaFile, track: Track, reader: FrameReader, wanted: list[int], places: np.ndarray, times: np.ndarray
) -> dict[int, np.ndarray] | None:
    """Fetch frames by their index in display order; None if only sequential decoding can determine them."""
    if not wanted or not track.is_indexed:
        return None
    films = [each for each in media.survey.tracks if each.kind == "video"]
    if reader in ("decord", "torchcodec") and len(films) == 1:  # of several, they choose by rules of their own
        with closing(media.decode(track)) as decoded:
            _, frame = next(decoded, (0.0, None))
        if isinstance(frame, VideoFrame) and orientation_of(frame) == UPRIGHT and not frame.interlaced_frame:
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
        before = track.keys[: np.searchsorted(track.keys, place, side="right")]
        before = before[track.times[before] <= time]
        if not len(before):
            return None
        first = int(before[-1])
        while stretches and first <= stretches[-1][1] + 1:
            first = min(first, stretches.pop()[0])
        stretches.append((first, place))
    indices = {int(track.stamps[place]): index for place, index in zip(places[wanted].tolist(), wanted, strict=True)}
    frames: dict[int, np.ndarray] = {}
    convert = _Converter()
    try:
        at = stretches[0][0]
        with media.packets(track, at) as (codec, packets):
            assert isinstance(codec, VideoCodecContext)
            rest = iter(packets)
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

    def take(wanted: Collection[int], first: int) -> tuple[dict[int, np.ndarray], np.ndarray]:
        frames: dict[int, np.ndarray] = {}
        times: list[float] = []
        convert = _Converter()
        with closing(media.decode(track, first)) as decoded:
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

    frames, times = take(set(choose(expected)), 0 if start is None else track.key_before(start))
    if len(times) != len(expected):
        # The container's index was wrong, or a seek missed: count what decodes, from the beginning.
        frames, times = take((), 0)
    chosen = choose(times)
    if not frames.keys() >= set(chosen):
        frames, times = take(set(chosen), 0)
    return frames, times, chosen


class _Converter:
    """Converter of one video's frames to pixels. Some videos change their size: all frames get that of the first."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._size: tuple[int, int] | None = None

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        """Convert a frame to (H, W, 3) uint8, RGB, turned and mirrored as it is to be shown."""
        width, height = self._size = self._size or (frame.width, frame.height)
        # One thread: starting others takes longer than converting a frame.
        pixels = self._reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
        return orient(pixels, orientation_of(frame))
