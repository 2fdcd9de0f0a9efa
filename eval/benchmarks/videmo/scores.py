"""Scores on VidEmo's tasks, task by task and averaged as in its tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from eval.answers.judge import Judge
from eval.answers.tasks import GROUPS, OWN_TASKS, TASKS, weights
from eval.metrics.evaluation import Evaluation, evaluation
from eval.metrics.stats import RESAMPLES, Metric, Tally, intervals, mean_tally, weighted_mean
from eval.metrics.task_scores import TaskScore


def evaluate_task(task: str, score: TaskScore, resamples: int = RESAMPLES, judge: Judge | None = None) -> Evaluation:
    """Score one task: scores with intervals, coverage, give-up rate and the best constant answer.

    With a judge, `judge` is the mean of its verdicts on choices and texts, and `judge_coverage` their share.
    """
    kind = {**TASKS, **OWN_TASKS}[task]
    tallies = {**score.tallies, "give_up_rate": mean_tally(score.gave_up)}
    if judge is not None and kind in ("choice", "text"):
        verdicts = judge.verdicts(score.rows, "right" if kind == "choice" else "mark")
        tallies |= {"judge": mean_tally(verdicts), "judge_coverage": mean_tally(~np.isnan(verdicts))}
    name, constant = score.constant
    result = evaluation(
        task,
        "deterministic",
        score.primary,
        intervals(tallies, score.groups, resamples),
        float(score.readable.mean()),
        {f"always {name}": intervals(constant, score.groups, resamples)},
    )
    twice = len(score.rows) - len({row.key for row in score.rows})
    result["notes"] += [f"{twice} rows repeat the question of another row; all count"] if twice else []
    result["notes"] += score.notes
    return result


def group_averages(scores: Mapping[str, TaskScore], resamples: int = RESAMPLES) -> dict[str, Metric | None]:
    """Average primary scores as VidEmo's tables do; None where a task of an average is missing."""
    return {
        group: _average({task: scores[task] for task in share}, share, resamples) if set(share) <= set(scores) else None
        for group in GROUPS
        if (share := weights(group))
    }


def _average(scores: Mapping[str, TaskScore], share: Mapping[str, float], resamples: int) -> Metric:
    tallies: list[Tally] = [score.tallies[score.primary] for score in scores.values()]
    groups = [score.groups for score in scores.values()]
    return weighted_mean(tallies, [share[task] for task in scores], groups, resamples)


def all_together(tasks: Mapping[str, Evaluation], scores: Mapping[str, TaskScore], resamples: int) -> dict[str, Any]:
    """Combine all tasks into one evaluation: the unweighted mean of their primary scores, and each task's own."""
    mean = _average(scores, dict.fromkeys(scores, 1.0), resamples)
    constants = [score.constant[1][score.primary] for score in scores.values()]
    groups = [score.groups for score in scores.values()]
    constant = weighted_mean(constants, [1.0] * len(constants), groups, resamples)
    readable = np.concatenate([score.readable for score in scores.values()])
    every = {f"{task}/{one['primary']['name']}": {**one["primary"], "n": one["n"]} for task, one in tasks.items()}
    metrics: dict[str, Any] = {"mean_of_tasks": mean, **every}
    result = evaluation(
        "videmo",
        "deterministic",
        "mean_of_tasks",
        metrics,
        float(readable.mean()),
        {"the best constant of each": {"mean_of_tasks": constant}},
    )
    return {**result, "tasks": list(tasks.values())}
