"""What an empathy stage has besides a supervised one: the plugins that it trains, and their evidence on its rows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

from filelock import FileLock

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.dialogue import TASKS, dialogue_of
from affectgpt.evidence.kinds import from_json, to_json
from affectgpt.plugins.crossfit import FOLDS, groups_of, held_out_evidence
from affectgpt.plugins.plugin import (
    Plugin,
    evidence_of,
    fit_settings,
    load_plugin,
    plugin_class,
    save_plugin,
    with_evidence,
)
from affectgpt.problems import InputError
from train.config.sections import Recipe, StageConfig
from train.fault_tolerance import watchdog
from train.prepare import digest


def rows_with_evidence(recipe: Recipe, stage: StageConfig, rows: Sequence[Clip]) -> list[Clip]:
    """Rows to learn from, those of an emotion with what plugins say that have not seen them.

    Plugins are trained once, by the first process to come: on parts of the rows, whose evidence is of the other parts',
    and on all of them, for rows to come.

    """
    told = [place for place, row in enumerate(rows) if _is_told(stage, row)]
    chosen = [rows[place] for place in told]
    folder = plugin_folder(recipe, stage)
    with FileLock(recipe.output / ".lock"):
        mark = digest([row.to_json() for row in chosen], stage.plugins, recipe.seed)
        if not _is_made(folder, mark):
            _make(recipe, stage, chosen, folder, mark)
    for name in stage.plugins:
        found = json.loads((folder / name / "evidence.json").read_text(encoding="utf-8"))
        chosen = with_evidence(chosen, name, [None if piece is None else from_json(piece) for piece in found])
    told_rows = dict(zip(told, chosen, strict=True))
    return [told_rows.get(place, row) for place, row in enumerate(rows)]


def rows_to_come(recipe: Recipe, stage: StageConfig, rows: Sequence[Clip]) -> list[Clip]:
    """Rows of an emotion with what the plugins of a stage that is done say of them."""
    chosen = [row for row in rows if _is_told(stage, row)]
    for name in stage.plugins:
        plugin = load_plugin(plugin_folder(recipe, stage) / name)
        chosen = with_evidence(chosen, name, evidence_of(plugin, chosen))
    return chosen


def require_rows(recipe: Recipe, rows: Sequence[Clip]) -> None:
    """Refuse, before any stage runs, rows that the plugins of an empathy stage could not be trained on.

    Raises:
        InputError: with every stage that has none, or rows whose options lack an emotion of the others.
    """
    problems = []
    for stage in recipe.stages:
        chosen = [row for row in rows if _is_told(stage, row)] if stage.kind == "empathy" else []
        if stage.kind == "empathy" and not chosen:
            problems.append(f"stage '{stage.name}': expected rows of task {' or '.join(TASKS)} with words, got none.")
        if chosen and len(set(groups_of(chosen))) < 2:
            problems.append(f"stage '{stage.name}': expected rows of two groups or more, got one.")
        named = {tidy(row.answer) for row in chosen}
        for options in {tuple(row.options) for row in chosen if row.options}:
            if lacking := sorted(named - {tidy(label) for label in options}):
                example = next(row.id for row in chosen if tuple(row.options or ()) == options)
                problems.append(
                    f"stage '{stage.name}': expected rows of one set of emotions; the options of row {example} lack "
                    f"{', '.join(lacking)}. Leave one of the tasks out of its mixture."
                )
    if problems:
        raise InputError(problems)


def _is_told(stage: StageConfig, row: Clip) -> bool:
    """Whether plugins of a stage learn from a row: of an emotion, with words, of a task that the stage teaches."""
    return row.task in TASKS and stage.mixture.get(row.task, 0) > 0 and dialogue_of(row) is not None


def plugin_folder(recipe: Recipe, stage: StageConfig) -> Path:
    """Where the plugins of a stage lie, each in a folder of its name."""
    return recipe.output / "plugins" / stage.name


def _is_made(folder: Path, mark: str) -> bool:
    path = folder / "mark"
    return path.is_file() and path.read_text() == mark


def _make(recipe: Recipe, stage: StageConfig, rows: Sequence[Clip], folder: Path, mark: str) -> None:
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    for name, given in stage.plugins.items():
        form, settings = plugin_class(name), fit_settings(name, given)

        def fit(part: Sequence[Clip], name: str = name, form: Any = form, settings: Any = settings) -> Plugin:
            watchdog.doing(f"fitting plugin {name} on {len(part)} rows")
            with redirect_stderr(StringIO()):  # the progress of six fits
                trained: Plugin = form.fit(part, **settings)
            return trained

        folds = min(FOLDS, len(set(groups_of(rows))))
        pieces = held_out_evidence(fit, rows, folds, recipe.seed)
        save_plugin(fit(rows), draft / name)
        written = json.dumps([None if piece is None else to_json(piece) for piece in pieces])
        (draft / name / "evidence.json").write_text(written, encoding="utf-8")
    (draft / "mark").write_text(mark)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(draft, folder)
