"""Every task of a row, in one table: its answer type, its questions, how it is shown, judged and named.

No other file lists tasks: checks of rows, prompts, judging, rewards and headings of reports all read this table, so
that a new task is a line of `TASKS`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Level = Literal["attribute", "expression", "emotion"]
LEVELS: tuple[Level, ...] = ("attribute", "expression", "emotion")
"""Levels of the curriculum and of the affective tree, from the face to the feeling."""

Judged = Literal["choice", "labels", "number", "words", "tree"]
"""Ways to compare a written answer with the gold one: one option of a closed set; a set of labels; a number; the words
that free texts share; an affective tree node by node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerType:
    """Type of a row's `answer`."""

    expected: str
    """Description of a valid value, for error messages."""
    accepts: Callable[[object], bool]
    """Test whether a value is valid."""
    spoken: bool = True
    """Whether the answer is part of a conversation, so that a row needs `messages`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Task of a row: the type of its answer and how it is asked and judged."""

    answer: str
    """Key of `ANSWER_TYPES`."""
    title: str
    """Heading in reports and tables."""
    level: Level | None = None
    """Level of the curriculum that the task belongs to, if it belongs to one."""
    questions: tuple[str, ...] = ()
    """Wordings of the question. Data recipes take the first unless they draw one."""
    shows_evidence: bool = False
    """Whether the prompt shows the evidence of plugins: so for tasks about an emotion."""
    judged: Judged | None = None
    """Way to score and reward written answers; None for tasks without a score."""
    scored: bool = True
    """Whether a run scores and rewards the task's rows; False for plain text that only preserves a model's language."""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_number(value: object) -> bool:
    """Tell whether a JSON value is a finite number."""
    # Compared, not converted: an integer of JSON may be too large for a float, and is no number of any use.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_label_list(value: object) -> bool:
    """Tell whether a JSON value is a non-empty list of distinct non-empty strings."""
    return isinstance(value, list) and bool(value) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _numbers_by_label(value: object, largest: float) -> bool:
    return (
        isinstance(value, dict)
        and bool(value)
        and all(map(_is_text, value))
        and all(is_number(item) and 0 <= item <= largest for item in value.values())
    )


def _is_distribution(value: object) -> bool:
    return _numbers_by_label(value, 1) and abs(sum(value.values()) - 1) <= 1e-3  # type: ignore[attr-defined]


def _are_frames(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(item is None or _is_frame(item) for item in value)


def _is_frame(value: object) -> bool:
    """Tell whether a value is like {"expression": "joy", "valence": -0.4, "units": {"AU12": 1}}."""
    return (
        isinstance(value, dict)
        and bool(value)
        and all(map(_is_text, value))
        and all(is_number(item) or _is_text(item) or _numbers_by_label(item, math.inf) for item in value.values())
    )


ANSWER_TYPES: dict[str, AnswerType] = {
    "label": AnswerType(expected="a non-empty string", accepts=_is_text),
    "labels": AnswerType(expected="a non-empty list of distinct strings", accepts=is_label_list),
    "number": AnswerType(expected="a finite number", accepts=is_number),
    "text": AnswerType(expected="a non-empty string", accepts=_is_text),
    "tree": AnswerType(expected="a non-empty string holding a written tree", accepts=_is_text),
    "intensities": AnswerType(
        expected="an object of labels, each with a number from 0 to 10",
        accepts=lambda value: _numbers_by_label(value, 10),
        spoken=False,
    ),
    "distribution": AnswerType(
        expected="an object of labels, each with a share, which add up to 1", accepts=_is_distribution, spoken=False
    ),
    "frames": AnswerType(
        expected="a list with, for each frame, null or an object of labels and finite numbers",
        accepts=_are_frames,
        spoken=False,
    ),
    "none": AnswerType(expected="nothing", accepts=lambda value: value is None, spoken=False),
}

TASKS: dict[str, Task] = {
    "attribute_closed": Task(answer="label", title="Attributes", level="attribute", judged="choice"),
    "attribute_open": Task(answer="text", title="Attributes described", level="attribute", judged="words"),
    "expression_single": Task(answer="label", title="Expressions", level="expression", judged="choice"),
    "expression_multi": Task(answer="labels", title="Expressions, several", level="expression", judged="labels"),
    "emotion_label": Task(
        answer="label",
        title="Emotion label",
        level="emotion",
        questions=("What does this person feel?",),
        shows_evidence=True,
        judged="choice",
    ),
    "emotion_open": Task(
        answer="labels",
        title="Emotion words",
        level="emotion",
        questions=("List every emotion this person may feel.",),
        shows_evidence=True,
        judged="labels",
    ),
    "valence": Task(answer="number", title="Valence", level="emotion", judged="number"),
    "caption": Task(
        answer="text", title="Captions", questions=("Describe this person.",), shows_evidence=True, judged="words"
    ),
    "tree": Task(
        answer="tree",
        title="Affective trees",
        level="emotion",
        questions=("Explain step by step what this person feels.",),
        shows_evidence=True,
        judged="tree",
    ),
    "dialogue": Task(answer="label", title="Dialogues", level="emotion", shows_evidence=True),
    "intensities": Task(answer="intensities", title="Intensities", level="emotion"),
    "distribution": Task(answer="distribution", title="Distributions", level="emotion"),
    "frames": Task(answer="frames", title="Frames"),
    "clip": Task(answer="none", title="Unlabelled clips", scored=False),
    "text": Task(
        answer="text", title="Text", questions=("What is the tone of this line?",), judged="words", scored=False
    ),
}
"""Name in a row -> task."""

SPOKEN = tuple(name for name, task in TASKS.items() if ANSWER_TYPES[task.answer].spoken)
"""Tasks that a conversation asks and answers."""
