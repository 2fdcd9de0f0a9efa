"""`affectgpt eval faces`: results on VidEmo's tasks, task by task and averaged as in its tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.llm.endpoint import ChatEndpoint
from affectgpt.problems import InputError
from eval.answers.judge import MAX_TOKENS, PROMPT_VERSION, Judge
from eval.answers.rows import read_aspects, read_rows
from eval.answers.tasks import GROUPS, OWN_TASKS, TASKS, weights
from eval.metrics.evaluation import Evaluation, describe, evaluation, with_interval
from eval.metrics.stats import RESAMPLES, Metric, Tally, intervals, mean_tally, weighted_mean
from eval.metrics.task_scores import TaskScore, score_task


def evaluate_task(task: str, score: TaskScore, resamples: int = RESAMPLES, judge: Judge | None = None) -> Evaluation:
    """One task's scores with intervals, coverage, give-up rate and the best constant answer.

    With a judge, `judge` is the mean of its verdicts on choices and texts, and `judge_coverage` the share that it gave.
    """
    kind = {**TASKS, **OWN_TASKS}[task]
    tallies = {**score.tallies, "give_up_rate": mean_tally(score.gave_up)}
    if judge is not None and kind in ("choice", "text"):
        verdicts = judge.verdicts(score.rows, "right" if kind == "choice" else "mark")
        tallies |= {"judge": mean_tally(verdicts), "judge_coverage": mean_tally(~np.isnan(verdicts))}
    name, constant = score.constant
    found = evaluation(
        task,
        "deterministic",
        score.primary,
        intervals(tallies, score.groups, resamples),
        float(score.readable.mean()),
        {f"always {name}": intervals(constant, score.groups, resamples)},
    )
    twice = len(score.rows) - len({row.key for row in score.rows})
    found["notes"] = [f"{twice} rows ask what another row asks; all count"] if twice else []
    return found


def group_averages(scores: Mapping[str, TaskScore], resamples: int = RESAMPLES) -> dict[str, Metric | None]:
    """The averages of VidEmo's tables, of the primary scores; None where a task of an average was not given."""
    return {
        group: _average({task: scores[task] for task in share}, share, resamples) if set(share) <= set(scores) else None
        for group in GROUPS
        if (share := weights(group))
    }


def _average(scores: Mapping[str, TaskScore], share: Mapping[str, float], resamples: int) -> Metric:
    tallies: list[Tally] = [score.tallies[score.primary] for score in scores.values()]
    groups = [score.groups for score in scores.values()]
    return weighted_mean(tallies, [share[task] for task in scores], groups, resamples)


def main(argv: list[str]) -> int:
    """Score results on VidEmo's tasks: attributes, expressions, cues, captions, trees."""
    parser = argparse.ArgumentParser(prog="affectgpt eval faces", description=main.__doc__)
    what = "JSONL of ms-swift, named by its task, or of affectgpt predict"
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.jsonl", help=what)
    parser.add_argument("--task", choices=[*TASKS, *OWN_TASKS], metavar="TASK", help="the task of all rows")
    asked = "Emo-CFG's list of open questions, which says the aspect of each"
    parser.add_argument("--questions", type=Path, metavar="QA.json", help=asked)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="of the bootstrap (1000)")
    url = "also ask a judge, at any OpenAI-compatible URL; its token is read from AFFECTGPT_LLM_TOKEN"
    parser.add_argument("--judge", metavar="URL", help=url)
    parser.add_argument("--judge-model", metavar="NAME", help="the model at that URL")
    parser.add_argument("--judge-cache", type=Path, metavar="FILE", help="where verdicts are kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    if bool(options.judge) != bool(options.judge_model):
        raise InputError("--judge and --judge-model go together: a URL, and the model that it serves.")
    judge = None
    if options.judge:
        judge = Judge(ChatEndpoint(options.judge, options.judge_model, MAX_TOKENS), options.judge_cache)
    rows = read_rows(options.results, options.task, read_aspects(options.questions) if options.questions else None)
    scores = {task: score_task(found) for task, found in rows.items()}
    resamples = max(1, options.resamples)
    tasks = {task: evaluate_task(task, score, resamples, judge) for task, score in scores.items()}
    groups = group_averages(scores, resamples)
    report: dict[str, Any] = (
        dict(next(iter(tasks.values()))) if len(tasks) == 1 else _together(tasks, scores, resamples)
    )
    if judge is not None:
        report["judge"] = {"model": judge.endpoint.model, "prompt_version": PROMPT_VERSION}
    if options.json:
        print(json.dumps({**report, "groups": groups}))
        return 0
    print("\n".join(describe(found) for found in tasks.values()))
    for group, metric in groups.items():
        if metric is not None:
            print(f"average, {group}: {with_interval(metric)}")
    return 0


def _together(tasks: Mapping[str, Evaluation], scores: Mapping[str, TaskScore], resamples: int) -> dict[str, Any]:
    """All tasks as one evaluation: the unweighted mean of their primary scores, and each by itself."""
    mean = _average(scores, dict.fromkeys(scores, 1.0), resamples)
    constants = [score.constant[1][score.primary] for score in scores.values()]
    groups = [score.groups for score in scores.values()]
    constant = weighted_mean(constants, [1.0] * len(constants), groups, resamples)
    readable = np.concatenate([score.readable for score in scores.values()])
    every = {
        f"{task}/{found['primary']['name']}": {**found["primary"], "n": found["n"]} for task, found in tasks.items()
    }
    metrics: dict[str, Any] = {"mean_of_tasks": mean, **every}
    found = evaluation(
        "videmo",
        "deterministic",
        "mean_of_tasks",
        metrics,
        float(readable.mean()),
        {"the best constant of each": {"mean_of_tasks": constant}},
    )
    return {**found, "tasks": list(tasks.values())}
