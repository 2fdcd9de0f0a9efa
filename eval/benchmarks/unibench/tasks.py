"""The two kinds of task in MER-UniBench: emotion words against gold words, polarity against the sign of a valence.

Each task holds its gold labels and turns answers into metrics, official or clean; the modes differ only here. A missing
answer (None) is left out in official mode and wrong in clean mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import numpy as np

from affectgpt.emotions.taxonomy import group_of
from affectgpt.emotions.wheels import LEVELS, WHEELS, EmotionWheels
from eval.benchmarks.unibench.overlap import Grouper, overlap_tallies
from eval.benchmarks.unibench.sets import Answer, Answers, Benchmark, Gold, Mode
from eval.metrics.recognition import label_tallies
from eval.metrics.stats import Tally

POLARITIES = ("negative", "neutral", "positive")
ALL_LABELS = "all labels at once"
"""Constant answer that shows what a metric rewards for naming everything."""
_LISTED = 5
_CONSTANTS = 8
"""Number of frequent labels of an open set that are tried as constant answers."""


class Task(Protocol):
    """Interface that scores the answers to a set."""

    def tallies(self, answers: Answers) -> dict[str, Tally]:
        """Return metrics by name, all over the clips of the set."""

    def readable(self, answers: Answers) -> np.ndarray:
        """Return (n,) whether an answer holds anything that the task can use."""

    def constants(self) -> dict[str, Answer]:
        """Return constant answers worth trying, by name."""

    def counts(self, answers: Answers) -> dict[str, int]:
        """Return counts made along the way."""

    def notes(self, answers: Answers) -> list[str]:
        """Return notes that a reader of the score must know."""


def task_of(benchmark: Benchmark, gold: Sequence[Gold], mode: Mode, wheels: EmotionWheels | None) -> Task:
    """Build the task of a set; `wheels` are needed in official mode except for sentiment."""
    if benchmark.task == "sentiment":
        return Sentiment([value for value in gold if isinstance(value, float)], mode)
    words = [value for value in gold if isinstance(value, tuple)]
    if mode == "clean":
        return Overlap(benchmark, words, mode, [Grouper(_basic, 1), Grouper(_fine, 1)])
    assert wheels is not None
    return Overlap(benchmark, words, mode, [Grouper(partial(wheels.groups, level=n), len(WHEELS)) for n in LEVELS])


def _basic(word: str) -> tuple[str | None]:
    return (group_of(word),)


def _fine(word: str) -> tuple[str | None]:
    return (group_of(word, "fine"),)


class Overlap:
    """Task of emotion words: hit rate if gold is a label of a closed set, set-level F if it is an open list.

    Args:
        groupers: groupers of level 1 and level 2.
    """

    def __init__(
        self, benchmark: Benchmark, words: Sequence[tuple[str, ...]], mode: Mode, groupers: Sequence[Grouper]
    ) -> None:
        self.benchmark, self.words, self.mode, self.groupers = benchmark, words, mode, groupers
        self.gold = [grouper.masks(words) for grouper in groupers]
        self.unscored: list[int] = np.flatnonzero(~self.gold[0].any(axis=1)).tolist()

    def tallies(self, answers: Answers) -> dict[str, Tally]:
        """Return `hit`, `precision`, `f1`, officially also `m_score`; or `f_s`, `p_s` and `r_s` at both levels."""
        predicted = [answer.words if answer else () for answer in answers]
        counted = np.array([answer is not None or self.mode == "clean" for answer in answers], bool)
        metrics: dict[str, Tally] = {}
        for level, grouper, masks in zip(LEVELS, self.groupers, self.gold, strict=True):
            gold = np.where(counted[:, None], masks, np.uint64(0))
            if self.benchmark.task == "hit":
                labels = grouper.masks([self.benchmark.labels])[0] if self.mode == "official" else None
                tallies = overlap_tallies(gold, grouper.masks(predicted), labels)
                return {"hit": tallies.pop("recall"), **tallies}
            tallies = overlap_tallies(gold, grouper.masks(predicted))
            suffix = "" if level == 1 else f"_level{level}"
            metrics |= {f"{name[0]}_s{suffix}": tallies[name] for name in ("f1", "precision", "recall")}
        return metrics

    def readable(self, answers: Answers) -> np.ndarray:
        """Return (n,) whether a word of the answer has a group."""
        return np.asarray(self.groupers[0].masks([item.words if item else () for item in answers]).any(axis=1))

    def constants(self) -> dict[str, Answer]:
        """Return each label of a closed set and all of them; for an open set, its most frequent words."""
        if self.benchmark.task == "hit":
            single = {f"always {label}": Answer((label,)) for label in self.benchmark.labels}
            return single | {ALL_LABELS: Answer(self.benchmark.labels)}
        often = Counter(word for words in self.words for word in set(words)).most_common(_CONSTANTS)
        return {f"always {word}": Answer((word,)) for word, _ in often} or {"nothing": Answer()}

    def counts(self, answers: Answers) -> dict[str, int]:
        """Count clips whose gold labels have no group, words answered, and those without a group."""
        words = [word for answer in answers if answer for word in answer.words]
        lost = sum(not self.groupers[0].knows(word) for word in words)
        return {"gold_without_group": len(self.unscored), "words": len(words), "words_without_group": lost}

    def notes(self, answers: Answers) -> list[str]:
        """List the clips that are not scored, by their labels."""
        if not len(self.unscored):
            return []
        lost = Counter(" + ".join(self.words[index]) or "no label" for index in self.unscored)
        shown = ", ".join(f"{label} {count}" for label, count in lost.most_common(_LISTED))
        more = ", ..." if len(lost) > _LISTED else ""
        wheels = "any of the five wheels" if self.mode == "official" else "the wheel"
        count = f"{len(self.unscored)} of {len(self.words)} clips"
        return [f"{count} are not scored, their labels are not on {wheels}: {shown}{more}"]


class Sentiment:
    """Task of sentiment: weighted F1 and accuracy.

    Officially: positive or not, for clips whose valence is not 0. Clean: negative, neutral or positive, for all clips;
    and, as `..._signed`, for clips whose valence is not 0, where neutral counts as neither.
    """

    def __init__(self, valences: Sequence[float], mode: Mode) -> None:
        self.mode = mode
        self.sign = np.sign(np.array(valences, float)).astype(int)

    def tallies(self, answers: Answers) -> dict[str, Tally]:
        """Return `waf` and `accuracy`."""
        predicted = np.array(
            [POLARITIES.index(a.polarity) if a and a.polarity else len(POLARITIES) for a in answers], int
        )
        signed, positive = self.sign != 0, (self.sign > 0).astype(int)
        if self.mode == "official":
            counted = signed & np.array([answer is not None for answer in answers], bool)
            return _waf(positive, (predicted == POLARITIES.index("positive")).astype(int), 2, counted)
        apart = _waf(positive, np.array([0, 2, 1, 2])[predicted], 2, signed)
        whole = _waf(self.sign + 1, predicted, 3, np.ones(len(predicted), bool))
        return whole | {f"{name}_signed": tally for name, tally in apart.items()}

    def readable(self, answers: Answers) -> np.ndarray:
        """Return (n,) whether the answer has a polarity."""
        return np.array([answer is not None and answer.polarity is not None for answer in answers], bool)

    def constants(self) -> dict[str, Answer]:
        """Return the polarities."""
        return {f"always {polarity}": Answer(polarity=polarity) for polarity in POLARITIES}

    def counts(self, answers: Answers) -> dict[str, int]:
        """Count clips of valence 0, and neutral or unreadable answers to the others."""
        return {"gold_neutral": int(np.sum(self.sign == 0)), "neutral_answers_to_signed": len(self._undecided(answers))}

    def notes(self, answers: Answers) -> list[str]:
        """Say what the official score leaves out, and what it takes for negative."""
        if self.mode == "clean":
            return []
        return [
            f"{np.sum(self.sign == 0)} of {len(self.sign)} clips are not scored, since their valence is 0",
            f"{len(self._undecided(answers))} neutral or unreadable answers to the others count as negative",
        ]

    def _undecided(self, answers: Answers) -> list[Answer]:
        pairs = zip(self.sign, answers, strict=True)
        return [answer for sign, answer in pairs if sign and answer and answer.polarity not in ("positive", "negative")]


def _waf(gold: np.ndarray, predicted: np.ndarray, labels: int, counted: np.ndarray) -> dict[str, Tally]:
    tallies = label_tallies(gold, predicted, labels)
    named = {"waf": tallies["weighted_f1"], "accuracy": tallies["war"]}
    return {
        name: Tally(tally.parts * counted[:, None], tally.figure, counted[:, None]) for name, tally in named.items()
    }
