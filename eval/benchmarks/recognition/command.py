"""The command `affectgpt eval recognition`: scores predicted labels, numbers, label sets or distributions."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from eval.benchmarks.recognition.rows import KINDS, read_recognition
from eval.benchmarks.recognition.scores import evaluate
from eval.metrics.evaluation import describe
from eval.metrics.stats import RESAMPLES


def main(argv: list[str]) -> int:
    """Score predicted labels, numbers, label sets or distributions: WAR, UAR, F1, CCC and others, with intervals."""
    parser = argparse.ArgumentParser(prog="affectgpt eval recognition", description=main.__doc__)
    parser.add_argument(
        "--truth", required=True, type=Path, metavar="T", help="gold labels: CSV name,label or JSONL; may hold group"
    )
    parser.add_argument("--predictions", required=True, type=Path, metavar="P", help="CSV name,label or JSONL")
    parser.add_argument("--labels", metavar="A,B,C", help="all labels (default: those in the gold file)")
    parser.add_argument("--kind", choices=KINDS, help="kind of the labels (default: guessed from their values)")
    missing = "count clips without prediction as wrong (numbers and distributions: leave them out)"
    parser.add_argument("--allow-missing", action="store_true", help=missing)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="bootstrap resamples (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    labels = [label.strip() for label in options.labels.split(",") if label.strip()] if options.labels else None
    read = read_recognition(options.truth, options.predictions, labels, options.kind, options.allow_missing)
    dataset = options.truth.absolute().parent.name if options.truth.stem == "labels" else options.truth.stem
    result = evaluate(read, dataset, max(1, options.resamples))
    print(json.dumps(result) if options.json else describe(result))
    return 0
