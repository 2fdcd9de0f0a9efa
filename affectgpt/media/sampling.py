"""Sampling of a video's frames: spread evenly, at a rate, or at given seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np


def even_indices(count: int, num_frames: int) -> list[int]:
    """Return `num_frames` indices spread evenly over `count` items; the last is repeated if there are too few."""
    if num_frames < 1:
        raise ValueError(f"num_frames must be 1 or more, got {num_frames}")
    if count < num_frames:
        return [min(k, count - 1) for k in range(num_frames)] if count else []
    return [k * count // num_frames for k in range(num_frames)]


@dataclass(frozen=True, slots=True)
class Uniform:
    """Frames at floor(k * n / num_frames) of n; if there are fewer, all of them, and the last is repeated."""

    num_frames: int

    def __post_init__(self) -> None:
        even_indices(0, self.num_frames)

    def choose(self, shown: np.ndarray, begin: float, stop: float) -> list[int]:
        """Choose indices into `shown`, the (n,) times in seconds at which the frames of [begin, stop) are shown."""
        return even_indices(len(shown), self.num_frames)


@dataclass(frozen=True, slots=True)
class Fps:
    """Frames nearest to every 1/fps of a second; if they are more than max_frames, so many, spread evenly.

    A video with fewer frames per second than `fps` gives some of them more than once.
    """

    fps: float
    max_frames: int

    def __post_init__(self) -> None:
        if not 0 < self.fps < math.inf or self.max_frames < 1:
            raise ValueError(f"expected fps above 0 and max_frames of 1 or more, got {self.fps} and {self.max_frames}")

    def choose(self, shown: np.ndarray, begin: float, stop: float) -> list[int]:
        """Choose indices into `shown`, the (n,) times in seconds at which the frames of [begin, stop) are shown."""
        if not len(shown):
            return []
        # The part may be a rounding error longer than a whole number of periods.
        ticks = max(1, math.ceil((stop - begin) * self.fps - 1e-6))
        seconds = begin + np.array(even_indices(ticks, min(ticks, self.max_frames))) / self.fps
        after = np.searchsorted(shown, seconds).clip(1, max(1, len(shown) - 1))
        before = after - 1
        if len(shown) == 1:
            return [0] * len(seconds)
        return np.where(seconds - shown[before] <= shown[after] - seconds, before, after).tolist()


@dataclass(frozen=True, slots=True)
class Times:
    """Frames shown at given times in seconds from the start of the file, in the order given."""

    times: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.times or not all(0 <= time < math.inf for time in self.times):
            raise ValueError(f"expected one or more seconds, each 0 or more, got {self.times}")

    def choose(self, shown: np.ndarray, begin: float, stop: float) -> list[int]:
        """Choose indices into `shown`, the (n,) times in seconds at which the frames of [begin, stop) are shown."""
        for time in self.times:
            if not begin <= time <= stop:
                raise ValueError(f"no frame at {time:g} s, the part that is read is from {begin:g} s to {stop:g} s")
        if not len(shown):
            return []
        return (np.searchsorted(shown, self.times, side="right") - 1).clip(0).tolist()


Sampling: TypeAlias = Uniform | Fps | Times
