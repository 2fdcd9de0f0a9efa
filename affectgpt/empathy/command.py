"""The commands `affectgpt plugins list`, `train` and `run`."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip, media_outside, read_clips, write_clips
from affectgpt.empathy.dialogue import rows_of_dialogues
from affectgpt.empathy.evidence import pieces_of, to_json
from affectgpt.empathy.plugins import Plugin, evidence_of, find_plugins, load_plugin, plugin_class, save_plugin
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
    texts = "settings of the plugin, for example epochs=2 seed=1 (docs/plugins.md)"
    parser.add_argument("--encoder", metavar="NAME", help="scratch, minilm, or the folder or Hub id of a text encoder")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=texts)
    parser.add_argument("--json", action="store_true", help="print one JSON object with what was trained")
    options = parser.parse_args(argv)
    if (options.out / "plugin.json").exists() or (options.out.exists() and not options.out.is_dir()):
        raise InputError(f"--out: {options.out} is there already. Name another folder, or remove it.")
    plugin = plugin_class(options.plugin)
    settings = _settings(plugin, [*options.set, *([f"encoder={options.encoder}"] if options.encoder else [])])
    rows = rows_of_dialogues(options.data)
    started = time.monotonic()
    trained = plugin.fit(rows, **settings)
    save_plugin(trained, options.out)
    seconds = round(time.monotonic() - started, 1)
    print(f"Wrote {options.out}: {len(rows)} rows, {seconds:g} s.", file=sys.stderr)
    if options.json:
        print(json.dumps({"plugin": options.plugin, "rows": len(rows), "seconds": seconds, "out": str(options.out)}))
    return 0


def _settings(plugin: type[Plugin], given: Sequence[str]) -> dict[str, Any]:
    """Settings of a plugin's `fit`, each as the annotation there has it.

    Raises:
        InputError: with every one that it does not have, or that is of another type.
    """
    pairs = {key: value for key, _, value in (item.partition("=") for item in given)}
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
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a row file (JSONL)")
    parser.add_argument("--out", required=True, type=Path, metavar="ROWS2", help="the row file to write")
    roots = "folder of media paths (default: the row file's, of each)"
    parser.add_argument("--media-root", type=Path, metavar="DIR", help=roots)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts")
    options = parser.parse_args(argv)
    clips = read_clips(options.rows, options.media_root)
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
    plugin = load_plugin(options.plugin)
    told = 0
    written: list[Clip] = []
    for start in range(0, len(clips), _ROWS_AT_ONCE):
        part = clips[start : start + _ROWS_AT_ONCE]
        for clip, piece in zip(part, evidence_of(plugin, part), strict=True):
            told += piece is not None
            evidence = {**(clip.evidence or {}), **({} if piece is None else {plugin.name: to_json(piece)})}
            written.append(dataclasses.replace(clip, evidence=evidence or None))
    write_clips(options.out, written, root)
    report = {"rows": len(clips), "with_evidence": told, "out": str(options.out)}
    print(f"Wrote {options.out}: evidence on {told} of {len(clips)} rows.", file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    return 0
