"""The command `affectgpt plugins eval`: score a trained plugin on rows with gold answers."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from affectgpt.plugins.options import add_data_options, add_task_option
from affectgpt.plugins.plugin import load_plugin
from affectgpt.plugins.rows import evidence_of, labelled_rows
from affectgpt.tasks import TASKS
from eval.plugins.scores import describe, score_evidence


def main(argv: list[str]) -> int:
    """Score the answers of a trained plugin's evidence, beside the best constant answer."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins eval", description=main.__doc__)
    parser.add_argument("plugin", type=Path, metavar="DIR", help="a trained plugin")
    add_data_options(parser)
    add_task_option(parser, TASKS)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args(argv)
    plugin = load_plugin(options.plugin)
    rows = labelled_rows(plugin, options.data, options.tasks, options.media_root)
    started = time.monotonic()
    evidence = evidence_of(plugin, rows)
    seconds = time.monotonic() - started
    scores = score_evidence(rows, evidence)
    print(json.dumps(scores) if options.json else f"{describe(scores)}\n{len(rows) / max(seconds, 1e-9):,.0f} a second")
    return 0
