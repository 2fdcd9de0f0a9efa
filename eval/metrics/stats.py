"""Intervals, paired comparisons and constant answers: statistics that tell a score from luck.

A score is a `Tally`: parts of each clip that are summed, and a figure of the totals. Mean, recall, F1 and correlation
all fit this pattern, so that a resample is a row of weights and a thousand of them are one matrix product. A statistic
that is no function of sums (a rank correlation) goes through `bootstrap`, which calls a function for each resample.

Everything is drawn from a seed: same data, same seed, same interval.

A share of 0 or 1 has no spread to resample, and its bootstrap interval would have no width. There Wilson's interval
stands in. Where groups are drawn, each counts as a single clip in it: nothing tells how alike answers of a group are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict, TypeVar

import numpy as np
from scipy.special import ndtri

RESAMPLES = 1000
PERMUTATIONS = 10_000
_BLOCK = 1 << 21
"""Entries of a block of weights: 16 MB."""
_TIE = 1e-12
"""Largest difference that counts as a tie, since it may be rounding."""
FEW_GROUPS = 10
"""Number of groups under which an interval is only a rough guide."""
_T = TypeVar("_T")


class Metric(TypedDict):
    """Figure with its 95 % interval and the number of clips behind it; None where it cannot be computed."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    groups: NotRequired[int]
    """Number of speakers, dialogues or the like that the clips come from, where whole groups are drawn."""


class Difference(TypedDict):
    """Second score minus first on the same clips, its 95 % interval, and the p value of a paired permutation test."""

    value: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    groups: NotRequired[int]
    """Number of groups that are drawn and exchanged as a whole."""
    least_p: float
    """Smallest p that so many groups (or clips) can give, however far apart the scores are."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Parts that a score is made of."""

    parts: np.ndarray
    """(n, d) contributions of n clips to the totals."""
    figure: Callable[[np.ndarray], np.ndarray]
    """Function from (..., d) totals to (...) figures, NaN where undefined."""
    counted: np.ndarray | None = None
    """(n, K) marks of the clips that count in each of K shares (one, or the recalls of K classes), if the figure is
    their mean, and so between 0 and 1; None otherwise."""

    def size(self, clusters: Sequence[str] | None = None) -> float | None:
        """Return the number of clips, or of clusters, whose plain share would be as precise; None of no share.

        A share has the clips or clusters that count in it, the mean of K shares K² / sum of 1 / clips of a share; but
        never more than there are clusters, which may count in many shares.
        """
        if self.counted is None:
            return None
        counted = _by_cluster(self.counted, clusters) > 0
        clips = np.count_nonzero(counted, axis=0)
        clips = clips[clips > 0]
        most = float(counted.any(axis=1).sum())
        return min(most, float(len(clips) ** 2 / np.sum(1 / clips))) if len(clips) else None

    @property
    def value(self) -> float:
        """Figure of all clips; NaN where it is not defined."""
        return float(self.figure(self.parts.sum(axis=0))) if len(self.parts) else float("nan")


def mean_tally(values: Sequence[float] | np.ndarray, share: bool = True) -> Tally:
    """Average one value a clip, (n,); clips whose value is NaN are left out.

    Args:
        values: value of each clip.
        share: whether values lie between 0 and 1 by their meaning, as those of right or wrong do.
    """
    array = np.asarray(values, float)
    known = ~np.isnan(array)
    return Tally(
        np.stack([np.where(known, array, 0.0), known], axis=1),
        lambda sums: divide(sums[..., 0], sums[..., 1]),
        known[:, None] if share else None,
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
    drawn, groups = resample(tallies, clusters, resamples, seed), count_groups(clusters)
    return {
        name: summary(tally.value, drawn[name], len(tally.parts), groups, tally.size(clusters))
        for name, tally in tallies.items()
    }


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


def summary(
    value: float, drawn: np.ndarray, count: int, groups: int | None = None, size: float | None = None
) -> Metric:
    """Summarise a figure: its value, the middle 95 % of its resamples (undefined ones left out), the number of clips.

    Args:
        value: figure of all clips.
        drawn: (resamples,) figures of the resamples.
        count: number of clips.
        groups: number of groups that were drawn; None if clips were. A single group has no interval, nor has
            a single clip, unless the figure is a share.
        size: number of clips or groups that a share rests on, see `Tally.size`: Wilson's interval stands in at 0 and 1.
    """
    result: Metric = {"value": None, "low": None, "high": None, "n": count}
    if groups:
        result["groups"] = groups
    drawn = drawn[~np.isnan(drawn)]
    if np.isnan(value) or not len(drawn):
        return result
    result["value"] = round(float(value), 6)
    if groups == 1 or (count == 1 and size is None):
        return result
    low, high = np.percentile(drawn, [2.5, 97.5])
    if size is not None and (abs(value) < _TIE or abs(value - 1) < _TIE):
        low, high = wilson(round(value), size)
    return {**result, "low": round(float(low), 6), "high": round(float(high), 6)}


def size_of_mean(sizes: Sequence[float | None], weights: Sequence[float] | np.ndarray | None = None) -> float | None:
    """Return the number of clips of a weighted mean of shares, (sum of w)² / sum of w² / size; None if one has none."""
    known = [size for size in sizes if size]
    if not known or len(known) < len(sizes):
        return None
    shares = np.ones(len(known)) if weights is None else np.asarray(weights, float)
    return float(shares.sum() ** 2 / np.sum(shares**2 / known))


def wilson(share: float, size: float) -> tuple[float, float]:
    """Return Wilson's 95 % interval of a share of `size` clips (1927, without continuity correction)."""
    if size <= 0:
        return 0.0, 1.0
    square = float(ndtri(0.975)) ** 2 / size
    middle, half = share + square / 2, np.sqrt(square * share * (1 - share) + square**2 / 4)
    return float(max(0.0, (middle - half) / (1 + square))), float(min(1.0, (middle + half) / (1 + square)))


def count_groups(clusters: Sequence[str] | None) -> int | None:
    """Count the clusters; None if there are none to draw."""
    return None if clusters is None else len(set(clusters))


def warn_of_groups(groups: int | None) -> str:
    """Warn of an interval that rests on fewer than ten groups; empty if there is nothing to warn of."""
    if groups is None or groups >= FEW_GROUPS:
        return ""
    if groups == 1:
        return "All clips are of one group: no interval, since nothing tells how another group would score."
    return f"Only {groups} groups: the intervals are a rough guide, likely too narrow. Ten groups are the least."


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
    cluster, are swapped at random; p = (1 + swaps at least as far apart) / (1 + swaps). All G swapped is as far
    apart as none, so that no p is below 2 / 2^G: `least_p`.
    """
    before, after = _by_cluster(first.parts, clusters), _by_cluster(second.parts, clusters)
    assert len(first.parts) == len(second.parts)
    count, observed = len(before), second.value - first.value
    drawn = [
        second.figure(weights @ after) - first.figure(weights @ before) for weights in _weights(count, resamples, seed)
    ]
    groups = count_groups(clusters)
    result = summary(observed, np.concatenate(drawn) if drawn else np.empty(0), len(first.parts), groups)
    sizes = [size for tally in (first, second) if (size := tally.size(clusters))]
    at_ends = all(min(abs(tally.value), abs(tally.value - 1)) < _TIE for tally in (first, second))
    if len(sizes) == 2 and result["low"] is not None and at_ends:
        # One is never right and the other always: as a share of 1. Both are never or always right: as one of 0.
        edge = round(wilson(1.0, min(sizes))[0], 6)
        if abs(observed) < _TIE:
            result |= {"low": round(edge - 1, 6), "high": round(1 - edge, 6)}
        else:
            result |= {"low": edge, "high": 1.0} if observed > 0 else {"low": -1.0, "high": -edge}
    least = round(min(1.0, max(2.0 ** (1 - min(count, 64)), 1 / (1 + permutations))), 6)
    if result["value"] is None:
        return {**result, "p": None, "least_p": least}
    rng = np.random.default_rng([seed, 1])
    as_far = known = 0
    for size in _blocks(count, permutations):
        swapped = rng.integers(2, size=(size, count)).astype(float)
        moved = swapped @ (after - before)
        apart = second.figure(after.sum(axis=0) - moved) - first.figure(before.sum(axis=0) + moved)
        apart = apart[~np.isnan(apart)]
        known += len(apart)
        as_far += int(np.sum(np.abs(apart) >= abs(observed) - _TIE))
    return {**result, "p": round((1 + as_far) / (1 + known), 6), "least_p": least}


def weighted_mean(
    tallies: Sequence[Tally],
    weights: Sequence[float],
    clusters: Sequence[Sequence[str] | None] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Metric:
    """Average scores of different clips with weights, each resampled by itself: the average column of a table.

    Its number of groups is that of the score with the fewest.
    """
    groups = clusters or [None] * len(tallies)
    shares = np.asarray(weights, float) / np.sum(weights)
    value = sum(share * tally.value for share, tally in zip(shares, tallies, strict=True))
    drawn = [
        share * resample({"": tally}, group, resamples, seed + index)[""]
        for index, (share, tally, group) in enumerate(zip(shares, tallies, groups, strict=True))
    ]
    counted = [count_groups(group) for group in groups]
    sizes = [tally.size(group) for tally, group in zip(tallies, groups, strict=True)]
    size = None if 1 in counted else size_of_mean(sizes, shares)
    result = summary(float(value), np.sum(drawn, axis=0), sum(len(tally.parts) for tally in tallies), None, size)
    known = [count for count in counted if count is not None]
    return {**result, "groups": min(known)} if len(known) == len(counted) else result


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
    size: float | None = None,
) -> Metric:
    """Compute any statistic and its percentile interval. `interval` is many times faster where a `Tally` is enough.

    Args:
        statistic: figure for an array of item indices, which may repeat; NaN where it is not defined.
        count: number of items.
        clusters: cluster of each item; clusters are drawn, with all their items. None draws single items.
        size: number of items or clusters that the statistic rests on, if it is a share; see `summary`.
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
    return summary(statistic(np.arange(count)), values, count, count_groups(clusters), size)


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
