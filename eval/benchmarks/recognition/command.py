"""`affectgpt eval recognition`: labels, numbers, sets of labels or distributions that were said, against the truth."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from eval.benchmarks.recognition.rows import KINDS, read_recognition
from eval.benchmarks.recognition.scores import evaluate
from eval.metrics.evaluation import describe
from eval.metrics.stats import RESAMPLES


def main(argv: list[str]) -> int:
    """Score recognised labels or numbers: WAR, UAR, F1, CCC and their kin, with intervals."""
    parser = argparse.ArgumentParser(prog="affectgpt eval recognition", description=main.__doc__)
    parser.add_argument(
        "--truth", required=True, type=Path, metavar="T", help="CSV name,label or JSONL; may hold group"
    )
    parser.add_argument("--predictions", required=True, type=Path, metavar="P", help="CSV name,label or JSONL")
    parser.add_argument("--labels", metavar="A,B,C", help="all labels (default: those of the truth)")
    parser.add_argument("--kind", choices=KINDS, help="what the labels are (default: what they look like)")
    missing = "clips without prediction count as wrong (numbers and distributions: are left out)"
    parser.add_argument("--allow-missing", action="store_true", help=missing)
    parser.add_argument("--resamples", type=int, default=RESAMPLES, metavar="N", help="of the bootstrap (1000)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    labels = [label.strip() for label in options.labels.split(",") if label.strip()] if options.labels else None
    read = read_recognition(options.truth, options.predictions, labels, options.kind, options.allow_missing)
    dataset = options.truth.absolute().parent.name if options.truth.stem == "labels" else options.truth.stem
    found = evaluate(read, dataset, max(1, options.resamples))
    print(json.dumps(found) if options.json else describe(found))
    return 0
