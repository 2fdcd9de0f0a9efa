"""Names of the fields of files with labels and predictions: which holds the name, the gold value, the prediction.

Files of predictions mostly hold the gold values too: `labels` beside `response` (ms-swift), `label` beside `predict`
(LLaMA-Factory), `answer` beside `response` (`affectgpt predict`), columns `label` and `prediction` of tables. A field
is therefore taken for what its name means. A label is a prediction only in a file that has no other.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affectgpt.problems import InputError, Problem, nearest, shorten

NAMES = ("name", "id")
"""Fields that may hold the name of a clip; the first that a row has counts."""
LABELS = ("label", "labels")
"""Fields that hold gold values, or the predictions of a file that has no field for them."""
ANSWER = "answer"
"""Field that holds the gold value in this project's rows and predictions."""
Record = Mapping[str, Any]

_PREDICTED = frozenset(
    {"response", "responses", "reply", "completion", "completions", "hypothesis", "output", "outputs", "decoded"}
    | {
        "prediction",
        "predictions",
        "predict",
        "predicted",
        "pred",
        "preds",
        "hat",
        "generated",
        "generation",
        "generations",
    }
)
"""Words that make a field a prediction."""
_MODEL = frozenset({"model", "llm"})
"""Words that do so beside another: `model_answer`; `model` alone is the name of one."""
_BESIDE = frozenset({"answer", "label", "labels", "class", "emotion", "text", "final", "y"})
"""Words that may stand beside them: `model_output`, `predicted_label`, `y_pred`; but not `response_time`."""


@dataclass(frozen=True, slots=True)
class Role:
    """Role of values in a file, gold or predicted, and the fields that may hold them."""

    name: str
    """Name for messages."""
    option: str
    """Option that names the field."""
    fields: tuple[str, ...] = ()
    """Names of fields; predictions are recognised by the words of their names instead."""
    fallback: tuple[str, ...] = ()
    """Fields that count in a file without others."""
    chosen: str | None = None
    """Field that the user named."""

    def named(self, field: str | None) -> Role:
        """Return the role with the field that the user named, if any."""
        return replace(self, chosen=field)

    def holds(self, field: str) -> bool:
        """Tell whether a field holds values of this role, by its name."""
        words = words_of(field)
        if self.fields:
            return "_".join(words) in self.fields
        whose = _PREDICTED if len(words) == 1 else _PREDICTED | _MODEL
        return bool(whose & {*words}) and {*words} <= _PREDICTED | _BESIDE | _MODEL


GOLD = Role("gold value", "--label-field", (*LABELS, ANSWER))
RESPONSES = Role("response", "--prediction-field")
PREDICTIONS = replace(RESPONSES, name="prediction", fallback=LABELS)
"""Predictions; those of a file without a field for them are its labels."""


def words_of(field: str) -> list[str]:
    """Return the words of a field's name in lower case, however they are joined.

    >>> words_of("Predicted-Label"), words_of("modelOutput")
    (['predicted', 'label'], ['model', 'output'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W_A-Za-z]+", field)]


def add_field_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the fields of a file."""
    predicted = "field that holds the predictions (default: by its name: response, prediction, predict, output, ...)"
    parser.add_argument(PREDICTIONS.option, metavar="NAME", help=predicted)
    gold = f"field that holds the gold values (default: {', '.join(GOLD.fields)})"
    parser.add_argument(GOLD.option, metavar="NAME", help=gold)


def is_header(row: Record) -> bool:
    """Tell whether a line is the first of a run's prediction file: not a prediction but what all of them depend on."""
    return "fingerprint" in row and "rows" in row


def name_of(row: Record) -> str | None:
    """Return the name of a row's clip; None if it has none."""
    return next((str(row[field]) for field in NAMES if row.get(field) not in (None, "")), None)


def fields_of(path: Path, rows: Sequence[tuple[int, Record]], role: Role) -> tuple[str, ...]:
    """Return the fields that hold a role's values in a file; of those that a row has, the first counts.

    Args:
        path: the file, for messages.
        rows: all its rows, with their lines.
        role: what the values are for.

    Raises:
        InputError: the field that was chosen is in no row, or fields of one row contradict each other.
    """
    fields = list(dict.fromkeys(field for _, row in rows for field in row))
    if role.chosen is not None:
        if rows and role.chosen not in fields:
            got = ", ".join(map(str, fields)) or "no field"
            expected = f"the field {role.chosen!r} of {role.option}"
            raise InputError(Problem(str(path), "the file", expected, shorten(got), nearest(role.chosen, fields)))
        return (role.chosen,)
    used = _in_use(rows, [field for field in fields if role.holds(field)])
    if used or not role.fallback:
        _require_agreement(path, rows, role, used)
        return tuple(used)
    # Where only labels are left, an `answer` beside them may as well be the prediction.
    rivals = _in_use(rows, [field for field in fields if GOLD.holds(field)])
    _require_agreement(path, rows, role, rivals)
    return tuple(field for field in rivals if "_".join(words_of(field)) in role.fallback)


def _in_use(rows: Sequence[tuple[int, Record]], fields: Sequence[str]) -> list[str]:
    """Return the fields that hold something in some row; all of them where none does."""

    def is_used(field: str) -> bool:
        values = (row.get(field) for _, row in rows)
        return any(value not in (None, "") and not isinstance(value, bool) for value in values)

    return list(filter(is_used, fields)) or list(fields)


def _require_agreement(path: Path, rows: Sequence[tuple[int, Record]], role: Role, fields: Sequence[str]) -> None:
    """Refuse rows in which two fields hold different values of a role."""
    for line, row in rows:
        values = [(field, row[field]) for field in fields if field in row]
        other = next((pair for pair in values[1:] if _plain(pair[1]) != _plain(values[0][1])), None)
        if other is not None:
            got = " and ".join(f"{shorten(value, 40)} in '{field}'" for field, value in (values[0], other))
            fix = f"Name the field that counts: {role.option} {values[0][0]}, or {role.option} {other[0]}."
            raise InputError(Problem(str(path), f"line {line}", f"one {role.name}", got, fix))


def _plain(value: Any) -> str:
    """Return a value for comparison; a list of one is what it holds."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return "" if value is None else " ".join(str(value).split())
