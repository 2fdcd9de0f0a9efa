"""Intervals, paired comparisons and constant answers: statistics that tell a score from luck.

A score is a `Tally`: parts of each clip that are summed, and a figure of the totals. Mean, recall, F1 and correlation
all fit this pattern, so that a resample is a row of weights and a thousand of them are one matrix product. A statistic
that is no function of sums (a rank correlation) goes through `bootstrap`, which calls a function for each resample.

Everything is drawn from a seed: same data, same seed, same interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, TypeVar

import numpy as np

RESAMPLES = 1000
PERMUTATIONS = 10_000
_BLOCK = 1 << 21
"""Entries of a block of weights: 16 MB."""
_TIE = 1e-12
"""Largest difference that counts as a tie, since it may be rounding."""
_T = TypeVar("_T")


class Metric(TypedDict):
    """Figure with its 95 % interval and the number of clips behind it; None where it cannot be computed."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Difference(TypedDict):
    """Second score minus first on the same clips, its 95 % interval, and the p value of a paired permutation test."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Parts that a score is made of."""

    parts: np.ndarray
    """(n, d) contributions of n clips to the totals."""
    figure: Callable[[np.ndarray], np.ndarray]
    """Function from (..., d) totals to (...) figures, NaN where undefined."""

    @property
    def value(self) -> float:
        """Figure of all clips; NaN where it is not defined."""
        return float(self.figure(self.parts.sum(axis=0))) if len(self.parts) else float("nan")


def mean_tally(values: Sequence[float] | np.ndarray) -> Tally:
    """Average one value a clip, (n,); clips whose value is NaN are left out."""
    array = np.asarray(values, float)
    known = ~np.isnan(array)
    return Tally(
        np.stack([np.where(known, array, 0.0), known], axis=1), lambda sums: divide(sums[..., 0], sums[..., 1])
    )


def divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; NaN where `below` is 0."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.full(below.shape, np.nan), where=below != 0)


def interval(tally: Tally, clusters: Sequence[str] | None = None, resamples: int = RESAMPLES, seed: int = 0) -> Metric:
    """Compute a score with its percentile interval.

    Args:
        tally: score to resample.
        clusters: cluster of each clip (speaker, dialogue); clusters are drawn, with all their clips. None draws single
            clips, which is right only if clips are independent.
    """
    return intervals({"": tally}, clusters, resamples, seed)[""]


def intervals(
    tallies: Mapping[str, Tally], clusters: Sequence[str] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Metric]:
    """Compute scores of the same clips by name, each with its interval; they share the resamples, drawn once."""
    drawn = resample(tallies, clusters, resamples, seed)
    return {name: summary(tally.value, drawn[name], len(tally.parts)) for name, tally in tallies.items()}


def resample(
    tallies: Mapping[str, Tally], clusters: Sequence[str] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return by name (resamples,) figures of the same clips redrawn with replacement; NaN where undefined."""
    parts = {name: _by_cluster(tally.parts, clusters) for name, tally in tallies.items()}
    count = len(next(iter(parts.values()), ()))
    drawn: dict[str, list[np.ndarray]] = {name: [np.empty(0)] for name in tallies}
    for weights in _weights(count, resamples, seed):
        for name, tally in tallies.items():
            drawn[name].append(tally.figure(weights @ parts[name]))
    return {name: np.concatenate(blocks) for name, blocks in drawn.items()}


def summary(value: float, drawn: np.ndarray, count: int) -> Metric:
    """Summarise a figure, the middle 95 % of its resamples (undefined ones left out), and the number of clips."""
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return {"value": None, "low": None, "high": None, "n": count}
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"value": round(float(value), 6), "low": round(float(low), 6), "high": round(float(high), 6), "n": count}


def compare(
    first: Tally,
    second: Tally,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Difference:
    """Compute how far the second of two scores of the same clips is above the first.

    The interval is a paired bootstrap: both scores use the same resamples. The p value is two-sided and tests the
    hypothesis that it does not matter which model gave which answer: the answers to a clip, or to all clips of a
    cluster, are swapped at random; p = (1 + swaps at least as far apart) / (1 + swaps).
    """
    before, after = _by_cluster(first.parts, clusters), _by_cluster(second.parts, clusters)
    assert len(first.parts) == len(second.parts)
    count, observed = len(before), second.value - first.value
    drawn = [
        second.figure(weights @ after) - first.figure(weights @ before) for weights in _weights(count, resamples, seed)
    ]
    result = summary(observed, np.concatenate(drawn) if drawn else np.empty(0), len(first.parts))
    if result["value"] is None:
        return {**result, "p": None}
    rng = np.random.default_rng([seed, 1])
    as_far = known = 0
    for size in _blocks(count, permutations):
        swapped = rng.integers(2, size=(size, count)).astype(float)
        moved = swapped @ (after - before)
        apart = second.figure(after.sum(axis=0) - moved) - first.figure(before.sum(axis=0) + moved)
        apart = apart[~np.isnan(apart)]
        known += len(apart)
        as_far += int(np.sum(np.abs(apart) >= abs(observed) - _TIE))
    return {**result, "p": round((1 + as_far) / (1 + known), 6)}


def weighted_mean(
    tallies: Sequence[Tally],
    weights: Sequence[float],
    clusters: Sequence[Sequence[str] | None] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metric:
    """Average scores of different clips with weights, each resampled by itself: the average column of a table."""
    groups = clusters or [None] * len(tallies)
    shares = np.asarray(weights, float) / np.sum(weights)
    value = sum(share * tally.value for share, tally in zip(shares, tallies, strict=True))
    drawn = [
        share * resample({"": tally}, group, resamples, seed + index)[""]
        for index, (share, tally, group) in enumerate(zip(shares, tallies, groups, strict=True))
    ]
    return summary(float(value), np.sum(drawn, axis=0), sum(len(tally.parts) for tally in tallies))


def best_constant(answers: Iterable[_T], score: Callable[[_T], Tally]) -> tuple[_T, Tally]:
    """Return the constant answer that scores best, and its score; the first of equals.

    It is chosen with the gold labels in sight, so that no model with a constant answer does better. A score that does
    not exceed it has not shown that the model looks at the clip.
    """
    scored = [(answer, score(answer)) for answer in answers]
    return max(scored, key=lambda item: float(np.nan_to_num(item[1].value, nan=-np.inf)))


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    count: int,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metric:
    """Compute any statistic and its percentile interval. `interval` is many times faster where a `Tally` is enough.

    Args:
        statistic: figure for an array of item indices, which may repeat; NaN where it is not defined.
        count: number of items.
        clusters: cluster of each item; clusters are drawn, with all their items. None draws single items.
    """
    if count == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    rng = np.random.default_rng(seed)
    names = _codes(clusters, count)
    members = np.split(np.argsort(names, kind="stable"), np.cumsum(np.bincount(names))[:-1])
    values = np.array(
        [
            statistic(np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))]))
            for _ in range(resamples)
        ]
    )
    return summary(statistic(np.arange(count)), values, count)


def _codes(clusters: Sequence[str] | None, count: int) -> np.ndarray:
    return np.arange(count) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]


def _by_cluster(parts: np.ndarray, clusters: Sequence[str] | None) -> np.ndarray:
    """Sum the parts of each cluster: (clusters, d)."""
    if clusters is None:
        return parts.astype(float)
    codes = _codes(clusters, len(parts))
    sums: np.ndarray[Any, Any] = np.zeros((codes.max(initial=-1) + 1, parts.shape[1]))
    np.add.at(sums, codes, parts)
    return sums


def _blocks(count: int, rows: int) -> Iterator[int]:
    """Yield numbers of rows, such that a block of `count` columns stays small."""
    step = max(1, _BLOCK // max(count, 1))
    for start in range(0, rows if count else 0, step):
        yield min(step, rows - start)


def _weights(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield blocks (rows, count): how often each cluster is drawn in each resample."""
    rng = np.random.default_rng(seed)
    for rows in _blocks(count, resamples):
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(float)
