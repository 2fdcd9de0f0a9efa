"""Predictions beside gold values, as arrays: labels, numbers, sets of labels or distributions of the same clips."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.answers.reading import (
    clean,
    gives_up,
    one_spelling,
    read_label,
    read_number,
    read_set,
    read_units,
    spelling_note,
)
from affectgpt.emotions.extract import Extractor
from affectgpt.problems import InputError, Problem, nearest, shorten
from eval.answers.fields import GOLD, LABELS, PREDICTIONS
from eval.answers.labelled_file import SHOWN, Entry, lines_of, read_entries, require_same_names
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
    suspicion: str | None = None
    """Sign that the predictions are the gold values themselves; None where there is none."""

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

    @property
    def scorable(self) -> np.ndarray:
        """(n,) whether a clip is scored: all, but for those whose number or distribution is missing."""
        if self.kind in ("labels", "sets"):
            return np.ones(len(self.names), bool)
        return ~np.isnan(self.predicted).reshape(len(self.names), -1).any(axis=1)

    def only(self, chosen: np.ndarray) -> Recognition:
        """Return the clips that are chosen by an (n,) mask."""
        return replace(
            self,
            names=[name for name, keep in zip(self.names, chosen, strict=True) if keep],
            gold=self.gold[chosen],
            predicted=self.predicted[chosen],
            readable=self.readable[chosen],
            gave_up=self.gave_up[chosen],
            groups=[one for one, keep in zip(self.groups, chosen, strict=True) if keep] if self.groups else None,
        )

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
    *,
    label_field: str | None = None,
    prediction_field: str | None = None,
    task: str | None = None,
    extractor: Extractor | None = None,
) -> Recognition:
    """Read gold values and predictions of the same clips.

    Args:
        gold: CSV `name,label` or JSONL; a `group` (speaker, dialogue) clusters the intervals. It may be the file of the
            predictions, if that holds both.
        predictions: file of the same formats; a `response` in free text is read as the one label that it names.
        labels: all labels; None for those that occur in `gold`.
        kind: one of `KINDS`; None to guess it from the labels.
        allow_missing: whether clips without prediction count as unreadable answers instead of being refused.
        label_field: field of the gold values; None to tell it by its name, see `eval.answers.fields`.
        prediction_field: field of the predictions, likewise.
        task: task whose rows are scored, others being left out; None for all.
        extractor: reads the emotion words of answers that name no label; of labels alone.

    Raises:
        InputError: different clips, gold labels outside `labels`, numbers that are NaN, no readable answer.
    """
    answered_rows = read_entries(predictions, PREDICTIONS.named(prediction_field))
    labelled = read_entries(gold, GOLD.named(label_field))
    if task is not None:
        answered_rows = _of_task(predictions, answered_rows, task)
        labelled = _of_task(gold, labelled, task) if any(entry.task for entry in labelled.values()) else labelled
    elif os.path.samefile(gold, predictions) and len(tasks := {entry.task or "" for entry in labelled.values()}) > 1:
        advice = "Choose one with --task, or score all with 'affectgpt eval faces'."
        raise InputError(Problem(str(gold), "its rows", "rows of one task", ", ".join(sorted(tasks)), advice))
    fix = "Score the same clips, or count those without prediction as wrong: --allow-missing."
    require_same_names(gold, lines_of(labelled), predictions, lines_of(answered_rows), fix, allow_missing)
    guessed = kind is None
    kind = kind or _kind_of(list(labelled.values()))
    if extractor is not None and kind != "labels":
        raise InputError(f"--extractor: reads labels, and these are {kind}. Leave it out, or pass --kind labels.")
    answers = [answered_rows.get(name, Entry(None, 0)) for name in labelled]
    groups = [entry.group or name for name, entry in labelled.items()]
    readers: dict[str, Callable[[Path, Path, Sequence[Entry], Sequence[Entry], Any], Read]] = {
        "labels": partial(_labels, extractor=extractor),
        "numbers": _numbers,
        "sets": _sets,
        "distributions": _distributions,
    }
    known, targets, answered, warnings = readers[kind](gold, predictions, list(labelled.values()), answers, labels)
    unread = [value is None for value in answered]
    if all(unread):
        expected = f"answers that hold {'one of ' + ', '.join(known) if known else 'a number'}"
        raise InputError(Problem(str(predictions), "all rows", expected, shorten(answers[0].value)))
    stand_in: Any = {"labels": len(known), "numbers": math.nan, "sets": np.zeros(len(known), int)}.get(
        kind, np.full(len(known), math.nan)
    )
    if guessed and kind == "numbers" and all(float(value).is_integer() for value in targets):
        warnings.append("the labels were taken for numbers; if they are classes, score them with --kind labels")
    return Recognition(
        kind,
        list(labelled),
        known,
        np.array(targets),
        np.array([stand_in if value is None else value for value in answered]),
        ~np.array(unread),
        np.array([bad and gives_up(_text(entry.value)) for bad, entry in zip(unread, answers, strict=True)]),
        groups if any(entry.group for entry in labelled.values()) else None,
        warnings,
        None if prediction_field else _suspicion(gold, labelled, predictions, answered_rows),
    )


def _of_task(path: Path, entries: Mapping[str, Entry], task: str) -> dict[str, Entry]:
    """Return the entries of a task, of which there is at least one."""
    chosen = {name: entry for name, entry in entries.items() if entry.task == task}
    if not chosen:
        got = ", ".join(sorted({entry.task or "none" for entry in entries.values()}))
        raise InputError(Problem(str(path), "its rows", f"some of task {task}, for --task", got))
    return chosen


def _suspicion(gold: Path, right: dict[str, Entry], predictions: Path, answered: dict[str, Entry]) -> str | None:
    """Say that predictions look like a copy of the gold values: the same field of one file, or labels all equal."""
    both = [(right[name], entry) for name, entry in answered.items() if name in right]
    copied = all(own.field == entry.field for own, entry in both) and os.path.samefile(gold, predictions)
    equal = all(
        entry.field.casefold() in LABELS and str(entry.value).strip() == str(own.value).strip() for own, entry in both
    )
    if not both or not (copied or equal):
        return None
    field = both[0][1].field
    return (
        f"{predictions}: its field '{field}' holds the gold value of every clip. If another field holds the "
        f"predictions, name it: {PREDICTIONS.option} NAME."
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
    if isinstance(value, bool) or not isinstance(value, str | int | float) or "_" in str(value):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _text(value: Any) -> str:
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


def _labels(
    gold: Path,
    predictions: Path,
    right: Sequence[Entry],
    predicted: Sequence[Entry],
    labels: Any,
    extractor: Extractor | None = None,
) -> Read:
    names = [str(entry.value).strip() for entry in right]
    empty = [entry for entry, name in zip(right, names, strict=True) if not name or entry.value is None]
    if empty:
        raise InputError(Problem(str(gold), f"line {empty[0].line}", "a label", repr(empty[0].value)))
    spelt = _known_labels(gold, right, [[name] for name in names], labels)
    known = list(dict.fromkeys(spelt.values()))
    answers = [read_label(_text(entry.value), known) for entry in predicted]
    warnings = list(filter(None, [spelling_note(spelt)]))
    if extractor is not None:
        by_wheel = _extract([_text(entry.value) for entry in predicted], answers, known, extractor)
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
    codes = {label: code for code, label in enumerate(known)}
    units = {f"AU{match[1]}": label for label in known if (match := _UNIT.fullmatch(label))}
    outside: Counter[str] = Counter()

    def read(answer: str) -> frozenset[str] | None:
        if len(units) < len(known):
            return read_set(answer, known)
        own = read_units(answer)
        return own and frozenset(units[unit] for unit in own if unit in units)

    def coded(own: Iterable[str]) -> np.ndarray:
        return np.bincount([codes[label] for label in own], minlength=len(known)).clip(max=1)

    def answered(value: Any) -> np.ndarray | None:
        items = _members(value)
        if not items:
            return None if items is None else coded(())
        if isinstance(value, list):
            own = frozenset[str]().union(*(read(item) or () for item in items))
        else:
            own = read(value) or frozenset()
        outside.update(item for item in items if len(item.split()) <= _LABEL_WORDS and not read(item))
        return coded(own) if own else None

    answers = [answered(entry.value) for entry in predicted]
    most = ", ".join(f"{label!r} {count} times" for label, count in outside.most_common(3))
    warnings = [f"{predictions}: labels outside the set are left out: {most}."] if outside else []
    warnings += filter(None, [spelling_note(spelt)])
    warnings += _unread(
        predictions, predicted, answers, f"some of {', '.join(known)}", "name no label and count as empty"
    )
    return known, [coded(spelt[label] for label in own) for own in targets], answers, warnings


_UNIT = re.compile(r"(?i)au[ _-]?0*(\d+)")
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
