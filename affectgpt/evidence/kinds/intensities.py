"""Evidence of intensities: how strong each of some emotions is, by itself; several may be strong at once."""

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

HIGHEST = 10
STRONG = 5
"""Intensity from which an emotion counts as present."""


@dataclass(frozen=True, slots=True)
class IntensityEvidence(Evidence):
    """Intensity of each of some emotions."""

    kind: ClassVar[str] = "intensities"
    plural: ClassVar[str] = "intensities"
    values: Mapping[str, float]
    """Label -> 0 (absent) to 10."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", numbers_by_name(self.values, "values", 0, HIGHEST))

    @classmethod
    def prompt_lines(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> list[str]:
        """Return the strongest few emotions, in tenths; absent ones are left out."""
        shown = _strongest(evidence, cues.top)
        return [EMPATHY["intensities"].format(values=", ".join(f"{plain(n)} {v:g}" for n, v in shown))] if shown else []

    @classmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return the strongest few emotions."""
        shown = _strongest(evidence, cues.top)
        return f"intensities: {', '.join(f'{name} {value:g}' for name, value in shown)}" if shown else ""

    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return the same intensities assigned to other emotions."""
        return type(self)(reassigned(self.values, rng, HIGHEST))

    def oracle(self, rng: np.random.Generator, clip: Clip, cues: Cues) -> Self:
        """Return the gold intensities, or the same intensities with the gold emotions the strongest."""
        if isinstance(clip.answer, dict) and TASKS[clip.task].answer == "intensities":
            return type(self)({name: clip.answer.get(name, value) for name, value in self.values.items()})
        answers = clip.answer if isinstance(clip.answer, list) else [clip.answer]
        gold = {tidy(answer) for answer in answers if isinstance(answer, str)}
        return type(self)(with_highest(self.values, [name for name in self.values if tidy(name) in gold]))

    def answer_to(self, clip: Clip) -> Any:
        """Return the intensities; the strongest label, as the row's options write it; or all strong ones."""
        written = {tidy(option): option for option in clip.options or ()}
        ranked = [(written.get(tidy(name), name), value) for name, value in highest(self.values)]
        match TASKS[clip.task].answer:
            case "intensities":
                return dict(self.values)
            case "label":
                return ranked[0][0]
            case "labels":
                return [name for name, value in ranked if value >= STRONG]
        return None


def _strongest(evidence: Sequence[IntensityEvidence], count: int) -> list[tuple[str, float]]:
    rounded = {name: round(value, 1) for name, value in mean_by_name([item.values for item in evidence]).items()}
    return [(name, value) for name, value in highest(rounded, count) if value > 0]
