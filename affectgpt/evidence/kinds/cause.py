"""Evidence of a cause: the words, and the moments of a clip, that caused an emotion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.dialogue import dialogue_of
from affectgpt.evidence.evidence import Evidence, FieldError
from affectgpt.evidence.plain import plain
from affectgpt.evidence.words import read_text
from affectgpt.problems import shorten
from affectgpt.prompts import EMPATHY

_STREAMS = {"video": "picture", "audio": "voice"}


@dataclass(frozen=True, slots=True)
class CauseWord:
    """Word of a dialogue, weighted by how much it contributes to the emotion."""

    turn: int
    """Index of the turn, from 0."""
    start: int
    end: int
    """End of the word in the turn, in characters, exclusive."""
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class CauseSpan:
    """Span of a clip's pictures or sound, weighted by how much it contributes to the emotion."""

    stream: str
    """'video' or 'audio'."""
    start_s: float
    end_s: float
    weight: float


@dataclass(frozen=True, slots=True)
class CauseEvidence(Evidence):
    """Causes of the emotion: words, spans of the clip, or both; weights are 0 or more."""

    kind: ClassVar[str] = "cause"
    plural: ClassVar[str] = "causes"
    words: tuple[CauseWord, ...] = ()
    spans: tuple[CauseSpan, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", _read(self.words, "words", CauseWord))
        object.__setattr__(self, "spans", _read(self.spans, "spans", CauseSpan))
        weight = "weights of 0 or more"
        _require(self.words, "words", weight, lambda word: 0 <= word.weight < math.inf)
        _require(self.spans, "spans", weight, lambda span: 0 <= span.weight < math.inf)
        _require(
            self.words,
            "words",
            "words with a turn from 0 and start < end",
            lambda word: 0 <= word.start < word.end and word.turn >= 0 and isinstance(word.text, str),
        )
        _require(self.spans, "spans", "spans with start_s < end_s", lambda span: 0 <= span.start_s < span.end_s)

    def top_words(self, count: int) -> list[str]:
        """Return the words of the highest weight, each once regardless of case."""
        heaviest: dict[str, str] = {}
        for word in sorted(self.words, key=lambda word: -word.weight):
            heaviest.setdefault(word.text.casefold(), word.text)
        return [*heaviest.values()][:count]

    @classmethod
    def prompt_lines(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> list[str]:
        """Return the words, then the moments, of the highest weight."""
        lines = []
        words = cls(words=tuple(word for item in evidence for word in item.words)).top_words(cues.causes)
        if shown := [word.replace(" ", "-") for word in map(plain, words) if word]:
            lines.append(EMPATHY["words"].format(words=" ".join(shown)))
        if spans := _weightiest(evidence, cues.causes):
            lines.append(EMPATHY["moments"].format(moments=", ".join(map(_moment, spans))))
        return lines

    @classmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return the words and the moments of the highest weight."""
        words = [word for item in evidence for word in item.top_words(cues.causes)]
        parts = [f"causes: {', '.join(words)}"] if words else []
        moments = ", ".join(map(_moment, _weightiest(evidence, cues.causes)))
        return "; ".join([*parts, *([f"moments: {moments}"] if moments else [])])

    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return as many random words of the row with the same weights; moments moved at random."""
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # takes a second, which prompts need not wait

        dialogue = dialogue_of(clip)
        spoken = read_text(dialogue.turns).words() if dialogue else []
        known = [(turn, start, word) for _, turn, start, word in spoken if word.casefold() not in ENGLISH_STOP_WORDS]
        count = min(len(known), len(self.words))
        chosen = [known[index] for index in rng.choice(len(known), count, replace=False)] if count else []
        weights = sorted((word.weight for word in self.words), reverse=True)
        words = [
            CauseWord(turn, start, start + len(word), word, weight)
            for (turn, start, word), weight in zip(chosen, weights, strict=False)
        ]
        ends = [span.end_s for span in self.spans]
        spans = []
        for span in self.spans:
            length = span.end_s - span.start_s
            start_s = float(rng.uniform(0, max(ends) - length)) if max(ends) > length else 0.0
            spans.append(replace(span, start_s=start_s, end_s=start_s + length))
        return type(self)(tuple(words), tuple(spans))


def _read(values: Any, field: str, cls: type[Any]) -> tuple[Any, ...]:
    """Return words or spans as instances of `cls`, made from JSON objects where necessary."""
    if not isinstance(values, list | tuple):
        raise FieldError(field, "a list", values)
    names = [item.name for item in fields(cls)]
    for index, value in enumerate(values):
        if not isinstance(value, cls) and not (isinstance(value, dict) and set(value) == set(names)):
            raise FieldError(f"{field}[{index}]", f"an object of {', '.join(names)}", value)
    return tuple(value if isinstance(value, cls) else cls(**value) for value in values)


def _require(values: Sequence[Any], field: str, expected: str, holds: Callable[[Any], bool]) -> None:
    index = 0
    try:
        for index, value in enumerate(values):
            if not holds(value):
                raise FieldError(f"{field}[{index}]", expected, shorten(value))
    except TypeError:  # a text where a number belongs
        raise FieldError(f"{field}[{index}]", expected, shorten(values[index])) from None


def _weightiest(evidence: Sequence[CauseEvidence], count: int) -> list[CauseSpan]:
    return sorted((span for item in evidence for span in item.spans), key=lambda span: -span.weight)[:count]


def _moment(span: CauseSpan) -> str:
    return f"{_STREAMS.get(span.stream, plain(span.stream))} {span.start_s:.1f}-{span.end_s:.1f} s"
