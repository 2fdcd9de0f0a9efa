"""The command `affectgpt eval emocause`: score a trained cause plugin on EmoCause."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import cast

from affectgpt.evidence.kinds.cause import CauseEvidence
from affectgpt.plugins.plugin import load_plugin
from affectgpt.plugins.rows import evidence_of
from affectgpt.problems import InputError
from eval.benchmarks.emocause.scores import TOP, cause_recall, constant_answer, read_emocause
from eval.metrics.evaluation import evaluation, with_interval


def main(argv: list[str]) -> int:
    """Score a trained cause plugin on EmoCause: recall of the annotated words among its first 1, 3 and 5."""
    parser = argparse.ArgumentParser(prog="affectgpt eval emocause", description=main.__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.json", help="file of EmoCause")
    parser.add_argument("--plugin", required=True, type=Path, metavar="DIR", help="a trained cause plugin")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args(argv)
    plugin = load_plugin(options.plugin)
    if plugin.kind != CauseEvidence.kind:
        raise InputError(f"{options.plugin}: expected a plugin of kind cause, got one of kind {plugin.kind}")
    rows, gold = read_emocause(options.file)
    evidence = cast(list[CauseEvidence | None], evidence_of(plugin, rows))
    ranked = [item.top_words(max(TOP)) if item is not None else [] for item in evidence]
    groups = [row.group or row.id for row in rows]
    scores = cause_recall(ranked, gold, groups)
    if options.json:
        read = sum(map(bool, ranked)) / len(rows)
        constant = constant_answer(gold, groups)
        print(json.dumps({**evaluation(options.file.stem, "published", "top5", scores, read, constant), **scores}))
        return 0
    shown = ", ".join(f"{name} {with_interval(item, 3)}" for name, item in scores.items())
    print(f"{len(rows)} situations: {shown}")
    return 0
