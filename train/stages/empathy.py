"""Stages of kind `empathy`: supervised ones whose rows carry the evidence of plugins, which the stage trains first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar, Literal

from filelock import FileLock
from pydantic import Field, field_validator

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.empathy.two_stage import Mode, Selection
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
from train.config.section import Section
from train.fault_tolerance import watchdog
from train.fingerprint import fingerprint
from train.stages.context import StageContext
from train.stages.kind import StageResult
from train.stages.sft import SupervisedStage


class SelectionConfig(Section):
    """How a model's emotion is decided in two stages; every field is one of `Selection`, which explains it."""

    mode: Mode = "score"
    margin: float = 0.0
    fusion: float = Field(default=0.0, ge=0)

    def selection(self) -> Selection:
        """Return the same as the evaluator takes it."""
        return Selection(self.mode, self.margin, self.fusion)


class EmpathyStage(SupervisedStage):
    """A supervised stage whose dialogues get the evidence of plugins, which it trains first.

    It is scored with them, without them, and with false evidence.
    """

    title: ClassVar[str] = "empathy"
    card_title: ClassVar[str] = "supervised, with the evidence of plugins"
    seconds_per_step: ClassVar[float] = 0.4
    answers_clips: ClassVar[bool] = False

    kind: Literal["empathy"]
    plugins: dict[str, dict[str, Any]] = Field(default={"emotion": {"encoder": "scratch"}, "cause": {}})
    """Name of a plugin -> settings that it is trained with."""
    selection: SelectionConfig = Field(default_factory=SelectionConfig)
    """How the emotions that are scored are decided."""

    @field_validator("plugins")
    @classmethod
    def _plugins(cls, plugins: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        problems: list[str] = []
        kinds = []
        for name, settings in plugins.items():
            try:
                fit_settings(name, settings)
                kinds.append(plugin_class(name).kind)
            except InputError as error:
                problems += map(str, error.problems)
        if not problems and "emotion" not in kinds:
            problems.append("name at least one plugin of kind emotion")
        if problems:
            raise ValueError(". ".join(problem.rstrip(".") for problem in problems))
        return plugins

    def flaws_of(self, rows: Sequence[Clip]) -> list[str]:
        """Say why the plugins could not be trained: no rows, or rows whose options lack an emotion of others."""
        chosen = [row for row in rows if _is_learned(self, row)]
        if not chosen:
            return [f"stage '{self.name}': expected rows of task {' or '.join(TASKS)} with words, got none."]
        problems = []
        if len(set(groups_of(chosen))) < 2:
            problems.append(f"stage '{self.name}': expected rows of two groups or more, got one.")
        named = {tidy(row.answer) for row in chosen}
        for options in {tuple(row.options) for row in chosen if row.options}:
            if lacking := sorted(named - {tidy(label) for label in options}):
                example = next(row.id for row in chosen if tuple(row.options or ()) == options)
                problems.append(
                    f"stage '{self.name}': expected rows of one set of emotions; the options of row {example} lack "
                    f"{', '.join(lacking)}. Leave one of the tasks out of its mixture."
                )
        return problems

    def draws_from(self, context: StageContext) -> list[Clip]:
        """Return the rows of 'train' and 'text', with evidence. Trains the plugins where they are not there yet."""
        return rows_with_evidence(context, self, super().draws_from(context))

    def score(self, context: StageContext, result: StageResult) -> dict[str, Any]:
        """Return the stage's entry: test rows with plugins, without, and with false evidence; kept in the run."""
        from eval.benchmarks.empathy.scores import evaluate
        from train.model_setup import load_stage_model

        entry = result.entry()
        rows = rows_to_come(context, self, context.rows.get("test", []))
        if not rows:
            return entry
        path = context.folder.empathy_scores(self.name)
        mark = {"fingerprint": result.fingerprint, "rows": [clip.id for clip in rows]}
        kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if kept.get("mark") != mark:
            report = evaluate(
                load_stage_model(result.folder, context.model),
                context.reader,
                rows,
                self.selection.selection(),
                context.evaluation.batch_size,
                context.evaluation.max_new_tokens,
                resamples=context.evaluation.resamples,
                examples=context.evaluation.examples,
                progress=lambda name, index, count: context.console.show(f"{name} {index + 1}/{count}", index / count),
            )
            kept = {"mark": mark, "report": report}
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_suffix(".part")
            draft.write_text(json.dumps(kept), encoding="utf-8")
            os.replace(draft, path)
        entry["empathy"] = kept["report"]
        entry["metrics"] = {
            f"accuracy_{name}": scores["accuracy"] for name, scores in kept["report"]["conditions"].items()
        }
        return entry

    @classmethod
    def headline(cls, metrics: Mapping[str, Any]) -> str:
        """Word what plugins add."""
        names = {"accuracy_plugin": "with plugins", "accuracy_no_plugin": "without"}
        return ", ".join(
            f"emotion {metrics[name]['value']:.2f} {text}" for name, text in names.items() if name in metrics
        )


def rows_with_evidence(context: StageContext, stage: EmpathyStage, rows: Sequence[Clip]) -> list[Clip]:
    """Return the rows to learn from; those of an emotion carry out-of-fold evidence of the plugins.

    Plugins are trained once, by the first process to come: on parts of the rows, whose evidence is of the other parts',
    and on all of them, for rows to come.
    """
    learned = [index for index, row in enumerate(rows) if _is_learned(stage, row)]
    chosen = [rows[index] for index in learned]
    folder = context.folder.plugins(stage.name)
    with FileLock(context.folder.lock):
        made_from = fingerprint([row.to_json() for row in chosen], stage.plugins, context.seed)
        if not _is_made(folder, made_from):
            _make(stage, chosen, folder, made_from, context.seed)
    for name in stage.plugins:
        kept = json.loads((folder / name / "evidence.json").read_text(encoding="utf-8"))
        chosen = with_evidence(chosen, name, [None if item is None else from_json(item) for item in kept])
    with_theirs = dict(zip(learned, chosen, strict=True))
    return [with_theirs.get(index, row) for index, row in enumerate(rows)]


def rows_to_come(context: StageContext, stage: EmpathyStage, rows: Sequence[Clip]) -> list[Clip]:
    """Return the rows of an emotion with the evidence of the plugins of a stage that is done."""
    chosen = [row for row in rows if _is_learned(stage, row)]
    for name in stage.plugins:
        plugin = load_plugin(context.folder.plugins(stage.name) / name)
        chosen = with_evidence(chosen, name, evidence_of(plugin, chosen))
    return chosen


def _is_learned(stage: EmpathyStage, row: Clip) -> bool:
    """Tell whether plugins of a stage learn from a row: of an emotion, with words, of a task that the stage teaches."""
    return row.task in TASKS and stage.mixture.get(row.task, 0) > 0 and dialogue_of(row) is not None


def _is_made(folder: Path, made_from: str) -> bool:
    path = folder / "mark"
    return path.is_file() and path.read_text() == made_from


def _make(stage: EmpathyStage, rows: Sequence[Clip], folder: Path, made_from: str, seed: int) -> None:
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    for name, given in stage.plugins.items():
        cls, settings = plugin_class(name), fit_settings(name, given)

        def fit(part: Sequence[Clip], name: str = name, cls: Any = cls, settings: Any = settings) -> Plugin:
            watchdog.doing(f"fitting plugin {name} on {len(part)} rows")
            with redirect_stderr(StringIO()):  # the progress of six fits
                trained: Plugin = cls.fit(part, **settings)
            return trained

        folds = min(FOLDS, len(set(groups_of(rows))))
        evidence = held_out_evidence(fit, rows, folds, seed)
        save_plugin(fit(rows), draft / name)
        written = json.dumps([None if item is None else to_json(item) for item in evidence])
        (draft / name / "evidence.json").write_text(written, encoding="utf-8")
    (draft / "mark").write_text(made_from)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(draft, folder)
