"""Evidence of action units: which muscles of the face move (FACS), each with its probability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.evidence import Evidence, highest, mean_by_name, numbers_by_name, reassigned, with_highest
from affectgpt.evidence.plain import plain
from affectgpt.prompts import EMPATHY
from affectgpt.tasks import TASKS

ACTIVE = 0.5
"""Probability from which a unit counts as active."""


@dataclass(frozen=True, slots=True)
class UnitEvidence(Evidence):
    """Probability that each action unit is active."""

    kind: ClassVar[str] = "units"
    plural: ClassVar[str] = "units"
    probabilities: Mapping[str, float]
    """Name of a unit, such as 'AU12', -> 0 to 1, each by itself."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "probabilities", numbers_by_name(self.probabilities, "probabilities", 0, 1))

    @classmethod
    def prompt_lines(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> list[str]:
        """Return the likeliest few of the active units."""
        shown = _active(evidence, cues.top)
        return [EMPATHY["units"].format(values=", ".join(f"{plain(n)} {v:.2f}" for n, v in shown))] if shown else []

    @classmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return the likeliest few of the active units."""
        return (
            f"units: {', '.join(f'{name} {value:.2f}' for name, value in _active(evidence, cues.top)) or 'none active'}"
        )

    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return the same probabilities assigned to other units."""
        return type(self)(reassigned(self.probabilities, rng, 1))

    def oracle(self, rng: np.random.Generator, clip: Clip, cues: Cues) -> Self:
        """Return the same probabilities, the highest of them assigned to the gold units."""
        gold = (
            {tidy(answer) for answer in clip.answer if isinstance(answer, str)} if isinstance(clip.answer, list) else ()
        )
        return type(self)(with_highest(self.probabilities, [name for name in self.probabilities if tidy(name) in gold]))

    def answer_to(self, clip: Clip) -> Any:
        """Return the units that are active."""
        if TASKS[clip.task].answer != "labels":
            return None
        return [name for name, value in self.probabilities.items() if value >= ACTIVE]


def _active(evidence: Sequence[UnitEvidence], count: int) -> list[tuple[str, float]]:
    mean = mean_by_name([item.probabilities for item in evidence])
    return [(name, value) for name, value in highest(mean, count) if value >= ACTIVE]
