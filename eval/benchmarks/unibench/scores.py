"""MER-UniBench: scores of a data set as published (`official`) or repaired (`clean`), with intervals.

docs/metrics.md explains what each mode computes, and the defects of the official one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from affectgpt.emotions.wheels import EmotionWheels
from eval.benchmarks.unibench.sets import BENCHMARKS, PRIMARY, Answers, Benchmark, Gold, Mode
from eval.benchmarks.unibench.tasks import ALL_LABELS, task_of
from eval.metrics.evaluation import Evaluation, evaluation
from eval.metrics.stats import RESAMPLES, Metric, Tally, best_constant, count_groups, resample, summary


class UnibenchEvaluation(Evaluation):
    """Scores of one data set, and counts made along the way."""

    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores of one checkpoint."""

    evaluation: UnibenchEvaluation
    drawn: np.ndarray
    """(resamples,) values of the primary metric, one for each resample."""
    size: float | None
    """Number of clips, or of groups where these are drawn, that the primary metric rests on."""


def score(
    benchmark: Benchmark,
    gold: Sequence[Gold],
    runs: Mapping[str, Answers],
    mode: Mode = "clean",
    wheels: EmotionWheels | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> dict[str, Scored]:
    """Score the answers of checkpoints on the same resamples, with the best constant answer beside them.

    Args:
        benchmark: data set.
        gold: gold labels of n clips.
        runs: name of a checkpoint -> its n answers.
        wheels: the benchmark's wheels; official mode needs them except for sentiment.
        groups: dialogue or video of each clip; whole groups are drawn for the intervals. None draws clips.
    """
    task, primary = task_of(benchmark, gold, mode, wheels), PRIMARY[benchmark.task]
    constants = {name: task.tallies([answer] * len(gold)) for name, answer in task.constants().items()}
    best, _ = best_constant([name for name in constants if name != ALL_LABELS], lambda name: constants[name][primary])
    constants = {name: constants[name] for name in (best, ALL_LABELS) if name in constants}
    tallies = constants | {f"checkpoint {run}": task.tallies(answers) for run, answers in runs.items()}
    flat = {f"{who}/{metric}": tally for who, metrics in tallies.items() for metric, tally in metrics.items()}
    # Each set has its own draws: the mean over sets treats them as independent.
    drawn = resample(flat, groups, resamples, seed + [*BENCHMARKS].index(benchmark.name))

    def metrics(who: str, count: int) -> dict[str, Metric]:
        return {name: _metric(tally, drawn[f"{who}/{name}"], count, groups) for name, tally in tallies[who].items()}

    beside = {name: metrics(name, len(gold)) for name in constants}
    scores: dict[str, Scored] = {}
    for run, answers in runs.items():
        missing = sum(answer is None for answer in answers)
        count = len(gold) - (missing if mode == "official" else 0)
        readable = int(task.readable(answers).sum())
        base = evaluation(
            benchmark.name, mode, primary, metrics(f"checkpoint {run}", count), readable / max(count, 1), beside
        )
        base["notes"] += task.notes(answers)
        counts = {"clips": len(gold), "missing": missing, "unread": len(gold) - missing - readable}
        who = f"checkpoint {run}"
        size = tallies[who][primary].size(groups)
        scores[run] = Scored({**base, "counts": counts | task.counts(answers)}, drawn[f"{who}/{primary}"], size)
    return scores


def _metric(tally: Tally, drawn: np.ndarray, count: int, groups: Sequence[str] | None) -> Metric:
    """Summarise like `stats.summary` without rounding: official scores are compared to the last digit."""
    result = summary(tally.value, drawn, count, count_groups(groups), tally.size(groups))
    return result if result["value"] is None else {**result, "value": tally.value}
