"""Orientation of a film's frames: cameras that are held sideways, or that mirror, say so in a display matrix."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame


class Orientation(NamedTuple):
    """Way from the stored pixels to those shown: first rows and columns are exchanged, then the picture is mirrored."""

    transpose: bool
    left_right: bool
    top_down: bool


UPRIGHT = Orientation(False, False, False)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Return how a frame is to be shown, by its display matrix, to a quarter turn; `UPRIGHT` if it has none.

    A pixel stored at (x, y) is shown at (a x + c y, b x + d y), where the matrix is [a, b, u, c, d, v, ...]. As in
    FFmpeg, only turns and mirrors count, not the scale.
    """
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return UPRIGHT
    a, b, _, c, d = np.frombuffer(memoryview(data), "<i4")[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def orient(pixels: np.ndarray, orientation: Orientation) -> np.ndarray:
    """Turn and mirror (H, W, 3) pixels, without copying them."""
    if orientation.transpose:
        pixels = pixels.swapaxes(0, 1)
    return pixels[:: -1 if orientation.top_down else 1, :: -1 if orientation.left_right else 1]
