"""What an empathy stage has besides a supervised one: the plugins that it trains, and their evidence on its rows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.evidence import Evidence
from affectgpt.evidence.table import read_one
from affectgpt.plugins.crossfit import FOLDS, groups_of, held_out_evidence
from affectgpt.plugins.plugin import (
    Plugin,
    fit_settings,
    load_plugin,
    names_emotion,
    plugin_class,
    save_plugin,
    with_evidence,
)
from affectgpt.plugins.rows import described_rows, evidence_of, is_learned
from affectgpt.problems import InputError
from affectgpt.progress import Rounds
from affectgpt.tasks import ANSWER_TYPES, TASKS
from train.config.sections import Recipe, StageConfig
from train.fault_tolerance import watchdog
from train.prepare import digest


def rows_with_evidence(recipe: Recipe, stage: StageConfig, rows: Sequence[Clip]) -> list[Clip]:
    """Rows to learn from, those that plugins learn from with what plugins say that have not seen them.

    Plugins are trained once, by the first process to come: on parts of the rows, whose evidence is of the other parts',
    and on all of them, for rows to come.
    """
    indices = [index for index, names in enumerate(_learners(stage, rows)) if names]
    chosen = [rows[index] for index in indices]
    folder = plugin_folder(recipe, stage)
    with FileLock(recipe.output / ".lock"):
        mark = digest([row.to_json() for row in chosen], stage.plugins, recipe.seed)
        if not _is_made(folder, mark):
            _make(recipe, stage, chosen, folder, mark)
    for name in stage.plugins:
        kept = json.loads((folder / name / "evidence.json").read_text(encoding="utf-8"))
        chosen = with_evidence(chosen, name, [None if item is None else read_one(item) for item in kept])
    changed = dict(zip(indices, chosen, strict=True))
    return [changed.get(index, row) for index, row in enumerate(rows)]


def rows_to_come(recipe: Recipe, stage: StageConfig, rows: Sequence[Clip]) -> list[Clip]:
    """Rows whose emotion a plugin names, by which a stage is scored, with what all plugins of the done stage say."""
    naming = {name for name in stage.plugins if names_emotion(plugin_class(name))}
    chosen = [row for row, names in zip(rows, _learners(stage, rows), strict=True) if naming & {*names}]
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
        if stage.kind != "empathy":
            continue
        learners = _learners(stage, rows)
        for name in stage.plugins:
            chosen = [row for row, names in zip(rows, learners, strict=True) if name in names]
            if not chosen:
                problems.append(f"stage '{stage.name}': expected {described_rows(plugin_class(name))}, got none.")
            elif len(set(groups_of(chosen))) < 2:
                problems.append(f"stage '{stage.name}': expected rows of two groups or more, got one.")
            problems += _lacking_options(stage, chosen)
    if problems:
        raise InputError(list(dict.fromkeys(problems)))


def _lacking_options(stage: StageConfig, rows: Sequence[Clip]) -> list[str]:
    """What is wrong with rows of one label whose options lack a label of the others."""
    labelled = [row for row in rows if TASKS[row.task].answer == "label"]
    named = {tidy(row.answer) for row in labelled}
    problems = []
    for options in {tuple(row.options) for row in labelled if row.options}:
        if lacking := sorted(named - {tidy(label) for label in options}):
            example = next(row.id for row in labelled if tuple(row.options or ()) == options)
            problems.append(
                f"stage '{stage.name}': expected rows of one set of emotions; the options of row {example} lack "
                f"{', '.join(lacking)}. Leave one of the tasks out of its mixture."
            )
    return problems


def _learners(stage: StageConfig, rows: Sequence[Clip]) -> list[list[str]]:
    """Of each row, the names of a stage's plugins that learn from it.

    Its task is one that the stage teaches, or one whose answer is never spoken, so that no stage could.
    """
    classes = {name: plugin_class(name) for name in stage.plugins}
    silent = {name for name, task in TASKS.items() if not ANSWER_TYPES[task.answer].spoken}
    taught = {task for task, weight in stage.mixture.items() if weight > 0} | silent
    return [[name for name, cls in classes.items() if row.task in taught and is_learned(cls, row)] for row in rows]


def plugin_folder(recipe: Recipe, stage: StageConfig) -> Path:
    """Where the plugins of a stage lie, each in a folder of its name."""
    return recipe.output / "plugins" / stage.name


def _is_made(folder: Path, mark: str) -> bool:
    path = folder / "mark"
    return path.is_file() and path.read_text() == mark


def _make(recipe: Recipe, stage: StageConfig, rows: Sequence[Clip], folder: Path, mark: str) -> None:
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    folds = min(FOLDS, len(set(groups_of(rows))))
    for name, given in stage.plugins.items():
        evidence, plugin = _fitted(name, fit_settings(name, given), rows, folds, recipe.seed)
        save_plugin(plugin, draft / name)
        written = json.dumps([None if item is None else item.to_json() for item in evidence])
        (draft / name / "evidence.json").write_text(written, encoding="utf-8")
    (draft / "mark").write_text(mark)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(draft, folder)


def _fitted(
    name: str, settings: dict[str, Any], rows: Sequence[Clip], folds: int, seed: int
) -> tuple[list[Evidence | None], Plugin]:
    """Held-out evidence of one plugin about rows, and the plugin that has learned from all of them."""
    cls, progress, fits = plugin_class(name), Rounds(f"fitting plugin {name}"), iter(range(folds + 1))

    def fit(part: Sequence[Clip]) -> Plugin:
        watchdog.doing(f"fitting plugin {name} on {len(part)} rows")
        with progress.round(next(fits), folds + 1):
            return cls.fit([row for row in part if is_learned(cls, row)], **settings)

    return held_out_evidence(fit, rows, folds, seed), fit(rows)
