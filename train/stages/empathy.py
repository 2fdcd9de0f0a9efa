"""Stages of kind `empathy`: supervised ones whose rows carry the evidence of plugins, which the stage trains first."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from filelock import FileLock
from pydantic import Field, field_validator

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.empathy.two_stage import Mode, Selection
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
from affectgpt.plugins.rows import described_rows, evidence_of, is_learned, media_errors
from affectgpt.problems import InputError
from affectgpt.progress import Rounds
from affectgpt.tasks import ANSWER_TYPES, TASKS
from train.config.section import Section
from train.fault_tolerance import watchdog
from train.fingerprint import fingerprint
from train.stages.context import StageContext
from train.stages.kind import StageResult
from train.stages.sft import SupervisedStage


class SelectionConfig(Section):
    """Settings of the two-stage decision about emotions; every field is one of `Selection`, which explains it."""

    mode: Mode = "score"
    """Decision by the likelihoods of the emotions, or by reading what the model writes."""
    margin: float = 0.0
    """Margin in nats by which the best of the first emotions must be likelier than 'none of these'."""
    fusion: float = Field(default=0.0, ge=0)
    """Weight of the plugins' log-probabilities relative to the model's."""

    def selection(self) -> Selection:
        """Return the settings in the form that the evaluator takes."""
        return Selection(self.mode, self.margin, self.fusion)


class EmpathyStage(SupervisedStage):
    """Supervised stage whose dialogues carry the evidence of plugins, which it trains first.

    It is scored with them, without them, and with false evidence.
    """

    title: ClassVar[str] = "empathy"
    card_title: ClassVar[str] = "supervised, with the evidence of plugins"
    seconds_per_step: ClassVar[float] = 0.4
    answers_clips: ClassVar[bool] = False

    kind: Literal["empathy"]
    plugins: dict[str, dict[str, Any]] = Field(default={"emotion": {"encoder": "scratch"}, "cause": {}})
    """Plugins by name, with the settings of their training."""
    selection: SelectionConfig = Field(default_factory=SelectionConfig)
    """Settings of the decision about the emotions that are scored."""

    @field_validator("plugins")
    @classmethod
    def _plugins(cls, plugins: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        problems: list[str] = []
        named = []
        for name, settings in plugins.items():
            try:
                fit_settings(name, settings)
                named.append(names_emotion(plugin_class(name)))
            except InputError as error:
                problems += map(str, error.problems)
        if not problems and not any(named):
            problems.append("name at least one plugin of kind emotion")
        if problems:
            raise ValueError(". ".join(problem.rstrip(".") for problem in problems))
        return plugins

    def flaws_of(self, rows: Sequence[Clip]) -> list[str]:
        """Return why the plugins could not be trained: no rows, or rows whose options lack an emotion of other rows."""
        learners = self.learners(rows)
        problems = []
        for name in self.plugins:
            chosen = [row for row, names in zip(rows, learners, strict=True) if name in names]
            if not chosen:
                problems.append(f"stage '{self.name}': expected {described_rows(plugin_class(name))}, got none.")
            elif len(set(groups_of(chosen))) < 2:
                problems.append(f"stage '{self.name}': expected rows of two groups or more, got one.")
            problems += self._lacking_options(chosen)
        return list(dict.fromkeys(problems))

    def _lacking_options(self, rows: Sequence[Clip]) -> list[str]:
        """Return a problem for every set of options that lacks a label of other rows."""
        labelled = [row for row in rows if TASKS[row.task].answer == "label"]
        named = {tidy(row.answer) for row in labelled}
        problems = []
        for options in {tuple(row.options) for row in labelled if row.options}:
            if lacking := sorted(named - {tidy(label) for label in options}):
                example = next(row.id for row in labelled if tuple(row.options or ()) == options)
                problems.append(
                    f"stage '{self.name}': expected rows of one set of emotions; the options of row {example} lack "
                    f"{', '.join(lacking)}. Leave one of the tasks out of its mixture."
                )
        return problems

    def learners(self, rows: Sequence[Clip]) -> list[list[str]]:
        """Return, for each row, the names of the plugins that learn from it.

        A plugin learns from the tasks that the stage teaches, and from those that no stage can teach, as their answers
        are not text.
        """
        classes = {name: plugin_class(name) for name in self.plugins}
        silent = {name for name, task in TASKS.items() if not ANSWER_TYPES[task.answer].spoken}
        taught = {task for task, weight in self.mixture.items() if weight > 0} | silent
        return [[name for name, cls in classes.items() if row.task in taught and is_learned(cls, row)] for row in rows]

    def draws_from(self, context: StageContext) -> list[Clip]:
        """Return the rows of 'train' and 'text', with evidence. Trains the plugins on first use."""
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
        evaluation = context.evaluation.model_dump(include={"max_new_tokens", "resamples", "examples"})
        mark = {"fingerprint": result.fingerprint, "rows": [clip.id for clip in rows], **evaluation}
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
        """Return a sentence that says what plugins add."""
        names = {"accuracy_plugin": "with plugins", "accuracy_no_plugin": "without"}
        return ", ".join(
            f"emotion {metrics[name]['value']:.2f} {text}" for name, text in names.items() if name in metrics
        )


def rows_with_evidence(context: StageContext, stage: EmpathyStage, rows: Sequence[Clip]) -> list[Clip]:
    """Return the training rows; those that plugins learn from carry their out-of-fold evidence.

    Plugins are trained once, by the first process that gets here: without each fold, for the evidence of its rows, and
    on all rows, for the evidence of other rows.
    """
    learned = [index for index, names in enumerate(stage.learners(rows)) if names]
    chosen = [rows[index] for index in learned]
    folder = context.folder.plugins(stage.name)
    with FileLock(context.folder.lock):
        made_from = fingerprint([row.to_json() for row in chosen], stage.plugins, context.seed)
        if not _is_made(folder, made_from):
            _make(stage, chosen, folder, made_from, context.seed)
    for name in stage.plugins:
        kept = json.loads((folder / name / "evidence.json").read_text(encoding="utf-8"))
        chosen = with_evidence(chosen, name, [None if item is None else read_one(item) for item in kept])
    with_theirs = dict(zip(learned, chosen, strict=True))
    return [with_theirs.get(index, row) for index, row in enumerate(rows)]


def rows_to_come(context: StageContext, stage: EmpathyStage, rows: Sequence[Clip]) -> list[Clip]:
    """Return the rows that the stage is scored by, those whose emotion a plugin predicts, with the evidence of all."""
    naming = {name for name in stage.plugins if names_emotion(plugin_class(name))}
    chosen = [row for row, names in zip(rows, stage.learners(rows), strict=True) if naming & {*names}]
    for name in stage.plugins:
        plugin = load_plugin(context.folder.plugins(stage.name) / name)
        chosen = with_evidence(chosen, name, evidence_of(plugin, chosen))
    return chosen


def _is_made(folder: Path, made_from: str) -> bool:
    path = folder / "mark"
    return path.is_file() and path.read_text() == made_from


def _make(stage: EmpathyStage, rows: Sequence[Clip], folder: Path, made_from: str, seed: int) -> None:
    draft = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    folds = min(FOLDS, len(set(groups_of(rows))))
    for name, given in stage.plugins.items():
        evidence, plugin = _fitted(name, fit_settings(name, given), rows, folds, seed)
        save_plugin(plugin, draft / name)
        written = json.dumps([None if item is None else item.to_json() for item in evidence])
        (draft / name / "evidence.json").write_text(written, encoding="utf-8")
    (draft / "mark").write_text(made_from)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(draft, folder)


def _fitted(
    name: str, settings: dict[str, Any], rows: Sequence[Clip], folds: int, seed: int
) -> tuple[list[Evidence | None], Plugin]:
    """Return the out-of-fold evidence of one plugin for rows, and the plugin trained on all of them."""
    cls, progress, fits = plugin_class(name), Rounds(f"fitting plugin {name}"), iter(range(folds + 1))

    def fit(part: Sequence[Clip]) -> Plugin:
        watchdog.doing(f"fitting plugin {name} on {len(part)} rows")
        with progress.round(next(fits), folds + 1), media_errors(cls, part):
            return cls.fit([row for row in part if is_learned(cls, row)], **settings)

    return held_out_evidence(fit, rows, folds, seed), fit(rows)
