"""Predictions beside gold values, as arrays: labels, numbers, sets of labels or distributions of the same clips."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.answers.reading import gives_up, one_spelling, read_label, read_members, spelling_note
from affectgpt.problems import InputError, Problem, nearest, shorten
from eval.answers.labelled_file import (
    GOLD_FIELDS,
    PREDICTION_FIELDS,
    SHOWN,
    Entry,
    lines_of,
    read_entries,
    require_same_names,
)
from eval.metrics.recognition import (
    encode_labels,
    js_divergence,
    kl_divergence,
    label_tallies,
    number_tallies,
    set_tallies,
)
from eval.metrics.stats import Tally, mean_tally

KINDS = ("labels", "numbers", "sets", "distributions")
PRIMARY = {"labels": "uar", "numbers": "ccc", "sets": "macro_f1", "distributions": "js"}


@dataclass(frozen=True, slots=True)
class Recognition:
    """Predictions and gold values of the same clips, in the order of the gold file."""

    kind: str
    names: list[str]
    labels: list[str]
    gold: np.ndarray
    """(n,) codes or numbers, or (n, K) sets or distributions, K the labels."""
    predicted: np.ndarray
    """Predictions, shaped like `gold`; NaN where a number or a distribution is missing."""
    readable: np.ndarray
    """(n,) whether the answer could be read."""
    gave_up: np.ndarray
    """(n,) whether the answer is empty or declines."""
    groups: list[str] | None
    warnings: list[str]

    def tallies(self, predicted: np.ndarray | None = None) -> dict[str, Tally]:
        """Score the predictions, or other answers to the same clips."""
        predicted = self.predicted if predicted is None else predicted
        if self.kind == "labels":
            scores = label_tallies(self.gold, predicted, len(self.labels))
            return {self._named(name): tally for name, tally in scores.items()}
        if self.kind == "sets":
            return set_tallies(self.gold, predicted)
        if self.kind == "numbers":
            known = ~np.isnan(predicted)
            return number_tallies(self.gold[known], predicted[known])
        return {
            name: mean_tally(divergence(self.gold, predicted), share=False) for name, divergence in _DIVERGENCES.items()
        }

    def _named(self, name: str) -> str:
        kind, slash, code = name.partition("/")
        return f"{kind}/{self.labels[int(code)]}" if slash else name


_DIVERGENCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"js": js_divergence, "kl": kl_divergence}


def read_recognition(
    gold: Path,
    predictions: Path,
    labels: Sequence[str] | None = None,
    kind: str | None = None,
    allow_missing: bool = False,
) -> Recognition:
    """Read gold values and predictions of the same clips.

    Args:
        gold: CSV `name,label` or JSONL; a `group` (speaker, dialogue) clusters the intervals.
        predictions: file of the same formats; a `response` in free text is read as the one label that it names.
        labels: all labels; None for those that occur in `gold`.
        kind: one of `KINDS`; None to guess it from the labels.
        allow_missing: whether clips without prediction count as unreadable answers instead of being refused.

    Raises:
        InputError: different clips, gold labels outside `labels`, numbers that are NaN, no readable answer.
    """
    labelled, answered_rows = read_entries(gold, GOLD_FIELDS), read_entries(predictions, PREDICTION_FIELDS)
    fix = "Score the same clips, or count those without prediction as wrong: --allow-missing."
    require_same_names(gold, lines_of(labelled), predictions, lines_of(answered_rows), fix, allow_missing)
    kind = kind or _kind_of(list(labelled.values()))
    answers = [answered_rows.get(name, Entry(None, 0)) for name in labelled]
    groups = [entry.group or name for name, entry in labelled.items()]
    reader = {"labels": _labels, "numbers": _numbers, "sets": _sets, "distributions": _distributions}[kind]
    known, right, answered, warnings = reader(gold, predictions, list(labelled.values()), answers, labels)
    unread = [value is None for value in answered]
    if all(unread):
        expected = f"answers that hold {'one of ' + ', '.join(known) if known else 'a number'}"
        raise InputError(Problem(str(predictions), "all rows", expected, shorten(answers[0].value)))
    stand_in: Any = {"labels": len(known), "numbers": math.nan, "sets": np.zeros(len(known), int)}.get(
        kind, np.full(len(known), math.nan)
    )
    return Recognition(
        kind,
        list(labelled),
        known,
        np.array(right),
        np.array([stand_in if value is None else value for value in answered]),
        ~np.array(unread),
        np.array([bad and gives_up(_text(entry.value)) for bad, entry in zip(unread, answers, strict=True)]),
        groups if any(entry.group for entry in labelled.values()) else None,
        warnings,
    )


Read = tuple[list[str], list[Any], list[Any], list[str]]
"""Labels, gold values, predictions (None where unreadable), warnings."""


def _kind_of(entries: Sequence[Entry]) -> str:
    values = [entry.value for entry in entries]
    if all(isinstance(value, dict) for value in values):
        return "distributions"
    if all(isinstance(value, list) for value in values):
        return "sets"
    return "numbers" if all(_number(value) is not None for value in values) else "labels"


def _number(value: Any) -> float | None:
    """Return a value as a number, possibly NaN or infinite; None where it is none."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _known_labels(gold: Path, entries: Sequence[Entry], sets: Sequence[Sequence[str]], labels: Any) -> list[str]:
    """Return all labels; raise InputError if a gold label is none of them."""
    known = list(labels or sorted({label for labels in sets for label in labels}))
    problems = [
        Problem(str(gold), f"line {entry.line}", "a label of the set", repr(label), nearest(label, known))
        for entry, own in zip(entries, sets, strict=True)
        for label in own
        if label not in known
    ]
    if problems:
        raise InputError(problems[:SHOWN], f"{len(problems)} in all. Correct them, or extend --labels.")
    return known


def _labels(gold: Path, predictions: Path, right: Sequence[Entry], predicted: Sequence[Entry], labels: Any) -> Read:
    names = [str(entry.value).strip() for entry in right]
    empty = [entry for entry, name in zip(right, names, strict=True) if not name or entry.value is None]
    if empty:
        raise InputError(Problem(str(gold), f"line {empty[0].line}", "a label", repr(empty[0].value)))
    known = _known_labels(gold, right, [[name] for name in names], labels)
    spelling, note = one_spelling(known), spelling_note(known)
    names, known = [spelling[name] for name in names], list(dict.fromkeys(spelling.values()))
    answers = [read_label(_text(entry.value), known) for entry in predicted]
    unread = [entry for entry, answer in zip(predicted, answers, strict=True) if answer is None and entry.line]
    warnings = [
        f"{predictions}: line {entry.line}: expected one of {', '.join(known)}, got {shorten(entry.value)}."
        for entry in unread[:3]
    ]
    if note:
        warnings.append(f"{gold}: {note}.")
    if unread:
        warnings.append(f"{len(unread)} of {len(predicted)} answers name no label and count as wrong.")
    codes, answered = encode_labels(names, [answer or "" for answer in answers], known)
    return (
        known,
        list(codes),
        [None if a is None else code for a, code in zip(answers, answered, strict=True)],
        warnings,
    )


def _numbers(gold: Path, predictions: Path, right: Sequence[Entry], predicted: Sequence[Entry], labels: Any) -> Read:
    problems = [
        Problem(str(file), f"line {entry.line}", "a finite number", shorten(entry.value), "Correct or remove the row.")
        for file, entries in ((gold, right), (predictions, predicted))
        for entry in entries
        if entry.line and not math.isfinite(_finite(entry.value))
    ]
    if problems:
        raise InputError(problems[:SHOWN], f"{len(problems)} in all.")
    return [], [float(entry.value) for entry in right], [_number(entry.value) for entry in predicted], []


def _finite(value: Any) -> float:
    number = _number(value)
    return math.nan if number is None else number


def _sets(gold: Path, predictions: Path, right: Sequence[Entry], predicted: Sequence[Entry], labels: Any) -> Read:
    targets = [_members(entry.value) or [] for entry in right]
    known = _known_labels(gold, right, targets, labels)
    spelling, note = one_spelling(known), spelling_note(known)
    known = list(dict.fromkeys(spelling.values()))

    def coded(own: Collection[str]) -> np.ndarray:
        return np.array([label in own for label in known], int)

    rows = [coded([spelling[label] for label in own]) for own in targets]
    members = [None if entry.value is None else read_members(entry.value, known) for entry in predicted]
    answered = [None if own is None else coded(own) for own in members]
    items = [item for entry in predicted for item in _members(entry.value) or [] if read_members(item, known) is None]
    most = ", ".join(f"{label!r} {count} times" for label, count in Counter(items).most_common(3))
    warnings = [f"{gold}: {note}."] if note else []
    return (
        known,
        rows,
        answered,
        warnings + ([f"{predictions}: labels outside the set are left out: {most}."] if items else []),
    )


def _members(value: Any) -> list[str] | None:
    """Return the labels of a list, or of a text with commas between them; None where there is no text."""
    if isinstance(value, list):
        return [str(item).strip() for item in value]
    if not isinstance(value, str) or not value.strip():
        return None
    items = [item.strip(" '\"") for item in value.strip().strip("[]").replace(";", ",").split(",")]
    return [item for item in items if item and item.casefold() != "none"]


def _distributions(
    gold: Path, predictions: Path, right: Sequence[Entry], predicted: Sequence[Entry], labels: Any
) -> Read:
    known = _known_labels(gold, right, [list(entry.value) for entry in right], labels)
    problems: list[Problem] = []

    def row(file: Path, entry: Entry) -> np.ndarray | None:
        if entry.value is None:
            return None
        values = entry.value if isinstance(entry.value, dict) else {}
        numbers = np.array([_finite(values.get(label, 0)) for label in known])
        if not (set(values) <= set(known) and np.isfinite(numbers).all() and (numbers >= 0).all() and numbers.any()):
            expected = f"shares of {', '.join(known)}, 0 or more and not all 0"
            problems.append(Problem(str(file), f"line {entry.line}", expected, shorten(entry.value)))
        return numbers

    rows = [[row(file, entry) for entry in entries] for file, entries in ((gold, right), (predictions, predicted))]
    if problems:
        raise InputError(problems[:SHOWN], f"{len(problems)} in all.")
    return known, rows[0], rows[1], []
