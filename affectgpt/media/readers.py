"""Libraries that fetch frames by index, as alternatives to our own reading by PyAV, and for comparison with it.

They are used only after PyAV has read all packets of a file and verified that it is whole, and only if they agree with
it on the number of frames and the time of each.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal, get_args

import av
import numpy as np

FrameReader = Literal["auto", "pyav", "decord", "torchcodec"]

_INSTALL = {
    "decord": "pip install -c constraints.txt -e '.[decord]'",
    "torchcodec": "pip install 'torchcodec>=0.12,<0.14', and the shared libraries of FFmpeg 4 to 8 from your system",
}
_CLOCK_ERROR = 1e-3
"""Seconds by which a reader's time stamps may differ from ours."""


def reader_versions() -> dict[str, str]:
    """Return the version of each reader that can be loaded, by name; for logs."""
    versions = {"pyav": av.__version__}
    for name in _INSTALL:
        try:
            versions[name] = _load(name).__version__
        except ValueError:
            continue
    return versions


def require_reader(reader: FrameReader) -> None:
    """Raise ValueError if a reader that was asked for by name cannot be loaded; the message tells how to install it."""
    if reader not in get_args(FrameReader):
        raise ValueError(f"reader: expected one of {', '.join(get_args(FrameReader))}, got {reader!r}")
    if reader in _INSTALL:
        _load(reader)


def fetch(reader: Literal["decord", "torchcodec"], path: Path, wanted: list[int], times: np.ndarray) -> Any:
    """Fetch frames by index with a reader other than PyAV.

    Args:
        reader: its name.
        path: a file known to be whole, whose frames are neither rotated nor interlaced.
        wanted: indices of frames, in order.
        times: (n,) float64, seconds at which all frames of the file are shown.

    Returns:
        (len(wanted), H, W, 3) uint8, RGB; None if the reader fails or sees other frames than PyAV.
    """
    get = _get_by_decord if reader == "decord" else _get_by_torchcodec
    try:
        count, frames, seconds = get(_load(reader), str(path.absolute()), wanted)
    except Exception:  # These libraries raise any exception; PyAV then reads the file and reports what is wrong.
        return None
    clocks_agree = np.allclose(seconds - seconds[0], times[wanted] - times[wanted[0]], rtol=0, atol=_CLOCK_ERROR)
    return frames if count == len(times) and clocks_agree else None


def _get_by_decord(decord: Any, path: str, wanted: list[int]) -> tuple[int, np.ndarray, np.ndarray]:
    video = decord.VideoReader(path, num_threads=1)
    seconds = video.get_frame_timestamp(wanted)[:, 0]
    # Its get_batch and skip_frames seek, and then take the wrong frames where key frames are not closed.
    every = (video.next() for _ in range(wanted[-1] + 1))
    chosen = set(wanted)
    frames = [frame.asnumpy() for index, frame in enumerate(every) if index in chosen]
    return len(video), np.stack(frames), seconds


def _get_by_torchcodec(torchcodec: Any, path: str, wanted: list[int]) -> tuple[int, np.ndarray, np.ndarray]:
    video = torchcodec.decoders.VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=1)
    batch = video.get_frames_at(wanted)
    return len(video), batch.data.numpy(), batch.pts_seconds.numpy()


def _load(name: str) -> Any:
    try:
        # torchcodec imports torch, which a decoding worker otherwise does without.
        return importlib.import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"reader {name!r} cannot be loaded ({reason}): {_INSTALL[name]}") from error
