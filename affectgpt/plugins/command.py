"""The commands `affectgpt plugins list`, `train`, `run` and `crossfit`."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip, media_outside, write_clips
from affectgpt.evidence.dialogue import TASKS, read_rows, rows_with_emotion
from affectgpt.evidence.kinds import Evidence, pieces_of
from affectgpt.plugins.crossfit import FOLDS, held_out_evidence
from affectgpt.plugins.plugin import (
    Plugin,
    evidence_of,
    find_plugins,
    fit_settings,
    load_plugin,
    plugin_class,
    save_plugin,
    with_evidence,
)
from affectgpt.problems import InputError, Problem

_ROWS_AT_ONCE = 4096


def list_main(argv: list[str]) -> int:
    """List the small affect models that are installed."""
    argparse.ArgumentParser(prog="affectgpt plugins list", description=list_main.__doc__).parse_args(argv)
    for name, entry in find_plugins().items():
        print(f"{name}\t{entry.value}")
    return 0


def train_main(argv: list[str]) -> int:
    """Train a plugin on dialogues with known emotions."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins train", description=train_main.__doc__)
    parser.add_argument("plugin", metavar="NAME", help="of the plugin, see `affectgpt plugins list`")
    parser.add_argument("--data", required=True, type=Path, metavar="FILE.jsonl", help="lines of context and emotion")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the folder to write")
    add_task_option(parser)
    _add_plugin_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with what was trained")
    options = parser.parse_args(argv)
    if (options.out / "plugin.json").exists() or (options.out.exists() and not options.out.is_dir()):
        raise InputError(f"--out: {options.out} is there already. Name another folder, or remove it.")
    settings = _settings(options)
    plugin = plugin_class(options.plugin)
    rows = rows_with_emotion(options.data, tasks=options.tasks)
    started = time.monotonic()
    trained = plugin.fit(rows, **settings)
    save_plugin(trained, options.out)
    seconds = round(time.monotonic() - started, 1)
    print(f"Wrote {options.out}: {len(rows)} rows, {seconds:g} s.", file=sys.stderr)
    if options.json:
        print(json.dumps({"plugin": options.plugin, "rows": len(rows), "seconds": seconds, "out": str(options.out)}))
    return 0


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings of --set and --encoder."""
    pairs = {key: value for key, _, value in (item.partition("=") for item in options.set)}
    if options.encoder:
        pairs["encoder"] = options.encoder
    try:
        return fit_settings(options.plugin, pairs)
    except InputError as error:
        raise InputError([f"--set {problem}" if pairs else problem for problem in error.problems]) from None


def run_main(argv: list[str]) -> int:
    """Put the evidence of a trained plugin on every row of a row file."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins run", description=run_main.__doc__)
    parser.add_argument("plugin", type=Path, metavar="DIR", help="a trained plugin")
    _add_row_options(parser)
    options = parser.parse_args(argv)
    clips, root = _read(options)
    plugin = load_plugin(options.plugin)
    pieces: list[Evidence | None] = []
    for start in range(0, len(clips), _ROWS_AT_ONCE):
        pieces += evidence_of(plugin, clips[start : start + _ROWS_AT_ONCE])
    return _write(options, root, clips, plugin.name, pieces)


def crossfit_main(argv: list[str]) -> int:
    """Put on every row, from which a model will learn, the evidence of a plugin that was trained on the others."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins crossfit", description=crossfit_main.__doc__)
    parser.add_argument("plugin", metavar="NAME", help="of the plugin, see `affectgpt plugins list`")
    _add_row_options(parser)
    parts = f"parts that whole dialogues are dealt into, each told of by the others ({FOLDS})"
    add_task_option(parser)
    parser.add_argument("--folds", type=int, default=FOLDS, metavar="N", help=parts)
    _add_plugin_options(parser)
    options = parser.parse_args(argv)
    settings = _settings(options)
    plugin = plugin_class(options.plugin)
    clips, root = _read(options)
    # Of a clip every row is told what is found in its words; the plugin learns from those that know the emotion.
    told = [
        place
        for place, clip in enumerate(clips)
        if clip.task in options.tasks or ("emotion_label" in options.tasks and clip.task != "dialogue")
    ]

    def fit(rows: Sequence[Clip]) -> Plugin:
        return plugin.fit([row for row in rows if row.task in options.tasks], **settings)

    pieces: list[Evidence | None] = [None] * len(clips)
    found = held_out_evidence(fit, [clips[place] for place in told], options.folds)
    for place, piece in zip(told, found, strict=True):
        pieces[place] = piece
    return _write(options, root, clips, plugin.name, pieces)


def add_task_option(parser: argparse.ArgumentParser) -> None:
    """Which rows of a row file are taken."""
    texts = f"take rows of these tasks alone (all: {', '.join(TASKS)})"
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, metavar="TASK", help=texts)


def _add_row_options(parser: argparse.ArgumentParser) -> None:
    rows = "a row file, or lines of context and emotion (JSONL)"
    parser.add_argument("rows", type=Path, metavar="ROWS", help=rows)
    parser.add_argument("--out", required=True, type=Path, metavar="ROWS2", help="the row file to write")
    roots = "folder of media paths (default: the row file's, of each)"
    parser.add_argument("--media-root", type=Path, metavar="DIR", help=roots)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts")


def _add_plugin_options(parser: argparse.ArgumentParser) -> None:
    texts = "settings of the plugin, for example epochs=2 seed=1 (docs/plugins.md)"
    parser.add_argument("--encoder", metavar="NAME", help="scratch, minilm, or the folder or Hub id of a text encoder")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=texts)


def _read(options: argparse.Namespace) -> tuple[list[Clip], Path]:
    """The rows, and the folder that media paths of the new file are relative to.

    Raises:
        InputError: with everything that would stop the work at its end.
    """
    clips = read_rows(options.rows, media_root=options.media_root)
    root = Path(os.path.abspath(options.media_root or options.out.parent))
    outside = media_outside(clips, options.out, root)
    problems: list[Problem | str] = [] if outside is None else [outside]
    for clip in clips:
        try:
            pieces_of(clip.evidence, f"{options.rows}: row {clip.line}, evidence")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return clips, root


def _write(
    options: argparse.Namespace, root: Path, clips: Sequence[Clip], name: str, pieces: Sequence[Evidence | None]
) -> int:
    write_clips(options.out, with_evidence(clips, name, pieces), root)
    told = sum(piece is not None for piece in pieces)
    print(f"Wrote {options.out}: evidence on {told} of {len(clips)} rows.", file=sys.stderr)
    if options.json:
        print(json.dumps({"rows": len(clips), "with_evidence": told, "out": str(options.out)}))
    return 0
