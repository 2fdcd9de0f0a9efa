"""The command `affectgpt eval recognition`: scores predicted labels, numbers, label sets or distributions."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from affectgpt.tasks import TASKS
from eval.answers.extractors import add_extractor_options, read_extractor
from eval.answers.fields import add_field_options
from eval.benchmarks.recognition.kinds import KINDS
from eval.benchmarks.recognition.rows import read_recognition
from eval.benchmarks.recognition.scores import evaluate
from eval.metrics.evaluation import describe
from eval.metrics.stats import RESAMPLES


def main(argv: list[str]) -> int:
    """Score predicted labels, numbers, label sets or distributions: WAR, UAR, F1, CCC and others, with intervals."""
    parser = argparse.ArgumentParser(prog="affectgpt eval recognition", description=main.__doc__)
    parser.add_argument(
        "--truth",
        required=True,
        type=Path,
        metavar="T",
        help="gold labels: CSV name,label or JSONL; may hold group; P itself, if it holds them too",
    )
    files = "CSV name,label or JSONL; files of affectgpt predict, of a run, of ms-swift"
    parser.add_argument("--predictions", required=True, type=Path, metavar="P", help=files)
    add_field_options(parser)
    tasks = "only the rows of this task, where P holds several"
    parser.add_argument("--task", choices=TASKS, metavar="TASK", help=tasks)
    parser.add_argument("--labels", metavar="A,B,C", help="all labels (default: those in the gold file)")
    parser.add_argument("--kind", choices=KINDS, help="kind of the labels (default: guessed from their values)")
    missing = "count clips without prediction as wrong (numbers and distributions: leave them out)"
    parser.add_argument("--allow-missing", action="store_true", help=missing)
    add_extractor_options(parser, None, "answers that name no label, whose emotion words count as the nearest one")
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="bootstrap resamples (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    labels = [label.strip() for label in options.labels.split(",") if label.strip()] if options.labels else None
    read = read_recognition(
        options.truth,
        options.predictions,
        labels,
        options.kind,
        options.allow_missing,
        label_field=options.label_field,
        prediction_field=options.prediction_field,
        task=options.task,
        extractor=read_extractor(options),
    )
    if read.suspicion:
        print(read.suspicion, file=sys.stderr)
    dataset = options.truth.absolute().parent.name if options.truth.stem == "labels" else options.truth.stem
    result = evaluate(read, dataset, max(1, options.resamples))
    print(json.dumps(result) if options.json else describe(result))
    return 0
