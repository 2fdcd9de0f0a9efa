"""Which rows a stage reads: exact shares, every row before any again, the same every time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from affectgpt.clip import Clip
from affectgpt.problems import InputError
from train.stages.curriculum import batch_by_length, draw_rows

COUNTS = {"tree": 7, "emotion_label": 20, "text": 3}
TURNS = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
# Tasks stand mixed, as they do in a file.
CLIPS = [
    Clip(id=f"{task}/{index}", messages=TURNS, task=task)
    for index in range(max(COUNTS.values()))
    for task, count in COUNTS.items()
    if index < count
]


def tasks_of(rows: list[int]) -> Counter[str]:
    return Counter(CLIPS[row].task for row in rows)


@pytest.mark.parametrize(
    ("mixture", "count", "shares"),
    [
        ({"tree": 1.0}, 5, {"tree": 5}),
        ({"tree": 1, "emotion_label": 3}, 40, {"tree": 10, "emotion_label": 30}),
        ({"tree": 0.1, "emotion_label": 0.2, "text": 0.7}, 90, {"tree": 9, "emotion_label": 18, "text": 63}),
        ({"tree": 0.2, "emotion_label": 0.1, "text": 0.7}, 90, {"tree": 18, "emotion_label": 9, "text": 63}),
        ({"tree": 0.01, "emotion_label": 0.99}, 1, {"emotion_label": 1}),
        ({"tree": 1, "emotion_label": 1, "text": 1}, 10, {"tree": 4, "emotion_label": 3, "text": 3}),
        ({"tree": 5, "text": 0.0}, 9, {"tree": 9}),
        ({"tree": 1, "text": 1}, 0, {}),
    ],
)
def test_shares_are_those_of_the_mixture(mixture: dict[str, float], count: int, shares: dict[str, int]) -> None:
    for seed in range(5):
        assert tasks_of(draw_rows(CLIPS, mixture, count, seed)) == shares


def test_shares_never_stray_by_a_whole_row() -> None:
    rng = np.random.default_rng(0)
    for seed in range(200):
        weights = dict(zip(COUNTS, rng.random(3) + 0.01, strict=True))
        count = int(rng.integers(1, 200))
        drawn = tasks_of(draw_rows(CLIPS, weights, count, seed))
        assert drawn.total() == count
        assert all(abs(drawn[task] - count * weight / sum(weights.values())) < 1 for task, weight in weights.items())


@pytest.mark.parametrize("count", [1, 6, 7, 8, 20, 21, 60])
def test_no_row_comes_again_before_all_came(count: int) -> None:
    rows = draw_rows(CLIPS, {"tree": 1}, count, seed=3)
    for start in range(0, count, COUNTS["tree"]):
        part = rows[start : start + COUNTS["tree"]]
        assert len(set(part)) == len(part)
    assert {CLIPS[row].task for row in rows} == {"tree"}


def test_no_row_of_a_mixture_comes_again_before_all_came() -> None:
    rows = draw_rows(CLIPS, {"tree": 1, "emotion_label": 2, "text": 1}, 200, seed=0)
    for task, size in COUNTS.items():
        of_task = [row for row in rows if CLIPS[row].task == task]
        for start in range(0, len(of_task), size):
            part = of_task[start : start + size]
            assert len(set(part)) == len(part)


def test_tasks_are_mixed_along_the_stage() -> None:
    rows = draw_rows(CLIPS, {"tree": 1, "emotion_label": 1}, 400, seed=0)
    for start in range(0, 400, 100):
        assert 30 <= tasks_of(rows[start : start + 100])["tree"] <= 70


def test_the_draw_depends_on_the_seed_only() -> None:
    mixture = {"tree": 1, "emotion_label": 2}
    first = draw_rows(CLIPS, mixture, 50, seed=1)
    np.random.seed(5)  # what others do with the global state must not matter
    assert draw_rows(CLIPS, mixture, 50, seed=1) == first
    assert draw_rows(CLIPS, mixture, 50, seed=2) != first


def test_a_task_without_rows_is_refused_with_advice() -> None:
    with pytest.raises(InputError, match=r"task 'trees', but no row has it\. Did you mean 'tree'\?"):
        draw_rows(CLIPS, {"tree": 1, "trees": 0.5}, 10, seed=0)
    with pytest.raises(InputError, match="'caption'"):
        draw_rows([], {"caption": 1}, 10, seed=0)
    assert draw_rows(CLIPS, {"tree": 1, "caption": 0}, 1, seed=0)  # of weight 0, it is not asked for


LENGTHS = {row: int(length) for row, length in enumerate(np.random.default_rng(0).integers(10, 500, 1000))}


@pytest.mark.parametrize("count", [0, 1, 5, 64, 65, 200, 1000])
@pytest.mark.parametrize("size", [1, 8])
def test_batches_by_length_hold_the_same_rows_in_their_window(count: int, size: int) -> None:
    rows = np.random.default_rng(count).permutation(count).tolist()
    ordered = batch_by_length(rows, LENGTHS, size, seed=0)
    assert len(ordered) == count
    for start in range(0, count, 8 * size):
        assert Counter(ordered[start : start + 8 * size]) == Counter(rows[start : start + 8 * size])


def test_rows_drawn_twice_stay_twice() -> None:
    rows = [1, 2, 3, 1, 2, 3, 1]
    assert Counter(batch_by_length(rows, LENGTHS, 2, seed=0)) == Counter(rows)


def test_rows_of_a_batch_are_of_like_length() -> None:
    rows, size = list(range(1000)), 8
    ordered = batch_by_length(rows, LENGTHS, size, seed=0)

    def padding(order: list[int]) -> float:
        lengths = [[LENGTHS[row] for row in order[start : start + size]] for start in range(0, len(order), size)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in lengths) / sum(map(sum, lengths))

    assert padding(ordered) < padding(rows) / 4
    for start in range(0, 960, 8 * size):  # within a window, batches do not overlap in length
        window = [ordered[first : first + size] for first in range(start, start + 8 * size, size)]
        spans = sorted((min(LENGTHS[r] for r in batch), max(LENGTHS[r] for r in batch)) for batch in window)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))


def test_batches_are_not_sorted_by_length_and_depend_on_the_seed() -> None:
    rows = list(range(512))
    first = batch_by_length(rows, LENGTHS, 8, seed=0)
    means = [np.mean([LENGTHS[row] for row in first[start : start + 8]]) for start in range(0, 64, 8)]
    assert means != sorted(means)
    assert batch_by_length(rows, LENGTHS, 8, seed=0) == first
    assert batch_by_length(rows, LENGTHS, 8, seed=1) != first
