"""Finds one person's face in the frames of a clip that comes without precomputed crops.

Crops are upright squares around the face, as steady as the head: positions are smoothed over time, and where the finder
misses the face in between they are interpolated. Who is who is decided by place alone: a face belongs to the person
whose last place it overlaps. So a person who leaves and comes back elsewhere counts as another one, and two people
filmed in turn at the same place count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[float, float, float, float]
"""A face as a finder gives it: left, top, width, height in pixels, about from brows to chin."""
Detector = Callable[[np.ndarray], Sequence[Box]]
"""From a frame (H, W, 3) uint8 RGB to the faces on it, in any order."""

_DETECTION_SIDE = 480
"""Longer side in pixels of the picture that is searched; a face must be about a twentieth of it."""
_SMALLEST_FACE = 24
_MARGIN = 1.35
"""Side of a crop in sides of the box: hair and chin are on it too."""
_SAME_PERSON = 0.2
"""Least overlap (intersection over union) of a crop with the person's last one: a move of two thirds of its side."""
_SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16

_Square = tuple[float, float, float]
"""Centre x, centre y and side in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """One person's face over F frames."""

    crops: np.ndarray
    """(F, size, size, 3) uint8, RGB; saved with `np.save`, the `face` of a row."""
    found: np.ndarray
    """(F,) bool: whether the face was seen in the frame; elsewhere the crop is where it should be."""
    squares: np.ndarray
    """(F, 3) float64: centre x, centre y and side in pixels of what was cropped."""


def crop_faces(frames: np.ndarray, size: int = 224, detect: Detector | None = None) -> FaceTrack:
    """Crop the face of the person who is seen longest and largest; the middle of the frames where nobody is seen.

    Args:
        frames: (F, H, W, 3) uint8, RGB, in order of time.
        size: side of a crop in pixels.
        detect: the face finder, OpenCV's frontal Haar cascade by default.

    Raises:
        ValueError: frames of another type or shape.
        RuntimeError: no `detect`, and an OpenCV without Haar cascades.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape[1:3]:
        raise ValueError(f"expected frames (F, H, W, 3) uint8, got {frames.shape} {frames.dtype}")
    count, height, width = frames.shape[:3]
    detect = detect or haar_detector()
    people = _follow([sorted(detect(frame)) for frame in frames])
    found = np.zeros(count, bool)
    squares = np.tile([width / 2, height / 2, min(width, height)], (count, 1))
    if people:
        person = max(people, key=lambda seen: sum(side for _, _, side in seen.values()))
        found[list(person)] = True
        squares = _fill(person, count)
    crops = np.empty((count, size, size, 3), np.uint8)
    for crop, frame, square in zip(crops, frames, squares, strict=True):
        crop[:] = _cut(frame, square, size)
    return FaceTrack(crops, found, squares)


def haar_detector() -> Detector:
    """OpenCV's finder of frontal faces. It runs on a CPU in milliseconds, and misses heads that are turned or tilted.

    Raises:
        RuntimeError: this OpenCV has no Haar cascades.
    """
    try:
        from cv2.data import haarcascades

        cascade = cv2.CascadeClassifier(haarcascades + "haarcascade_frontalface_alt2.xml")
        missing = cascade.empty()
    except (ImportError, AttributeError):
        missing = True
    if missing:
        raise RuntimeError(
            f"OpenCV {cv2.__version__} has no Haar cascades, which find faces; OpenCV 4 has. "
            "Install it with: pip install 'opencv-python-headless>=4.10,<5'"
        )

    def detect(frame: np.ndarray) -> list[Box]:
        height, width = frame.shape[:2]
        scale = min(1.0, _DETECTION_SIDE / max(height, width))
        grey = cv2.cvtColor(np.ascontiguousarray(frame), cv2.COLOR_RGB2GRAY)
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        grey = cv2.resize(grey, small, interpolation=cv2.INTER_AREA)
        boxes = cascade.detectMultiScale(grey, 1.1, 4, minSize=(_SMALLEST_FACE, _SMALLEST_FACE))
        return [(x / scale, y / scale, w / scale, h / scale) for x, y, w, h in np.reshape(boxes, (-1, 4)).tolist()]

    return detect


def _follow(boxes: list[list[Box]]) -> list[dict[int, _Square]]:
    """The people in the frames: for each, the square around the face by the number of the frame."""
    people: list[dict[int, _Square]] = []
    last: list[_Square] = []
    for number, on_frame in enumerate(boxes):
        squares = [(x + w / 2, y + h / 2, _MARGIN * max(w, h)) for x, y, w, h in on_frame if w > 0 and h > 0]
        pairs = [(_overlap(a, b), -i, -j) for i, a in enumerate(last) for j, b in enumerate(squares)]
        free_people, free_squares = set(range(len(last))), set(range(len(squares)))
        for overlap, i, j in sorted(pairs, reverse=True):
            if overlap >= _SAME_PERSON and -i in free_people and -j in free_squares:
                free_people.remove(-i)
                free_squares.remove(-j)
                people[-i][number] = last[-i] = squares[-j]
        for j in sorted(free_squares):
            people.append({number: squares[j]})
            last.append(squares[j])
    return people


def _overlap(first: _Square, second: _Square) -> float:
    """Intersection over union."""
    reach = (first[2] + second[2]) / 2
    sides = [max(0.0, min(reach - abs(first[k] - second[k]), first[2], second[2])) for k in (0, 1)]
    common = sides[0] * sides[1]
    return common / (first[2] ** 2 + second[2] ** 2 - common)


def _fill(person: dict[int, _Square], count: int) -> np.ndarray:
    """(count, 3): a square for every frame, interpolated between those seen, held before and after, and smoothed."""
    numbers, seen = list(person), np.array(list(person.values()))
    reach = len(_SMOOTHING) // 2
    columns = [np.interp(np.arange(count), numbers, column) for column in seen.T]
    return np.stack([np.convolve(np.pad(c, reach, "edge"), _SMOOTHING, "valid") for c in columns], axis=1)


def _cut(frame: np.ndarray, square: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8: the square out of the frame; beyond the border, the border repeated."""
    x, y, side = square.tolist()
    pixels = max(1, round(side))
    # OpenCV counts from the middle of the first pixel, boxes from its corner.
    patch = cv2.getRectSubPix(np.ascontiguousarray(frame), (pixels, pixels), (x - 0.5, y - 0.5))
    return cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA if pixels > size else cv2.INTER_LINEAR)
