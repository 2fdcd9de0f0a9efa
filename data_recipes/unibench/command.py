"""The command `affectgpt data unibench`: converts MER-UniBench's own files to CSV and JSONL."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from affectgpt.problems import InputError, Problem
from data_recipes.unibench.convert import CORPORA, read_labels, read_predictions, write_labels, write_predictions


def main(argv: list[str]) -> int:
    """Convert MER-UniBench's own label and result files to CSV and JSONL, once."""
    parser = argparse.ArgumentParser(prog="affectgpt data unibench", description=main.__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="label .npz or CSV, or result .npz of a checkpoint")
    out = "labels.csv for labels; predictions_NN.jsonl for the results of checkpoint NN"
    parser.add_argument("--out", required=True, type=Path, metavar="OUT", help=out)
    trust = "read object arrays, which are pickles and can run any code"
    parser.add_argument("--trust-pickle", action="store_true", help=trust)
    corpus = f"array of a label .npz that holds the test set (first of {', '.join(CORPORA)})"
    parser.add_argument("--corpus", metavar="NAME", help=corpus)
    parser.add_argument("--start", default="", metavar="TEXT", help="keep only clips whose name begins with TEXT")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    if options.out.suffix == ".csv":
        labels = read_labels(options.file, options.trust_pickle, options.corpus, options.start)
        write_labels(labels, options.out)
        count = len(labels)
    elif options.out.suffix == ".jsonl":
        rows = read_predictions(options.file, options.trust_pickle)
        write_predictions(rows, options.out)
        count = len(rows)
    else:
        raise InputError(Problem("--out", "its ending", ".csv for labels, .jsonl for predictions", options.out.name))
    print(f"Wrote {count} clips to {options.out}. Score them with: affectgpt eval unibench --help", file=sys.stderr)
    if options.json:
        print(json.dumps({"clips": count, "out": str(options.out)}))
    return 0
