"""The command `affectgpt data synthetic`: the generator on the command line."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path

from data_recipes.synthetic.generate import Settings, generate

HELP = {
    "clips": "number of training clips; the other parts keep their own numbers",
    "rl_clips": "number of clips of training actors whose labels are always right",
    "dev_clips": "number of clips of the dev actors",
    "test_clips": "number of clips of the test actors",
    "text_rows": "number of rows of plain text",
    "dialogues": "number of text-only dialogues in training",
    "test_dialogues": "number of text-only dialogues for test",
    "train_actors": "number of actors in training",
    "dev_actors": "number of actors for dev",
    "test_actors": "number of actors for test",
    "label_noise": "share of training clips with wrong labels, as automatic annotation produces them",
    "seed": "random seed; the same seed gives the same labels and pixels",
    "first_actor": "index of the first actor; other indices give other people",
}


def main(argv: list[str]) -> int:
    """Generate emotion clips with sound and rows about them: drawn faces, synthetic voices, known gold labels."""
    parser = argparse.ArgumentParser(prog="affectgpt data synthetic", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to create")
    parser.add_argument("--workers", type=int, help="number of rendering processes (default: one per CPU)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    for item in fields(Settings):
        kind = float if item.name == "label_noise" else int
        parser.add_argument(
            f"--{item.name.replace('_', '-')}",
            type=kind,
            default=item.default,
            metavar="N",
            help=f"{HELP[item.name]} ({item.default})",
        )
    options = parser.parse_args(argv)
    settings = Settings(**{item.name: getattr(options, item.name) for item in fields(Settings)})
    print(_announcement(settings), file=sys.stderr, flush=True)
    end = "\r" if sys.stderr.isatty() else "\n"

    def progress(done: int, count: int) -> None:
        if sys.stderr.isatty() or done == count:
            print(f"{done}/{count} clips", end="\n" if done == count else end, file=sys.stderr, flush=True)

    generate(settings, options.out, options.workers, progress)
    manifest = json.loads((options.out / "manifest.json").read_text())
    if options.json:
        print(json.dumps({"out": str(options.out), "rows": manifest["rows"]}))
    else:
        rows = ", ".join(f"{part} {count}" for part, count in manifest["rows"].items())
        print(
            f"{options.out}: rows {rows}. Look at them with: affectgpt data check {options.out}/train.jsonl",
            file=sys.stderr,
        )
    return 0


def _announcement(settings: Settings) -> str:
    """Say how many clips will be drawn, part by part, and which options change that."""
    parts = {"": settings.clips, "rl-": settings.rl_clips, "dev-": settings.dev_clips, "test-": settings.test_clips}
    listed = ", ".join(f"{count} (--{part}clips)" for part, count in parts.items())
    return f"Drawing {sum(parts.values())} clips: {listed}."
