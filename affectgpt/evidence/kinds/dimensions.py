"""Evidence of dimensions: valence, arousal, dominance, or any other number that a plugin predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.evidence import Evidence, FieldError, mean_by_name, numbers_by_name
from affectgpt.evidence.plain import plain
from affectgpt.prompts import EMPATHY
from affectgpt.tasks import TASKS, is_number

_MOST = 8
"""Largest number of dimensions that a prompt shows."""


@dataclass(frozen=True, slots=True)
class DimensionEvidence(Evidence):
    """Value of a row on each of some dimensions."""

    kind: ClassVar[str] = "dimensions"
    plural: ClassVar[str] = "dimensions"
    values: Mapping[str, float]
    """Name of a dimension -> value."""
    ranges: Mapping[str, tuple[float, float]]
    """Name of the same dimension -> its lowest and highest value."""

    def __post_init__(self) -> None:
        if not isinstance(self.ranges, Mapping):
            raise FieldError("ranges", "an object of names, each with the lowest and the highest value", self.ranges)
        ranges = {}
        for name, edges in self.ranges.items():
            if not (isinstance(edges, list | tuple) and len(edges) == 2 and all(map(is_number, edges))):
                raise FieldError(f"ranges.{name}", "the lowest and the highest value", edges)
            if edges[0] >= edges[1]:
                raise FieldError(f"ranges.{name}", "a lowest value below the highest", edges)
            ranges[name] = (edges[0], edges[1])
        values = numbers_by_name(self.values, "values", -float("inf"), float("inf"))
        if set(values) != set(ranges):
            raise FieldError("ranges", f"a range of each of {', '.join(values)}", ", ".join(map(str, ranges)) or "none")
        for name, value in values.items():
            low, high = ranges[name]
            if not low <= value <= high:
                raise FieldError(f"values.{name}", f"a number from {low:g} to {high:g}", value)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "ranges", ranges)

    @classmethod
    def prompt_lines(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> list[str]:
        """Return each dimension with its range."""
        together = _together(evidence)
        shown = ", ".join(f"{plain(name)} {together._written(name)}" for name in [*together.values][:_MOST])
        return [EMPATHY["dimensions"].format(values=shown)]

    @classmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return each dimension with its range."""
        together = _together(evidence)
        return ", ".join(f"{name} {together._written(name)}" for name in together.values)

    def _written(self, name: str) -> str:
        low, high = self.ranges[name]
        return f"{self.values[name]:.2f} of {low:g} to {high:g}"

    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return values mirrored about the middle of their range; a value in the middle is drawn at random."""
        values = {}
        for name, value in self.values.items():
            low, high = self.ranges[name]
            mirrored = min(max(low + high - value, low), high)
            values[name] = mirrored if abs(mirrored - value) > 1e-6 * (high - low) else float(rng.uniform(low, high))
        return type(self)(values, self.ranges)

    def oracle(self, rng: np.random.Generator, clip: Clip, cues: Cues) -> Self:
        """Return evidence with the row's own value on the dimension that its task asks for."""
        if clip.task not in self.values or not is_number(clip.answer):
            return self
        low, high = self.ranges[clip.task]
        return type(self)({**self.values, clip.task: min(max(clip.answer, low), high)}, self.ranges)

    def answer_to(self, clip: Clip) -> Any:
        """Return the value on the dimension that the task is named after."""
        return self.values.get(clip.task) if TASKS[clip.task].answer == "number" else None


def _together(evidence: Sequence[DimensionEvidence]) -> DimensionEvidence:
    """Average the values of several plugins; a dimension keeps the range of the first plugin that names it."""
    ranges: dict[str, tuple[float, float]] = {}
    for item in evidence:
        ranges = {**item.ranges, **ranges}
    rescaled = []
    for item in evidence:
        rescaled.append({name: _moved(value, item.ranges[name], ranges[name]) for name, value in item.values.items()})
    values = evidence[0].values if len(evidence) == 1 else mean_by_name(rescaled)
    return DimensionEvidence(
        {name: min(max(value, ranges[name][0]), ranges[name][1]) for name, value in values.items()}, ranges
    )


def _moved(value: float, old: tuple[float, float], new: tuple[float, float]) -> float:
    """Map a value linearly from one range to another."""
    return new[0] + (value - old[0]) / (old[1] - old[0]) * (new[1] - new[0])
