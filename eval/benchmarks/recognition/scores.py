"""Scores of predicted labels, numbers, sets of labels or distributions against gold ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eval.benchmarks.recognition.rows import PRIMARY, Recognition
from eval.metrics.evaluation import Evaluation, evaluation
from eval.metrics.recognition import average_precision, label_tallies, spearman
from eval.metrics.stats import RESAMPLES, Metric, Tally, best_constant, bootstrap, intervals, mean_tally


def evaluate(read: Recognition, dataset: str, resamples: int = RESAMPLES) -> Evaluation:
    """Compute the metrics of the kind of labels, with intervals, coverage and the best constant answer."""
    known = ~np.isnan(read.predicted) if read.kind == "numbers" else np.ones(len(read.names), bool)
    groups = [group for group, keep in zip(read.groups, known, strict=True) if keep] if read.groups else None
    metrics = intervals(read.tallies(), groups, resamples)
    if read.kind == "numbers":
        x, y = read.gold[known], read.predicted[known]
        metrics["spearman"] = bootstrap(lambda index: spearman(x[index], y[index]), len(x), groups, resamples)
    if read.kind == "distributions":
        metrics |= _ranking(read, resamples)
    rates = {"give_up_rate": mean_tally(read.gave_up)}
    metrics |= intervals(rates, read.groups, resamples)
    answer, constant = _constant(read)
    beside = {f"always {answer}": intervals(constant, groups, resamples)}
    result = evaluation(dataset, read.kind, PRIMARY[read.kind], metrics, float(read.readable.mean()), beside)
    result["notes"] += [*read.warnings, *([read.suspicion] if read.suspicion else [])]
    return result


def _ranking(read: Recognition, resamples: int) -> dict[str, Metric]:
    """Score the likeliest label: its accuracy, and mean average precision, against the label likeliest in gold."""
    top = read.gold.argmax(axis=1)
    scores = np.nan_to_num(read.predicted)

    def mean_precision(index: np.ndarray) -> float:
        precisions = [average_precision(top[index] == label, scores[index, label]) for label in np.unique(top[index])]
        return float(np.mean(precisions))

    size = label_tallies(top, top, len(read.labels))["uar"].size(read.groups)
    accuracy = mean_tally((scores.argmax(axis=1) == top) & read.readable)
    return intervals({"top_1": accuracy}, read.groups, resamples) | {
        "mean_ap": bootstrap(mean_precision, len(top), read.groups, min(resamples, 200), size=size)
    }


def _constant(read: Recognition) -> tuple[str, dict[str, Tally]]:
    """Choose the constant answer with the best primary score: a label, the most frequent labels, median or mean."""
    shape = read.gold.shape
    if read.kind == "numbers":
        middle = float(np.median(read.gold))
        known = ~np.isnan(read.predicted)
        return f"{middle:g}", read.tallies(np.where(known, middle, np.nan))
    candidates: Mapping[str, Any]
    if read.kind == "labels":
        candidates = {label: np.full(shape, code) for code, label in enumerate(read.labels)}
    elif read.kind == "sets":
        order = np.argsort(-np.sum(read.gold == 1, axis=0), kind="stable")
        prefixes = [order[: count + 1] for count in range(len(order))]
        candidates = {
            "+".join(read.labels[code] for code in codes): np.tile(np.isin(np.arange(shape[1]), codes), (shape[0], 1))
            for codes in prefixes
        }
    else:
        candidates = {"the mean": np.tile(np.mean(read.gold, axis=0), (shape[0], 1))}
    # UAR is the same for every constant label: the most frequent also has the best accuracy.
    chosen = "war" if read.kind == "labels" else PRIMARY[read.kind]
    answer, _ = best_constant(candidates, lambda name: read.tallies(candidates[name])[chosen])
    return answer, read.tallies(candidates[answer])
