"""The command `affectgpt plugins eval`: a trained plugin on dialogues whose emotion is known."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from affectgpt.evidence.dialogue import rows_with_emotion
from affectgpt.plugins.command import add_task_option
from affectgpt.plugins.plugin import evidence_of, load_plugin
from affectgpt.problems import InputError
from eval.metrics.calibration import score_emotions


def main(argv: list[str]) -> int:
    """Score a trained emotion plugin: accuracy, recall, macro F1, calibration."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins eval", description=main.__doc__)
    parser.add_argument("plugin", type=Path, metavar="DIR", help="a trained plugin")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE.jsonl", help="lines of context and emotion")
    add_task_option(parser)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    options = parser.parse_args(argv)
    plugin = load_plugin(options.plugin)
    if plugin.kind != "emotion":
        raise InputError(f"{options.plugin}: expected a plugin of kind emotion, got one of kind {plugin.kind}")
    rows = rows_with_emotion(options.data, plugin.labels, tasks=options.tasks)
    started = time.monotonic()
    found = evidence_of(plugin, rows)
    seconds = time.monotonic() - started
    scores = score_emotions(found, [row.answer for row in rows])
    if options.json:
        print(json.dumps(scores))
        return 0
    recall = ", ".join(f"@{count} {value:.3f}" for count, value in scores["recall_at"].items())
    print(
        f"{scores['n']} dialogues: accuracy {scores['accuracy']:.3f}, recall {recall}, "
        f"macro F1 {scores['macro_f1']:.3f}, calibration error {scores['ece']:.3f} "
        f"({scores['n'] / max(seconds, 1e-9):,.0f} a second)"
    )
    return 0
