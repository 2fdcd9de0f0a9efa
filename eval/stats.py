"""Intervals: bootstrap over clips, or over clusters of clips that are not independent (one speaker, one dialogue)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import numpy as np


class Metric(TypedDict):
    """A figure with its 95 % interval and the number of clips behind it. None where it cannot be computed."""

    value: float | None
    low: float | None
    high: float | None
    n: int


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    count: int,
    clusters: Sequence[str] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Metric:
    """A statistic and its percentile interval.

    Args:
        statistic: figure for an array of item indices, which may repeat; NaN where it is not defined.
        count: number of items.
        clusters: a cluster for each item; clusters are drawn, with all their items. Items themselves when None.
    """
    if count == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    rng = np.random.default_rng(seed)
    names = np.unique(np.asarray(clusters), return_inverse=True)[1] if clusters is not None else np.arange(count)
    members = np.split(np.argsort(names, kind="stable"), np.cumsum(np.bincount(names))[:-1])
    values = np.array(
        [
            statistic(np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))]))
            for _ in range(resamples)
        ]
    )
    values = values[~np.isnan(values)]
    value = statistic(np.arange(count))
    if np.isnan(value) or not len(values):
        return {"value": None, "low": None, "high": None, "n": count}
    low, high = np.percentile(values, [2.5, 97.5])
    return {"value": round(float(value), 6), "low": round(float(low), 6), "high": round(float(high), 6), "n": count}
