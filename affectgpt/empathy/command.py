"""The commands `affectgpt plugins list`, `train`, `run` and `crossfit`."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip, media_outside, write_clips
from affectgpt.empathy.crossfit import FOLDS, held_out_evidence
from affectgpt.empathy.dialogue import read_rows, rows_with_emotion
from affectgpt.empathy.evidence import Evidence, pieces_of
from affectgpt.empathy.plugins import (
    Plugin,
    evidence_of,
    find_plugins,
    load_plugin,
    plugin_class,
    save_plugin,
    with_evidence,
)
from affectgpt.problems import InputError, Problem, nearest
from affectgpt.settings import read_settings

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
    _add_plugin_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with what was trained")
    options = parser.parse_args(argv)
    if (options.out / "plugin.json").exists() or (options.out.exists() and not options.out.is_dir()):
        raise InputError(f"--out: {options.out} is there already. Name another folder, or remove it.")
    plugin = plugin_class(options.plugin)
    settings = _settings(plugin, options)
    rows = rows_with_emotion(options.data)
    started = time.monotonic()
    trained = plugin.fit(rows, **settings)
    save_plugin(trained, options.out)
    seconds = round(time.monotonic() - started, 1)
    print(f"Wrote {options.out}: {len(rows)} rows, {seconds:g} s.", file=sys.stderr)
    if options.json:
        print(json.dumps({"plugin": options.plugin, "rows": len(rows), "seconds": seconds, "out": str(options.out)}))
    return 0


def _settings(plugin: type[Plugin], options: argparse.Namespace) -> dict[str, Any]:
    """Settings of a plugin's `fit`, each as the annotation there has it.

    Raises:
        InputError: with every one that it does not have, or that is of another type.
    """
    pairs = {key: value for key, _, value in (item.partition("=") for item in options.set)}
    if options.encoder:
        pairs["encoder"] = options.encoder
    known = [
        name
        for name, parameter in inspect.signature(plugin.fit).parameters.items()
        if parameter.default is not inspect.Parameter.empty and not callable(parameter.default)
    ]
    values, wrong = read_settings(plugin.fit, {key: value for key, value in pairs.items() if key in known})
    problems = [
        f"--set {key}: unknown setting of plugin '{plugin.name}'. {nearest(key, known)}"
        for key in pairs
        if key not in known
    ]
    problems += [f"--set {key}: {problem}" for key, problem in wrong.items()]
    if problems:
        raise InputError(problems)
    return values


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
    parser.add_argument("--folds", type=int, default=FOLDS, metavar="N", help=parts)
    _add_plugin_options(parser)
    options = parser.parse_args(argv)
    plugin = plugin_class(options.plugin)
    settings = _settings(plugin, options)
    clips, root = _read(options)
    pieces = held_out_evidence(lambda rows: plugin.fit(rows, **settings), clips, options.folds)
    return _write(options, root, clips, plugin.name, pieces)


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
