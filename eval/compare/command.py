"""The command `affectgpt eval compare`: two models on the same clips."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from affectgpt.problems import InputError
from eval.answers.tasks import OWN_TASKS, TASKS
from eval.benchmarks.recognition.rows import KINDS
from eval.compare.paired import compare_labels, compare_tallies, describe_comparison, paired_scores
from eval.metrics.stats import RESAMPLES


def main(argv: list[str]) -> int:
    """Compare two prediction files of the same clips: paired differences, intervals, p values."""
    parser = argparse.ArgumentParser(prog="affectgpt eval compare", description=main.__doc__)
    parser.add_argument("first", type=Path, metavar="A", help="predictions: CSV, JSONL, or results of ms-swift")
    parser.add_argument("second", type=Path, metavar="B", help="predictions of another model on the same clips")
    parser.add_argument("--labels", type=Path, metavar="L", help="gold labels, if A and B do not hold them")
    parser.add_argument("--kind", choices=KINDS, help="kind of the labels, as in 'affectgpt eval recognition'")
    tasks = "task of all rows, as in 'affectgpt eval faces'"
    parser.add_argument("--task", choices=[*TASKS, *OWN_TASKS], metavar="TASK", help=tasks)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="bootstrap resamples (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    resamples = max(1, options.resamples)
    if options.labels is not None:
        metrics = compare_labels(options.labels, options.first, options.second, options.kind, resamples)
    elif ".csv" in (options.first.suffix.lower(), options.second.suffix.lower()):
        raise InputError(f"{options.first}: holds predictions but no gold labels. Pass them with --labels L.csv.")
    else:
        metrics = {
            f"{task}/{name}": compared
            for task, (before, after) in paired_scores([options.first], [options.second], options.task).items()
            for name, compared in compare_tallies(before.tallies, after.tallies, before.groups, resamples).items()
        }
    if options.json:
        print(json.dumps({"a": str(options.first), "b": str(options.second), "metrics": metrics}))
    else:
        print(describe_comparison(metrics))
    return 0
