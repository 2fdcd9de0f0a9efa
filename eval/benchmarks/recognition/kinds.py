"""Gold values and predictions of each kind of label, read as arrays: labels, numbers, sets of labels, distributions."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.answers.reading import clean, one_spelling, read_label, read_members, read_number, spelling_note
from affectgpt.emotions.extract import Extractor
from affectgpt.problems import InputError, Problem, nearest, shorten
from affectgpt.tables import NOT_A_NUMBER
from eval.answers.labelled_file import SHOWN, Entry
from eval.metrics.recognition import encode_labels

Read = tuple[list[str], list[Any], list[Any], list[str]]
"""Labels, gold values, predictions (None where unreadable), warnings."""


def kind_of(entries: Sequence[Entry]) -> str:
    """Guess the kind of gold values from what they are."""
    values = [entry.value for entry in entries]
    if all(isinstance(value, dict) for value in values):
        return "distributions"
    if all(isinstance(value, list) for value in values):
        return "sets"
    return "numbers" if all(_number(value) is not None for value in values) else "labels"


def _number(value: Any) -> float | None:
    """Return a value as a number, possibly NaN or infinite; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or "_" in str(value):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def text_of(value: Any) -> str:
    """Return an answer as text: JSON of what is none, "" of None."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _known_labels(gold: Path, entries: Sequence[Entry], sets: Sequence[Sequence[str]], labels: Any) -> dict[str, str]:
    """Return the label of the set that each spelling stands for; raise InputError if a gold label is none of them.

    Labels that answers cannot tell apart count as one, the first.
    """
    written = list(dict.fromkeys(label for own in sets for label in own))
    known = list(labels or sorted(written))
    spelt = one_spelling([*known, *written])
    inside = {spelt[label] for label in known}
    problems = [
        Problem(str(gold), f"line {entry.line}", "a label of the set", repr(label), nearest(label, known))
        for entry, own in zip(entries, sets, strict=True)
        for label in own
        if spelt[label] not in inside
    ]
    if problems:
        raise InputError(problems[:SHOWN], f"{len(problems)} in all. Correct them, or extend --labels.")
    return spelt


def read_labels(
    gold: Path,
    predictions: Path,
    right: Sequence[Entry],
    predicted: Sequence[Entry],
    labels: Any,
    extractor: Extractor | None = None,
) -> Read:
    """Read labels as codes, in the order of the labels.

    Args:
        gold: file of the gold labels, for messages.
        predictions: file of the predictions, likewise.
        right: gold labels by clip.
        predicted: answers to the same clips.
        labels: all labels; None for those that occur in `right`.
        extractor: reads the emotion words of answers that name no label; None for nobody.

    Raises:
        InputError: an empty gold label, or one outside `labels`.
    """
    names = [str(entry.value).strip() for entry in right]
    empty = [entry for entry, name in zip(right, names, strict=True) if not name or name.lower() in NOT_A_NUMBER]
    empty += [entry for entry in right if entry.value is None]
    if empty:
        fix = "Leave out the clips that have none."
        raise InputError(Problem(str(gold), f"line {empty[0].line}", "a label", repr(empty[0].value), fix))
    spelt = _known_labels(gold, right, [[name] for name in names], labels)
    known = list(dict.fromkeys(spelt.values()))
    answers = [read_label(text_of(entry.value), known) for entry in predicted]
    warnings = list(filter(None, [spelling_note(spelt)]))
    if extractor is not None:
        by_wheel = _extract([text_of(entry.value) for entry in predicted], answers, known, extractor)
        answers = [by_wheel.get(index, answer) for index, answer in enumerate(answers)]
        warnings += [f"{len(by_wheel)} answers that name no label were read by the extractor {extractor.name!r}"]
    warnings += _unread(
        predictions, predicted, answers, f"one of {', '.join(known)}", "name no label and count as wrong"
    )
    codes, answered = encode_labels([spelt[name] for name in names], [answer or "" for answer in answers], known)
    return (
        known,
        list(codes),
        [None if a is None else code for a, code in zip(answers, answered, strict=True)],
        warnings,
    )


def _extract(
    texts: Sequence[str], answers: Sequence[str | None], known: Sequence[str], extractor: Extractor
) -> Mapping[int, str]:
    """Return the labels, by index, of answers that name none but whose emotion words lie nearest to one."""
    unread = [index for index, answer in enumerate(answers) if answer is None and texts[index].strip()]
    found = extractor.extract([texts[index] for index in unread])
    nearest_of = {
        index: read_label(", ".join(own or ()), known, by_wheel=True) for index, own in zip(unread, found, strict=True)
    }
    return {index: label for index, label in nearest_of.items() if label is not None}


def _unread(
    predictions: Path, entries: Sequence[Entry], answers: Sequence[Any], expected: str, effect: str
) -> list[str]:
    """Return notes on the answers that could not be read: the first ones, and how many there are."""
    unread = [entry for entry, answer in zip(entries, answers, strict=True) if answer is None and entry.line]
    notes = [
        f"{predictions}: line {entry.line}: expected {expected}, got {shorten(entry.value)}." for entry in unread[:3]
    ]
    return [*notes, f"{len(unread)} of {len(entries)} answers {effect}."] if unread else []


def _numbers(gold: Path, predictions: Path, right: Sequence[Entry], predicted: Sequence[Entry], labels: Any) -> Read:
    targets, plain = ([_number(entry.value) for entry in entries] for entries in (right, predicted))
    answers = [
        read_number(entry.value) if number is None else number for entry, number in zip(predicted, plain, strict=True)
    ]
    problems = [
        Problem(str(file), f"line {entry.line}", "a finite number", shorten(entry.value), "Correct or remove the row.")
        for file, entries, numbers in ((gold, right, targets), (predictions, predicted, answers))
        for entry, number in zip(entries, numbers, strict=True)
        if (number is None and entries is right) or (number is not None and not math.isfinite(number))
    ]
    if problems:
        raise InputError(problems[:SHOWN], f"{len(problems)} in all.")
    warnings = _unread(predictions, predicted, answers, "a number", "hold no number and are left out")
    return [], targets, answers, warnings


def _finite(value: Any) -> float:
    number = _number(value)
    return math.nan if number is None else number


def _sets(gold: Path, predictions: Path, right: Sequence[Entry], predicted: Sequence[Entry], labels: Any) -> Read:
    targets = [_members(entry.value) or [] for entry in right]
    spelt = _known_labels(gold, right, targets, labels)
    known = list(dict.fromkeys(spelt.values()))
    if not known:
        raise InputError(
            Problem(str(gold), "all rows", "a label in some set", "none", "Name all labels: --labels A,B,C.")
        )
    codes = {label: code for code, label in enumerate(known)}
    outside: Counter[str] = Counter()

    def coded(own: Iterable[str]) -> np.ndarray:
        return np.bincount([codes[label] for label in own], minlength=len(known)).clip(max=1)

    def answered(value: Any) -> np.ndarray | None:
        items = _members(value)
        if not items:
            return None if items is None else coded(())
        short = [item for item in items if len(item.split()) <= _LABEL_WORDS]
        outside.update(item for item in short if read_members(item, known) is None)
        own = read_members(value, known)
        return None if own is None else coded(own)

    answers = [answered(entry.value) for entry in predicted]
    most = ", ".join(f"{label!r} {count} times" for label, count in outside.most_common(3))
    warnings = [f"{predictions}: labels outside the set are left out: {most}."] if outside else []
    warnings += filter(None, [spelling_note(spelt)])
    warnings += _unread(
        predictions, predicted, answers, f"some of {', '.join(known)}", "name no label and count as empty"
    )
    return known, [coded(spelt[label] for label in own) for own in targets], answers, warnings


_LABEL_WORDS = 4
"""Longest item of a list, in words, that counts as a label outside the set; a longer one is running text."""


def _members(value: Any) -> list[str] | None:
    """Return the labels of a list, or of a text with commas between them; None where there is no text."""
    if isinstance(value, list):
        return [str(item).strip() for item in value]
    if not isinstance(value, str) or not value.strip():
        return None
    items = [item.strip(" '\"“”") for item in re.split(r"[,;，、；\n]", value.strip().strip("[]"))]
    return [item for item in items if item and item.casefold() != "none"]


def _distributions(
    gold: Path, predictions: Path, right: Sequence[Entry], predicted: Sequence[Entry], labels: Any
) -> Read:
    shares = [_object(entry.value) or {} for entry in right]
    known = list(labels or sorted({label for own in shares for label in own}))
    expected = f"shares of {', '.join(known)}, 0 or more and not all 0"
    problems: list[Problem] = []

    def row(file: Path, entry: Entry, values: dict[str, Any]) -> np.ndarray:
        numbers = np.array([_finite(values.get(label, 0)) for label in known])
        if not (set(values) <= set(known) and np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.any()):
            problems.append(Problem(str(file), f"line {entry.line}", expected, shorten(entry.value)))
        return numbers

    targets = [row(gold, entry, own) for entry, own in zip(right, shares, strict=True)]
    objects = [_object(entry.value) for entry in predicted]
    if not any(objects):
        objects = [{} if entry.line else None for entry in predicted]
    answers = [
        None if values is None else row(predictions, entry, values)
        for entry, values in zip(predicted, objects, strict=True)
    ]
    if problems:
        raise InputError(problems[:SHOWN], f"{len(problems)} in all.")
    return (
        known,
        targets,
        answers,
        _unread(predictions, predicted, answers, expected, "hold no shares and are left out"),
    )


def _object(value: Any) -> dict[str, Any] | None:
    """Return a JSON object, or that of a text; None where there is none."""
    if isinstance(value, str):
        try:
            value = json.loads(clean(value))
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


Reader = Callable[[Path, Path, Sequence[Entry], Sequence[Entry], Any], Read]
"""Reader of a kind: of the gold file, the file of predictions, the entries of both by clip, and all labels."""
READERS: dict[str, Reader] = {
    "labels": read_labels,
    "numbers": _numbers,
    "sets": _sets,
    "distributions": _distributions,
}
KINDS = tuple(READERS)
