"""Evidence of spans: states, such as hesitancy, with the stretches of a clip in which they are seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.evidence import Evidence, FieldError
from affectgpt.evidence.plain import plain
from affectgpt.prompts import EMPATHY
from affectgpt.tasks import TASKS, is_number

LIKELY = 0.5
"""Probability from which a state counts as present."""


@dataclass(frozen=True, slots=True)
class StateSpan:
    """Span of a clip and the state of the person in it."""

    state: str
    start_s: float
    end_s: float
    probability: float


@dataclass(frozen=True, slots=True)
class SpanEvidence(Evidence):
    """Times at which a person is in some state; spans may overlap, and there may be none."""

    kind: ClassVar[str] = "spans"
    plural: ClassVar[str] = "spans"
    spans: tuple[StateSpan, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.spans, list | tuple):
            raise FieldError("spans", "a list", self.spans)
        object.__setattr__(self, "spans", tuple(_read(index, value) for index, value in enumerate(self.spans)))

    @classmethod
    def prompt_lines(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> list[str]:
        """Return the likeliest spans with their seconds."""
        shown = [f"{plain(span.state)} {_seconds(span)}" for span in _likeliest(evidence, cues.causes)]
        return [EMPATHY["spans"].format(values=", ".join(shown))] if shown else []

    @classmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return the likeliest spans with their seconds."""
        shown = [f"{span.state} {_seconds(span)}" for span in _likeliest(evidence, cues.causes)]
        return f"spans: {', '.join(shown)}" if shown else ""

    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return spans of the same lengths and probabilities, moved at random within the clip.

        A clip of unknown length is taken to end with its last span. A span that fills the whole clip stays.
        """
        ends = [span.end_s for span in self.spans]
        length = max([*ends, clip.end - (clip.start or 0.0)] if clip.end is not None else ends, default=0.0)
        moved = []
        for span in self.spans:
            room = length - (span.end_s - span.start_s)
            start_s = float(rng.uniform(0, room)) if room > 0 else span.start_s
            moved.append(replace(span, start_s=start_s, end_s=start_s + span.end_s - span.start_s))
        return type(self)(tuple(moved))

    def oracle(self, rng: np.random.Generator, clip: Clip, cues: Cues) -> Self:
        """Return the spans of the states that the gold answer names, or all spans if it names none of them."""
        answers = clip.answer if isinstance(clip.answer, list) else [clip.answer]
        gold = {tidy(answer) for answer in answers if isinstance(answer, str)}
        if TASKS[clip.task].answer not in ("label", "labels") or not gold & {tidy(span.state) for span in self.spans}:
            return self
        return type(self)(tuple(span for span in self.spans if tidy(span.state) in gold))

    def answer_to(self, clip: Clip) -> Any:
        """Return the likeliest state, or all that are likely, as the row's options write them."""
        written = {tidy(option): option for option in clip.options or ()}
        likely = [span for span in _likeliest([self], len(self.spans)) if span.probability >= LIKELY]
        states = list(dict.fromkeys(written.get(tidy(span.state), span.state) for span in likely))
        match TASKS[clip.task].answer:
            case "label":
                return states[0] if states else None
            case "labels":
                return states
        return None


def _read(index: int, value: Any) -> StateSpan:
    """Make a span from JSON, unless it is one already, and check it."""
    field, names = f"spans[{index}]", [item.name for item in fields(StateSpan)]
    if not isinstance(value, StateSpan):
        if not isinstance(value, dict) or set(value) != set(names):
            raise FieldError(field, f"an object of {', '.join(names)}", value)
        value = StateSpan(**value)
    if not isinstance(value.state, str) or not value.state.strip():
        raise FieldError(f"{field}.state", "a name", value.state)
    if not (is_number(value.start_s) and is_number(value.end_s) and 0 <= value.start_s < value.end_s):
        raise FieldError(field, "start_s from 0 and below end_s", f"{value.start_s} and {value.end_s}")
    if not (is_number(value.probability) and 0 <= value.probability <= 1):
        raise FieldError(f"{field}.probability", "a number from 0 to 1", value.probability)
    return value


def _likeliest(evidence: Sequence[SpanEvidence], count: int) -> list[StateSpan]:
    return sorted((span for item in evidence for span in item.spans), key=lambda span: -span.probability)[:count]


def _seconds(span: StateSpan) -> str:
    return f"{span.start_s:.1f}-{span.end_s:.1f} s ({span.probability:.2f})"
