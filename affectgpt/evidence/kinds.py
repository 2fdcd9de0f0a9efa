"""What a small model says about a dialogue or a clip: evidence, as objects and as the JSON that rows carry.

A row's `evidence` is a mapping from a name, of whoever said it, to one piece:

    {"emotion": {"kind": "emotion", "labels": ["joyful", ...], "probabilities": [0.4, ...], "calibrated": true},
     "cause": {"kind": "cause", "words": [{"turn": 0, "start": 12, "end": 16, "text": "tire", "weight": 0.3}, ...]}}
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from affectgpt.problems import InputError, Problem, nearest, shorten


@dataclass(frozen=True, slots=True)
class EmotionEvidence:
    """How likely each emotion of a closed set is."""

    kind: ClassVar[str] = "emotion"
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    """Of each label; they add up to 1."""
    calibrated: bool = False
    """Whether they were fitted on held-out data to say how often the model is right."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(self.labels))
        object.__setattr__(self, "probabilities", tuple(self.probabilities))
        if len(set(self.labels)) < len(self.labels) or len(self.labels) != len(self.probabilities) or not self.labels:
            raise ValueError("expected distinct labels with a probability each")
        if not all(0 <= value <= 1 for value in self.probabilities) or not math.isclose(
            sum(self.probabilities), 1, abs_tol=1e-3
        ):
            raise ValueError("expected probabilities from 0 to 1 that add up to 1")

    def top(self, count: int) -> list[tuple[str, float]]:
        """The likeliest labels with their probabilities, the first first; of equals, the earlier label."""
        pairs = zip(self.labels, self.probabilities, strict=True)
        return sorted(pairs, key=lambda pair: -pair[1])[:count]

    def over(self, labels: Sequence[str], mapping: Mapping[str, str] | None = None) -> EmotionEvidence:
        """The same evidence over another label set: probabilities of labels that are mapped to one are added up.

        Args:
            labels: the set that is wanted.
            mapping: from this evidence's labels to wanted ones; those that are wanted themselves need none.

        Raises:
            InputError: a label that is neither wanted nor mapped; every one is named.
        """
        mapping = mapping or {}
        total = dict.fromkeys(labels, 0.0)
        problems = []
        for label, value in zip(self.labels, self.probabilities, strict=True):
            target = mapping.get(label, label)
            if target in total:
                total[target] += value
            else:
                problems.append(Problem("evidence", label, "a label of the set", target, nearest(target, labels)))
        if problems:
            raise InputError(problems, "Declare a mapping from the one label set to the other.")
        return EmotionEvidence(tuple(total), tuple(total.values()), self.calibrated)


@dataclass(frozen=True, slots=True)
class CauseWord:
    """A word of a dialogue and how much it has to do with the emotion."""

    turn: int
    """From 0."""
    start: int
    end: int
    """Characters of the turn."""
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class CauseSpan:
    """A stretch of a clip's pictures or sound and how much it has to do with the emotion."""

    stream: str
    """'video' or 'audio'."""
    start_s: float
    end_s: float
    weight: float


@dataclass(frozen=True, slots=True)
class CauseEvidence:
    """What brought the emotion about: words that were said, stretches of the clip, or both; weights are 0 or more."""

    kind: ClassVar[str] = "cause"
    words: tuple[CauseWord, ...] = ()
    spans: tuple[CauseSpan, ...] = ()

    def __post_init__(self) -> None:
        words = (word if isinstance(word, CauseWord) else CauseWord(**word) for word in self.words)
        spans = (span if isinstance(span, CauseSpan) else CauseSpan(**span) for span in self.spans)
        object.__setattr__(self, "words", tuple(words))
        object.__setattr__(self, "spans", tuple(spans))
        weights = [word.weight for word in self.words] + [span.weight for span in self.spans]
        if not all(0 <= weight < math.inf for weight in weights):
            raise ValueError("expected weights of 0 or more")
        if not all(0 <= word.start < word.end and word.turn >= 0 for word in self.words):
            raise ValueError("expected words with a turn from 0 and start < end")
        if not all(0 <= span.start_s < span.end_s for span in self.spans):
            raise ValueError("expected spans with start_s < end_s")

    def top_words(self, count: int) -> list[str]:
        """The words that weigh most, each once however it is capitalised."""
        heaviest: dict[str, str] = {}
        for word in sorted(self.words, key=lambda word: -word.weight):
            heaviest.setdefault(word.text.casefold(), word.text)
        return [*heaviest.values()][:count]


Evidence = EmotionEvidence | CauseEvidence
KINDS: dict[str, type[Evidence]] = {"emotion": EmotionEvidence, "cause": CauseEvidence}


def to_json(evidence: Evidence) -> dict[str, Any]:
    """The evidence as a row carries it."""
    return {"kind": evidence.kind, **asdict(evidence)}


def from_json(found: Any, place: str = "evidence") -> Evidence:
    """The evidence that a row carries.

    Raises:
        InputError: another kind, or something about it that is wrong.
    """
    if not isinstance(found, dict) or found.get("kind") not in KINDS:
        kind = found.get("kind") if isinstance(found, dict) else found
        raise InputError(Problem(place, "kind", f"one of {', '.join(KINDS)}", shorten(kind)))
    form = KINDS[found["kind"]]
    given = {key: value for key, value in found.items() if key != "kind"}
    known = [item.name for item in fields(form)]
    if unknown := [key for key in given if key not in known]:
        raise InputError([Problem(place, key, "a known key", "an unknown one", nearest(key, known)) for key in unknown])
    try:
        return form(**given)
    except (TypeError, ValueError) as error:
        raise InputError(Problem(place, found["kind"], "what its kind holds", str(error))) from None


def pieces_of(evidence: Mapping[str, Any] | None, place: str = "evidence") -> dict[str, Evidence]:
    """All that a row carries, by the name of whoever said it.

    Raises:
        InputError: with every piece that is wrong.
    """
    pieces, problems = {}, []
    for name, found in (evidence or {}).items():
        try:
            pieces[name] = from_json(found, f"{place} of {name}")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return pieces
