"""Predictions beside gold values, as arrays: labels, numbers, sets of labels or distributions of the same clips."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.answers.reading import gives_up, normalise
from affectgpt.emotions.extract import Extractor
from affectgpt.problems import InputError, Problem, shorten
from eval.answers.fields import GOLD, LABELS, PREDICTIONS
from eval.answers.labelled_file import Entry, lines_of, read_entries, require_same_names
from eval.benchmarks.recognition.kinds import READERS, Reader, kind_of, read_labels, text_of
from eval.metrics.recognition import js_divergence, kl_divergence, label_tallies, number_tallies, set_tallies
from eval.metrics.stats import Tally, mean_tally

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
    answered_rows = read_entries(predictions, PREDICTIONS.named(prediction_field), task)
    labelled = read_entries(gold, GOLD.named(label_field), task)
    if task is not None and not any(entry.task for entry in answered_rows.values()):
        raise InputError(Problem(str(predictions), "its rows", f"the field 'task', for --task {task}", "none"))
    if os.path.samefile(gold, predictions) and len(tasks := {entry.task or "" for entry in labelled.values()}) > 1:
        advice = "Choose one with --task, or score all with 'affectgpt eval faces'."
        raise InputError(Problem(str(gold), "its rows", "rows of one task", ", ".join(sorted(tasks)), advice))
    fix = "Score the same clips, or count those without prediction as wrong: --allow-missing."
    require_same_names(gold, lines_of(labelled), predictions, lines_of(answered_rows), fix, allow_missing)
    guessed = kind is None
    kind = kind or kind_of(list(labelled.values()))
    if extractor is not None and kind != "labels":
        raise InputError(f"--extractor: reads labels, and these are {kind}. Leave it out, or pass --kind labels.")
    answers = [answered_rows.get(name, Entry(None, 0)) for name in labelled]
    groups = [entry.group or name for name, entry in labelled.items()]
    readers: dict[str, Reader] = READERS | {"labels": partial(read_labels, extractor=extractor)}
    known, targets, answered, warnings = readers[kind](gold, predictions, list(labelled.values()), answers, labels)
    unread = [value is None for value in answered]
    if all(unread):
        expected = f"answers that hold {'one of ' + ', '.join(known) if known else 'a number'}"
        advice = (
            "" if labels or kind not in ("labels", "sets") else "If there are more labels, name all: --labels A,B,C."
        )
        raise InputError(Problem(str(predictions), "all rows", expected, shorten(answers[0].value)), advice)
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
        np.array([bad and gives_up(text_of(entry.value)) for bad, entry in zip(unread, answers, strict=True)]),
        groups if any(entry.group for entry in labelled.values()) else None,
        warnings,
        None if prediction_field else _suspicion(gold, labelled, predictions, answered_rows),
    )


def _suspicion(gold: Path, right: dict[str, Entry], predictions: Path, answered: dict[str, Entry]) -> str | None:
    """Say that predictions look like a copy of the gold values: the same field of one file, or labels all equal."""
    both = [(right[name], entry) for name, entry in answered.items() if name in right]
    copied = all(own.field == entry.field for own, entry in both) and os.path.samefile(gold, predictions)
    equal = all(
        entry.field.casefold() in LABELS and normalise(str(entry.value)) == normalise(str(own.value))
        for own, entry in both
    )
    if not both or not (copied or equal):
        return None
    field = both[0][1].field
    return (
        f"{predictions}: its field '{field}' holds the gold value of every clip. If another field holds the "
        f"predictions, name it: {PREDICTIONS.option} NAME."
    )
