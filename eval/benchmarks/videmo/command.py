"""The command `affectgpt eval faces`: results on VidEmo's tasks, task by task and averaged as in its tables."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from affectgpt.llm.endpoint import ChatEndpoint
from affectgpt.problems import InputError
from eval.answers.fields import GOLD, RESPONSES, add_field_options
from eval.answers.judge import MAX_TOKENS, PROMPT_VERSION, Judge
from eval.answers.rows import read_aspects, read_rows
from eval.answers.tasks import OWN_TASKS, TASKS
from eval.benchmarks.videmo.scores import all_together, evaluate_task, group_averages
from eval.metrics.evaluation import describe, with_interval
from eval.metrics.stats import RESAMPLES
from eval.metrics.task_scores import score_task


def main(argv: list[str]) -> int:
    """Score results on VidEmo's tasks: attributes, expressions, cues, captions, trees."""
    parser = argparse.ArgumentParser(prog="affectgpt eval faces", description=main.__doc__)
    what = "JSONL of ms-swift, named by its task, or of affectgpt predict"
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.jsonl", help=what)
    parser.add_argument("--task", choices=[*TASKS, *OWN_TASKS], metavar="TASK", help="task of all rows")
    add_field_options(parser)
    asked = "Emo-CFG's list of open questions, with the aspect of each"
    parser.add_argument("--questions", type=Path, metavar="QA.json", help=asked)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="bootstrap resamples (1000)")
    url = "also ask a judge, at any OpenAI-compatible URL; its token is read from AFFECTGPT_LLM_TOKEN"
    parser.add_argument("--judge", metavar="URL", help=url)
    parser.add_argument("--judge-model", metavar="NAME", help="name of the model at that URL")
    parser.add_argument("--judge-cache", type=Path, metavar="FILE", help="file that caches verdicts")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    if bool(options.judge) != bool(options.judge_model):
        raise InputError("--judge and --judge-model go together: pass a URL and the name of a model that it serves.")
    judge = None
    if options.judge:
        judge = Judge(ChatEndpoint(options.judge, options.judge_model, MAX_TOKENS), options.judge_cache)
    aspects = read_aspects(options.questions) if options.questions else None
    roles = RESPONSES.named(options.prediction_field), GOLD.named(options.label_field)
    rows = read_rows(options.results, options.task, aspects, *roles)
    scores = {task: score_task(answered) for task, answered in rows.items()}
    resamples = max(1, options.resamples)
    tasks = {task: evaluate_task(task, score, resamples, judge) for task, score in scores.items()}
    groups = group_averages(scores, resamples)
    report: dict[str, Any] = (
        dict(next(iter(tasks.values()))) if len(tasks) == 1 else all_together(tasks, scores, resamples)
    )
    if judge is not None:
        report["judge"] = {"model": judge.endpoint.model, "prompt_version": PROMPT_VERSION}
    if options.json:
        print(json.dumps({**report, "groups": groups}))
        return 0
    print("\n".join(describe(result) for result in tasks.values()))
    for group, metric in groups.items():
        if metric is not None:
            print(f"average, {group}: {with_interval(metric)}")
    return 0
