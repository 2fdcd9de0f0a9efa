"""Evidence of an emotion: the probability of each label of a closed set; and the shortlist of two-stage prediction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.evidence import Evidence, FieldError, highest, mean_by_name, numbers, texts
from affectgpt.evidence.plain import plain
from affectgpt.problems import InputError, Problem, nearest
from affectgpt.prompts import EMPATHY
from affectgpt.tasks import TASKS

Whose = Literal["speaker", "reader", "response"]
"""Holder of the emotion: the speaker of the row, its reader, or the response that is still to come."""


@dataclass(frozen=True, slots=True)
class EmotionEvidence(Evidence):
    """Probability of each emotion of a closed set."""

    kind: ClassVar[str] = "emotion"
    plural: ClassVar[str] = "emotions"
    labels: tuple[str, ...]
    probabilities: tuple[float, ...]
    """Probability of each label; they add up to 1."""
    calibrated: bool = False
    """Whether the probabilities were calibrated on held-out data."""
    whose: Whose = "speaker"
    """Holder of the emotion; only the speaker's emotion enters the shortlist."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", texts(self.labels, "labels"))
        object.__setattr__(self, "probabilities", numbers(self.probabilities, "probabilities", 0, 1))
        if len(self.labels) != len(self.probabilities):
            got = f"{len(self.probabilities)} for {len(self.labels)} labels"
            raise FieldError("probabilities", "distinct labels with a probability each", got)
        if not math.isclose(sum(self.probabilities), 1, abs_tol=1e-3):
            raise FieldError(
                "probabilities", "probabilities from 0 to 1 that add up to 1", f"a sum of {sum(self.probabilities):g}"
            )
        if not isinstance(self.calibrated, bool):
            raise FieldError("calibrated", "true or false", self.calibrated)
        if self.whose not in get_args(Whose):
            raise FieldError("whose", f"one of {', '.join(get_args(Whose))}", self.whose)

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as a row carries it; whose emotion it is only where it is not the speaker's."""
        values = {"kind": self.kind, **asdict(self)}
        if self.whose == "speaker":
            del values["whose"]
        return values

    def top(self, count: int | None = None) -> list[tuple[str, float]]:
        """Return the likeliest labels with their probabilities, the likeliest first; ties keep the labels' order."""
        return highest(dict(zip(self.labels, self.probabilities, strict=True)), count)

    def over(self, labels: Sequence[str], mapping: Mapping[str, str] | None = None) -> EmotionEvidence:
        """Map the evidence to another label set: the probabilities of labels mapped to the same one are added up.

        Args:
            labels: the target label set.
            mapping: from this evidence's labels to those of the target set; labels of both sets need no entry.

        Raises:
            InputError: a label that is neither in the target set nor mapped; every one is named.
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
        return EmotionEvidence(tuple(total), tuple(total.values()), self.calibrated, self.whose)

    @classmethod
    def prompt_lines(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> list[str]:
        """Return the two stages of the speaker's emotion, and the likeliest few of a reader's and a response's.

        A dialogue without evidence of the speaker's emotion lists its closed set.
        """
        lines = []
        emotions = shortlist_of(evidence, clip, cues)
        first, rest = ", ".join(map(plain, emotions.first)), ", ".join(map(plain, emotions.rest))
        if first and rest:
            lines.append(EMPATHY["stages"].format(first=first, rest=rest))
        elif first:
            lines.append(EMPATHY["likely"].format(first=first))
        elif rest and clip.task == "dialogue":
            lines.append(EMPATHY["labels"].format(labels=rest))
        for whose in ("reader", "response"):
            if ranked := _ranked(evidence, whose):
                lines.append(EMPATHY[whose].format(first=", ".join(plain(label) for label, _ in ranked[: cues.top])))
        return lines

    @classmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return the likeliest few emotions with their probabilities, the speaker's first."""
        speaker = shortlist_of(evidence, clip, cues).evidence
        parts = [_listed(speaker.top(cues.top))] if speaker else []
        for whose in ("reader", "response"):
            if ranked := _ranked(evidence, whose):
                parts.append(f"{whose}: {_listed(ranked[: cues.top])}")
        return "; ".join(parts)

    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return the same probabilities with the labels in random order."""
        labels = tuple(rng.permutation(self.labels).tolist())
        return type(self)(labels, self.probabilities, self.calibrated, self.whose)

    def oracle(self, rng: np.random.Generator, clip: Clip, cues: Cues) -> Self:
        """Return evidence with the gold emotion among the likeliest: if it is not, it swaps with a random one of them.

        A row whose answer is a distribution over the same labels gets that one.
        """
        if isinstance(clip.answer, dict) and set(clip.answer) == set(self.labels):
            values = tuple(float(clip.answer[label]) for label in self.labels)
            return type(self)(self.labels, values, self.calibrated, self.whose)
        if not isinstance(clip.answer, str) or self.whose != "speaker":
            return self
        gold = next((label for label in self.labels if tidy(label) == tidy(clip.answer)), None)
        first = [label for label, _ in self.top(cues.top)]
        if gold is None or gold in first:
            return self
        other = first[int(rng.integers(len(first)))]
        labels = tuple({other: gold, gold: other}.get(label, label) for label in self.labels)
        return type(self)(labels, self.probabilities, self.calibrated, self.whose)

    def answer_to(self, clip: Clip) -> Any:
        """Return the likeliest label, as the row's options write it; all above chance; or the whole distribution."""
        written = {tidy(option): option for option in clip.options or ()}
        match TASKS[clip.task].answer:
            case "label":
                label = self.top(1)[0][0]
                return written.get(tidy(label), label)
            case "labels":
                likely = [label for label, value in self.top() if value > 1 / len(self.labels)]
                return [written.get(tidy(label), label) for label in likely]
            case "distribution":
                return dict(zip(self.labels, self.probabilities, strict=True))
        return None


@dataclass(frozen=True, slots=True)
class Shortlist:
    """Emotions of a row in the order in which two-stage prediction considers them."""

    first: tuple[str, ...]
    """Likeliest emotions by the plugins, the likeliest first; empty without evidence."""
    rest: tuple[str, ...]
    """All others of the closed set, in its order; empty where any emotion may be named."""
    evidence: EmotionEvidence | None = None
    """Evidence behind `first`, over the labels of `first` and `rest`."""


def shortlist_of(evidence: Sequence[Evidence], clip: Clip, cues: Cues) -> Shortlist:
    """Order the emotions of a row as two-stage prediction considers them.

    The probabilities of several plugins are averaged with equal weight. Evidence of another kind, or of an emotion
    that is not the speaker's, is ignored.

    Raises:
        InputError: evidence of labels that the row's options lack; names the row.
    """
    speaker = [item for item in evidence if isinstance(item, EmotionEvidence) and item.whose == "speaker"]
    options = tuple(clip.options or ())
    if not speaker:
        return Shortlist((), options)
    labels = options or tuple(dict.fromkeys(label for item in speaker for label in item.labels))
    try:
        over = [item.over(labels, {tidy(label): label for label in labels}) for item in speaker]
    except InputError as error:
        raise InputError([f"row {clip.id}, {problem}" for problem in error.problems], "See docs/plugins.md.") from None
    mean = tuple(sum(values) / len(over) for values in zip(*(item.probabilities for item in over), strict=True))
    together = EmotionEvidence(labels, mean, all(item.calibrated for item in over))
    first = tuple(label for label, _ in together.top(cues.top))
    closed = bool(options) or clip.task == "dialogue"
    return Shortlist(first, tuple(label for label in labels if label not in first) if closed else (), together)


def _ranked(evidence: Sequence[EmotionEvidence], whose: str) -> list[tuple[str, float]]:
    """Average the evidence of several plugins about one holder's emotion; return the likeliest label first."""
    values = [dict(zip(item.labels, item.probabilities, strict=True)) for item in evidence if item.whose == whose]
    return highest(mean_by_name(values))


def _listed(ranked: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{label} {value:.2f}" for label, value in ranked)
