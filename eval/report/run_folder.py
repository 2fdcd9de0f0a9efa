"""Contents of a run folder for its report: scores, training log, clips to show."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.problems import InputError, Problem, require_file, shorten

_WORDS_OF_V0_1_0: dict[str, dict[str, Any]] = {
    "sft": {"title": "supervised"},
    "grpo": {"title": "reinforcement", "rewarded": True},
    "empathy": {"title": "empathy", "answers_clips": False},
}
"""Keys that a stage lacks in reports of v0.1.0, by its kind."""


@dataclass(frozen=True, slots=True)
class Run:
    """Contents of a run folder."""

    folder: Path
    report: dict[str, Any]
    log: dict[str, list[dict[str, Any]]]
    """Logged steps of each stage, in order. A run that was killed and resumed logged some twice: the later counts."""
    examples: list[dict[str, Any]]

    @property
    def stages(self) -> list[dict[str, Any]]:
        """Stages of report.json that train on clips."""
        return [stage for stage in self.report["stages"] if stage["answers_clips"]]

    @property
    def empathy(self) -> dict[str, Any] | None:
        """Scores of the last stage that was scored with and without plugins."""
        return next((stage["empathy"] for stage in reversed(self.report["stages"]) if stage.get("empathy")), None)

    @property
    def final(self) -> dict[str, Any]:
        """Last evaluated stage; there must be one that trains on clips."""
        return next((stage for stage in reversed(self.stages) if stage.get("metrics")), self.stages[-1])

    @property
    def before_grpo(self) -> dict[str, Any] | None:
        """Evaluated stage from which the last stage that learns from rewards started."""
        rewarded = [index for index, stage in enumerate(self.stages) if stage["rewarded"]]
        earlier = [stage for stage in self.stages[: rewarded[-1]] if stage.get("metrics")] if rewarded else []
        return earlier[-1] if earlier else None

    def best_baseline(self, metric: str) -> float | None:
        """Return the best score of a constant answer."""
        values = [value_of(scores.get(metric)) for scores in self.report.get("baselines", {}).values()]
        return max((value for value in values if value is not None), default=None)

    @property
    def notes(self) -> list[str]:
        """Notes of the data's own description that every reader must know; of v0.1.0, that they are synthetic."""
        notes = self.report.get("data", {}).get("notes")
        if notes is None and self.is_synthetic:
            notes = ["Synthetic data: the people are drawn and their voices are made by a program."]
        return [str(note) for note in notes or []]

    @property
    def is_synthetic(self) -> bool:
        """Whether the clips are synthetic: only for such data is the noise of the labels known."""
        return "label_noise" in self.report.get("data", {})


def read_run(folder: Path) -> Run:
    """Read the files that the report is made of."""
    remedy = "`affectgpt train` writes it: train first, or name the folder of a finished run."
    names = {"report.json": "the scores", "log.jsonl": "the training log", "examples.jsonl": "the clips to show"}
    paths = {name: require_file(folder / name, what, remedy) for name, what in names.items()}
    report = _parse(paths["report.json"], 1, paths["report.json"].read_text(encoding="utf-8"))
    stages = report.get("stages")
    if not isinstance(stages, list) or not stages:
        raise InputError(Problem(str(paths["report.json"]), "stages", "a list of stages", shorten(stages), remedy))
    for index, stage in enumerate(stages):
        if not isinstance(stage, dict) or not {"name", "kind"} <= set(stage):
            where = f"stages[{index}]"
            raise InputError(
                Problem(str(paths["report.json"]), where, "a stage with 'name' and 'kind'", shorten(stage))
            )
    report["stages"] = [_worded(stage) for stage in stages]
    steps: dict[str, dict[int, dict[str, Any]]] = {}
    for row in _lines(paths["log.jsonl"], ("stage", "step")):
        steps.setdefault(row["stage"], {})[row["step"]] = row
    log = {stage: [rows[step] for step in sorted(rows)] for stage, rows in steps.items()}
    return Run(folder, report, log, _lines(paths["examples.jsonl"], ("id", "video", "truth", "predictions")))


def _worded(stage: dict[str, Any]) -> dict[str, Any]:
    """Return a stage with the words of its kind, which are added if v0.1.0 wrote it."""
    kind = str(stage["kind"])
    plain = {"title": kind, "answers_clips": True, "rewarded": False}
    return plain | _WORDS_OF_V0_1_0.get(kind, {}) | stage


def _lines(path: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if line.strip():
            row = _parse(path, number, line)
            missing = [name for name in needed if name not in row]
            if missing:
                raise InputError(Problem(str(path), f"line {number}", f"the field '{missing[0]}'", "none"))
            rows.append(row)
    return rows


def _parse(path: Path, line: int, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(Problem(str(path), f"line {line + error.lineno - 1}", "JSON", error.msg)) from None
    if not isinstance(found, dict):
        raise InputError(Problem(str(path), f"line {line}", "a JSON object", type(found).__name__))
    return found


def value_of(metric: Any) -> float | None:
    """Return the value of a metric, None if there is none."""
    value = metric.get("value") if isinstance(metric, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
