"""Which frames are taken."""

from __future__ import annotations

import math

import numpy as np
import pytest

from affectgpt.media.sampling import Fps, Times, Uniform

STEADY = np.arange(20) / 10  # 2 s at 10 frames a second
UNEVEN = np.array([0.0, 0.1, 0.2, 1.0, 1.8])


def test_uniform_counts_frames_whatever_their_times() -> None:
    assert Uniform(4).choose(STEADY, 0, 2) == [0, 5, 10, 15]
    assert Uniform(2).choose(UNEVEN, 0, 2) == [0, 2]
    assert Uniform(4).choose(UNEVEN[:2], 0, 2) == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("fps", "max_frames", "expected"),
    [
        (5, 100, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
        (5, 4, [0, 4, 10, 14]),  # of ten moments 0.2 s apart, those at 0, 2, 5 and 7
        (0.5, 100, [0]),
        (0.01, 100, [0]),
        (20, 10, [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]),
    ],
)
def test_fps_takes_the_nearest(fps: float, max_frames: int, expected: list[int]) -> None:
    assert Fps(fps, max_frames).choose(STEADY, 0, 2) == expected


def test_fps_of_uneven_frames() -> None:
    assert Fps(2, 100).choose(UNEVEN, 0, 2) == [0, 2, 3, 4]  # 0, 0.5, 1 and 1.5 s
    assert Fps(10, 100).choose(UNEVEN[:1], 0, 0.3) == [0, 0, 0]


def test_fps_of_a_part_starts_at_its_beginning() -> None:
    assert Fps(2, 100).choose(STEADY[13:], 1.25, 2) == [0, 4]  # 1.25 s: frame 13; 1.75 s: as near to 17 as to 18


def test_a_part_that_is_longer_by_a_rounding_error_has_no_frame_more() -> None:
    assert Fps(10, 100).choose(STEADY, 0, 0.1 + 0.2) == [0, 1, 2]


def test_fps_of_an_endless_claim_holds_no_more_than_asked() -> None:
    assert len(Fps(1000, 8).choose(STEADY, 0, 1e15)) == 8


def test_times_take_what_is_shown_then() -> None:
    assert Times((0.0, 0.05, 0.1, 0.99, 1.0, 2.0)).choose(UNEVEN, 0, 2) == [0, 0, 1, 2, 3, 4]
    assert Times((1.0, 0.0)).choose(UNEVEN, 0, 2) == [3, 0]
    assert Times((0.0,)).choose(UNEVEN + 0.5, 0, 3) == [0]  # before the first frame: the first


def test_times_outside_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no frame at 2\.5 s, the part that is read is from 0 s to 2 s"):
        Times((1.0, 2.5)).choose(STEADY, 0, 2)
    with pytest.raises(ValueError, match=r"no frame at 0\.5 s"):
        Times((0.5,)).choose(STEADY[10:], 1, 2)


@pytest.mark.parametrize("sampling", [Uniform(3), Fps(2, 3), Times((0.5,))])
def test_nothing_of_nothing(sampling: Uniform | Fps | Times) -> None:
    assert sampling.choose(np.zeros(0), 0, 1) == []


def test_settings_without_sense() -> None:
    with pytest.raises(ValueError, match="num_frames must be 1 or more, got 0"):
        Uniform(0)
    for fps, max_frames in [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (1, 0)]:
        with pytest.raises(ValueError, match="expected fps above 0"):
            Fps(fps, max_frames)
    for times in [(), (-1.0,), (math.nan,), (math.inf,)]:
        with pytest.raises(ValueError, match="expected one or more seconds"):
            Times(times)
