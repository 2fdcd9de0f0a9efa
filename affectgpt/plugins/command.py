"""The commands `affectgpt plugins list`, `card`, `train`, `run` and `crossfit`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip, media_outside, write_clips
from affectgpt.evidence.evidence import Evidence
from affectgpt.evidence.table import read_all
from affectgpt.media_root import add_media_root, media_folder
from affectgpt.plugins.card import card_of, describe
from affectgpt.plugins.crossfit import FOLDS, groups_of, held_out_evidence
from affectgpt.plugins.options import add_data_options, add_task_option, set_values
from affectgpt.plugins.plugin import (
    Plugin,
    find_plugins,
    fit_settings,
    load_plugin,
    plugin_class,
    save_plugin,
    with_evidence,
)
from affectgpt.plugins.reads import MEDIA
from affectgpt.plugins.rows import (
    described_rows,
    evidence_of,
    gets_evidence,
    is_learned,
    is_read,
    labelled_rows,
    media_errors,
    tasks_of,
)
from affectgpt.problems import InputError, Problem
from affectgpt.progress import Progress, Rounds
from affectgpt.tasks import TASKS

_ROWS_AT_ONCE = 4096


def list_main(argv: list[str]) -> int:
    """List the small affect models that are installed."""
    argparse.ArgumentParser(prog="affectgpt plugins list", description=list_main.__doc__).parse_args(argv)
    for name, entry in find_plugins().items():
        print(f"{name}\t{entry.value}")
    return 0


def card_main(argv: list[str]) -> int:
    """Show a plugin's card: its evidence, what it learns from and reads, its size, and the paper that it follows."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins card", description=card_main.__doc__)
    names = "name of a plugin (see `affectgpt plugins list`), or the folder of a trained one"
    parser.add_argument("plugin", metavar="NAME", help=names)
    sizes = "sizes of the plugin, for example labels=7 (docs/plugins.md)"
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=sizes)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    card = card_of(options.plugin, options.set)
    print(json.dumps(card, ensure_ascii=False) if options.json else describe(card))
    return 0


def train_main(argv: list[str]) -> int:
    """Train a plugin on rows with gold answers."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins train", description=train_main.__doc__)
    parser.add_argument("plugin", metavar="NAME", help="name of the plugin; see `affectgpt plugins list`")
    add_data_options(parser)
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="folder to write")
    add_task_option(parser, TASKS)
    _add_plugin_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with what was trained")
    options = parser.parse_args(argv)
    if (options.out / "plugin.json").exists() or (options.out.exists() and not options.out.is_dir()):
        raise InputError(f"--out: {options.out} already exists. Name another folder, or remove it.")
    settings = _settings(options)
    plugin = plugin_class(options.plugin)
    labelled = labelled_rows(plugin, options.data, options.tasks, options.media_root)
    rows = [row for row in labelled if is_read(plugin, row)]
    if not rows:
        raise InputError(_nothing_to_read(plugin, options.data, labelled))
    started = time.monotonic()
    with Rounds(f"fitting plugin {options.plugin}").round(0, 1), media_errors(plugin, rows):
        trained = plugin.fit(rows, **settings)
    save_plugin(trained, options.out)
    seconds = round(time.monotonic() - started, 1)
    print(f"Wrote {options.out}: {len(rows)} rows, {seconds:g} s.", file=sys.stderr)
    if options.json:
        print(json.dumps({"plugin": options.plugin, "rows": len(rows), "seconds": seconds, "out": str(options.out)}))
    return 0


def _nothing_to_read(plugin: type[Plugin], path: Path, rows: Sequence[Clip]) -> Problem:
    """Return the problem of rows none of which has what a plugin reads."""
    have = [name for name, has in MEDIA.items() if any(map(has, rows))]
    got = f"{len(rows)} rows, none with that" + (f"; they have {', '.join(have)}" if have else "")
    fix = "Words are the turns of a dialogue or a 'subtitle': affectgpt data transcribe writes those of speech."
    return Problem(str(path), "its rows", described_rows(plugin), got, fix if "words" in plugin.reads else "")


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that --set and --encoder give."""
    more = {"encoder": options.encoder} if options.encoder else {}
    return set_values(options.set, lambda pairs: fit_settings(options.plugin, pairs), more)


def run_main(argv: list[str]) -> int:
    """Add the evidence of a trained plugin to every row of a row file."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins run", description=run_main.__doc__)
    parser.add_argument("plugin", type=Path, metavar="DIR", help="a trained plugin")
    _add_row_options(parser)
    options = parser.parse_args(argv)
    plugin = load_plugin(options.plugin)
    clips, root = _read(options, plugin)
    progress = Progress("rows")
    evidence: list[Evidence | None] = []
    for start in range(0, len(clips), _ROWS_AT_ONCE):
        evidence += evidence_of(plugin, clips[start : start + _ROWS_AT_ONCE])
        if len(clips) > _ROWS_AT_ONCE:
            progress(len(evidence), len(clips))
    return _write(options, root, clips, plugin, evidence)


def crossfit_main(argv: list[str]) -> int:
    """Add out-of-fold evidence to training rows: each fold is scored by a plugin trained on the other folds."""
    parser = argparse.ArgumentParser(prog="affectgpt plugins crossfit", description=crossfit_main.__doc__)
    parser.add_argument("plugin", metavar="NAME", help="name of the plugin; see `affectgpt plugins list`")
    _add_row_options(parser)
    folds_help = (
        f"number of folds ({FOLDS}); as many as there are groups if those are fewer, since a group is never split"
    )
    add_task_option(parser, TASKS)
    parser.add_argument("--folds", type=int, default=FOLDS, metavar="N", help=folds_help)
    _add_plugin_options(parser)
    options = parser.parse_args(argv)
    settings = _settings(options)
    plugin = plugin_class(options.plugin)
    tasks = tasks_of(plugin, options.tasks)
    clips, root = _read(options, plugin)
    chosen = [index for index, clip in enumerate(clips) if gets_evidence(plugin, clip, tasks)]
    count = _folds(options, [clips[index] for index in chosen])
    rounds, folds = Rounds(f"fitting plugin {plugin.name}"), iter(range(count))

    def fit(rows: Sequence[Clip]) -> Plugin:
        with rounds.round(next(folds), count), media_errors(plugin, rows):
            return plugin.fit([row for row in rows if is_learned(plugin, row, tasks)], **settings)

    evidence: list[Evidence | None] = [None] * len(clips)
    held_out = held_out_evidence(fit, [clips[index] for index in chosen], count)
    for index, item in zip(chosen, held_out, strict=True):
        evidence[index] = item
    return _write(options, root, clips, plugin, evidence)


def _folds(options: argparse.Namespace, rows: Sequence[Clip]) -> int:
    """Return the number of folds: as many as asked for, or as there are groups if those are fewer, which it says.

    Raises:
        InputError: fewer than two folds or groups.
    """
    groups = len(set(groups_of(rows)))
    if options.folds < 2:
        raise InputError(Problem("--folds", "its value", "2 or more", str(options.folds)))
    if groups < 2:
        fix = "Each fold needs rows of other speakers or dialogues than it is fitted on: see the field 'group'."
        raise InputError(Problem(str(options.rows), "its groups", "two or more", str(groups), fix))
    if groups < options.folds:
        print(f"{groups} folds instead of {options.folds}: {options.rows} has no more groups.", file=sys.stderr)
    return min(int(options.folds), groups)


def _add_row_options(parser: argparse.ArgumentParser) -> None:
    rows = "a row file, or lines of context and emotion (JSONL)"
    parser.add_argument("rows", type=Path, metavar="ROWS", help=rows)
    parser.add_argument("--out", required=True, type=Path, metavar="ROWS2", help="row file to write")
    add_media_root(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts")


def _add_plugin_options(parser: argparse.ArgumentParser) -> None:
    texts = "settings of the plugin, for example epochs=2 seed=1 (docs/plugins.md)"
    parser.add_argument("--encoder", metavar="NAME", help="scratch, minilm, or the folder or Hub id of a text encoder")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=texts)


def _read(options: argparse.Namespace, plugin: Plugin | type[Plugin]) -> tuple[list[Clip], Path]:
    """Read the rows; return them with the folder that media paths of the new file are relative to.

    Raises:
        InputError: with every problem that would otherwise show only when the new file is written.
    """
    clips = plugin.read(options.rows, media_root=options.media_root)
    root = media_folder(options.out, options.media_root)
    outside = media_outside(clips, options.out, root)
    problems: list[Problem | str] = [] if outside is None else [outside]
    for clip in clips:
        try:
            read_all(clip.evidence, f"{options.rows}: row {clip.line}, evidence")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return clips, root


def _write(
    options: argparse.Namespace,
    root: Path,
    clips: Sequence[Clip],
    plugin: Plugin | type[Plugin],
    evidence: Sequence[Evidence | None],
) -> int:
    write_clips(options.out, with_evidence(clips, plugin.name, evidence), root)
    given = sum(item is not None for item in evidence)
    unread = sum(not is_read(plugin, clip) for clip in clips)
    without = f"; {unread} have none of what it reads ({', '.join(plugin.reads)})" if unread else ""
    print(f"Wrote {options.out}: evidence on {given} of {len(clips)} rows{without}.", file=sys.stderr)
    if options.json:
        counts = {"rows": len(clips), "with_evidence": given, "unread": unread, "out": str(options.out)}
        print(json.dumps(counts))
    return 0
