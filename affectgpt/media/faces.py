"""Detection and tracking of one person's face in a clip without precomputed crops.

Crops are upright squares around the face: positions are smoothed over time, and interpolated where the detector misses
the face in between. People are told apart by position alone: a face belongs to the person whose last position it
overlaps. So a person who leaves and comes back elsewhere counts as another one, and two people filmed in turn at the
same position count as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[float, float, float, float]
"""Face as a detector returns it: left, top, width, height in pixels, about from brows to chin."""
Detector = Callable[[np.ndarray], Sequence[Box]]
"""Function from a frame (H, W, 3) uint8 RGB to the faces in it, in any order."""

_DETECTION_SIDE = 480
"""Longer side in pixels of the picture that is searched; a face must be at least about a twentieth of it."""
_SMALLEST_FACE = 24
_MARGIN = 1.35
"""Side of a crop relative to the box, so that it includes hair and chin."""
_SAME_PERSON = 0.2
"""Least overlap (intersection over union) of a crop with the person's last one: a move of two thirds of its side."""
_SMOOTHING = np.array([1, 4, 6, 4, 1]) / 16

_Square = tuple[float, float, float]
"""Centre x, centre y and side in pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class FaceTrack:
    """Face of one person over F frames."""

    crops: np.ndarray
    """(F, size, size, 3) uint8, RGB; saved with `np.save`, the `face` of a row."""
    found: np.ndarray
    """(F,) bool: whether the face was detected in the frame; elsewhere the position of the crop is estimated."""
    squares: np.ndarray
    """(F, 3) float64: centre x, centre y and side of each crop in pixels."""


def crop_faces(frames: np.ndarray, size: int = 224, detect: Detector | None = None) -> FaceTrack:
    """Crop the face of the person who is seen longest and largest; the middle of the frames where nobody is seen.

    Args:
        frames: (F, H, W, 3) uint8, RGB, in order of time.
        size: side of a crop in pixels.
        detect: the face detector, OpenCV's frontal Haar cascade by default.

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
    """Make OpenCV's detector of frontal faces. It runs on a CPU in milliseconds, and misses turned or tilted heads.

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
    """Track the people in the frames: for each person, the square around the face by the index of the frame."""
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
    """Compute the intersection over union of two squares."""
    reach = (first[2] + second[2]) / 2
    sides = [max(0.0, min(reach - abs(first[k] - second[k]), first[2], second[2])) for k in (0, 1)]
    common = sides[0] * sides[1]
    return common / (first[2] ** 2 + second[2] ** 2 - common)


def _fill(person: dict[int, _Square], count: int) -> np.ndarray:
    """Return a square for every frame, (count, 3): interpolated between detections, held before and after, smoothed."""
    numbers, seen = list(person), np.array(list(person.values()))
    reach = len(_SMOOTHING) // 2
    columns = [np.interp(np.arange(count), numbers, column) for column in seen.T]
    return np.stack([np.convolve(np.pad(c, reach, "edge"), _SMOOTHING, "valid") for c in columns], axis=1)


def _cut(frame: np.ndarray, square: np.ndarray, size: int) -> np.ndarray:
    """Crop the square from a frame as (size, size, 3) uint8; beyond the frame, its border is repeated."""
    x, y, side = square.tolist()
    pixels = max(1, round(side))
    # OpenCV counts from the middle of the first pixel, boxes from its corner.
    patch = cv2.getRectSubPix(np.ascontiguousarray(frame), (pixels, pixels), (x - 0.5, y - 0.5))
    return cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA if pixels > size else cv2.INTER_LINEAR)
