"""The command `affectgpt eval compare`: two models on the same clips."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from affectgpt.encoding import TABLES
from affectgpt.problems import InputError
from eval.answers.fields import GOLD, RESPONSES, add_field_options
from eval.answers.tasks import OWN_TASKS, TASKS
from eval.benchmarks.recognition.kinds import KINDS
from eval.compare.paired import compare_labels, compare_tallies, describe_comparison, paired_scores, read_pair
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
    add_field_options(parser)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="bootstrap resamples (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    resamples = max(1, options.resamples)
    notes: list[str] = []
    if options.labels is not None:
        fields = options.label_field, options.prediction_field
        pair = read_pair(options.labels, options.first, options.second, options.kind, *fields)
        metrics = compare_labels(*pair, resamples)
        readable = [side.readable for side in pair]
        notes = [side.suspicion for side in pair if side.suspicion]
        left_out = int((~(pair[0].scorable & pair[1].scorable)).sum())
        notes += [f"{left_out} clips without a readable answer of both are left out"] if left_out else []
    elif {options.first.suffix.lower(), options.second.suffix.lower()} & {*TABLES}:
        expected = (
            "tables are compared with gold labels. Name them with --labels L.csv; it may be a table that holds both"
        )
        raise InputError(f"{options.first}: {expected}.")
    else:
        roles = RESPONSES.named(options.prediction_field), GOLD.named(options.label_field)
        scores = paired_scores([options.first], [options.second], options.task, *roles)
        metrics = {
            f"{task}/{name}": compared
            for task, (before, after) in scores.items()
            for name, compared in compare_tallies(before.tallies, after.tallies, before.groups, resamples).items()
        }
        readable = [np.concatenate([pair[side].readable for pair in scores.values()]) for side in (0, 1)]
    for note in notes:
        print(note, file=sys.stderr)
    unreadable = {side: int((~answers).sum()) for side, answers in zip("ab", readable, strict=True)}
    if options.json:
        files = {"a": str(options.first), "b": str(options.second)}
        print(json.dumps({**files, "metrics": metrics, "unreadable": unreadable, "notes": notes}))
    else:
        print(describe_comparison(metrics))
        print(f"Answers that could not be read: A {unreadable['a']}, B {unreadable['b']}, of {len(readable[0])}.")
    return 0
