"""The command `affectgpt eval empathy`: score emotion predictions with plugins, without, and with false evidence."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from contextlib import closing
from pathlib import Path

from affectgpt.empathy.options import HELP, read_options
from affectgpt.evidence.dialogue import rows_with_emotion
from affectgpt.evidence.prompting import require_prompts
from affectgpt.inference.assistant import Assistant
from affectgpt.inference.row_assistant import RowAssistant
from affectgpt.plugins.options import add_task_option
from affectgpt.plugins.plugin import load_plugin, with_evidence
from affectgpt.plugins.rows import evidence_of
from affectgpt.problems import InputError
from affectgpt.settings import counts_below_one
from eval.benchmarks.empathy.scores import describe, evaluate, require_evidence
from eval.metrics.evaluation import evaluation
from eval.metrics.responses import MeaningScorer
from eval.predict.options import add_model_options

_NOTES = """
Rows are dialogues, or clips of an emotion task. They carry the evidence of an emotion plugin (affectgpt plugins run),
or get it from the plugins of --plugins. Rows that have a situation are scored with it too.
"""


def main(argv: list[str]) -> int:
    """Score a model's emotion predictions with and without plugins, and with oracle and random evidence."""
    options = _parse(argv)
    selection, cues = read_options(options.set)
    clips = rows_with_emotion(options.rows, media_root=options.media_root, tasks=options.tasks)[: options.limit]
    for folder in options.plugins:
        plugin = load_plugin(folder)
        clips = with_evidence(clips, plugin.name, evidence_of(plugin, clips))
    require_evidence(clips, str(options.rows))
    require_prompts(clips, cues)
    scorer = MeaningScorer(options.text_model) if options.text_model else None
    assistant = Assistant.from_pretrained(options.model, options.device, options.dtype)
    work = RowAssistant(assistant, options.timeout, options.workers, cues)
    started = time.monotonic()
    with closing(work):
        rows = work.open(clips)
    if rows.bad:
        name, reason = next(iter(rows.bad.items()))
        raise InputError(
            f"{options.rows}: {len(rows.bad)} rows have clips that cannot be used, such as {name}: {reason}"
        )
    report = evaluate(
        assistant.model,
        rows.reader,
        clips,
        selection,
        options.batch_size,
        options.max_new_tokens,
        scorer,
        progress=lambda name, place, count: print(f"[{place + 1}/{count}] {name}", file=sys.stderr),
    )
    scored = report["conditions"]["plugin"]
    coverage = scored["coverage"]["value"]
    contract = evaluation(options.rows.stem, selection.mode, "accuracy", scored, coverage, report["baselines"])
    settings = {**dataclasses.asdict(selection), **dataclasses.asdict(cues)}
    report = {**contract, **report, "settings": settings, "seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(report) if options.json else describe(report))
    return 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="affectgpt eval empathy",
        description=f"{main.__doc__}\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a row file (JSONL)")
    add_model_options(parser, max_new_tokens=64)
    plugins = "trained plugins whose evidence is added to the rows"
    parser.add_argument("--plugins", type=Path, nargs="+", default=[], metavar="DIR", help=plugins)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=HELP)
    texts = "a text encoder's folder or Hub id: compares responses by meaning too"
    parser.add_argument("--text-model", metavar="DIR", help=texts)
    add_task_option(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    problems = counts_below_one(options, ("limit", "batch_size", "max_new_tokens", "workers"))
    if problems:
        raise InputError(problems)
    return options
