"""The contract of evidence: the prediction of a small model about a row, of one kind or another.

A kind of evidence is a frozen dataclass derived from `Evidence` in a file of its own, and a line in `table.KINDS` or an
entry point of the group `affectgpt.evidence`. Prompts, controls, scores and pages use it only through the methods here.
Several plugins may give evidence of one kind about a row, so the methods that show it are class methods and take all
evidence of the kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, ClassVar, Self

import numpy as np

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.problems import InputError, Problem, nearest, shorten
from affectgpt.tasks import is_number


class FieldError(ValueError):
    """Error of an evidence field whose value is invalid.

    Args:
        field: its name.
        expected: description of a valid value.
        got: the value; a text is shown as it is, anything else as JSON.
    """

    def __init__(self, field: str, expected: str, got: object) -> None:
        self.field, self.expected = field, expected
        self.got = got if isinstance(got, str) else shorten(got)
        super().__init__(f"{field}: expected {expected}, got {self.got}")


class Evidence(ABC):
    """Prediction of one small model about one row."""

    __slots__ = ()
    kind: ClassVar[str]
    """Name of the kind in rows."""
    plural: ClassVar[str]
    """Plural that names the shuffled control, `random_<plural>`."""

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as a row carries it."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Self:
        """Read evidence from a row's JSON.

        Args:
            where: the row and the name under which it carries the evidence, for messages.

        Raises:
            InputError: fields that are unknown, missing or wrong; names row and field.
        """
        known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
        given = {key: value for key, value in values.items() if key != "kind"}
        problems = [
            Problem(where, key, "a known key", "an unknown one", nearest(key, known))
            for key in given
            if key not in known
        ]
        problems += [
            Problem(where, f"field '{name}'", "a value", "nothing")
            for name, item in known.items()
            if name not in given and item.default is MISSING and item.default_factory is MISSING
        ]
        if problems:
            raise InputError(problems)
        try:
            return cls(**given)
        except FieldError as error:
            raise InputError(Problem(where, f"field '{error.field}'", error.expected, error.got)) from None
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(Problem(where, cls.kind, "what its kind holds", str(error))) from None

    @classmethod
    @abstractmethod
    def prompt_lines(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> list[str]:
        """Return the lines that a row's evidence of this kind adds to its prompt: few words, since every row pays."""

    @classmethod
    @abstractmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return a line for people about a row's evidence of this kind; empty where there is nothing to show."""

    @abstractmethod
    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return the shuffled control: evidence of the same confidence with random content."""

    def oracle(self, rng: np.random.Generator, clip: Clip, cues: Cues) -> Self:
        """Return the oracle control: as sure, but in agreement with the gold answer; itself where that cannot tell."""
        return self

    def answer_to(self, clip: Clip) -> Any:
        """Return the evidence as an answer to the row's task, of its answer type; None if it gives no answer."""
        return None

    def top(self, count: int | None = None) -> list[tuple[str, float]]:
        """Return labels with their probabilities, the likeliest first; empty for a kind that does not rank labels."""
        return []


def texts(values: object, field: str) -> tuple[str, ...]:
    """Return a field of distinct texts as a tuple, checked.

    Raises:
        FieldError: it holds none, an empty one, or something else.
    """
    listed = _listed(values)
    if (
        not listed
        or not all(isinstance(item, str) and item.strip() for item in listed)
        or len(set(listed)) < len(listed)
    ):
        raise FieldError(field, "distinct labels, none of them empty", values)
    return listed


def numbers(values: object, field: str, low: float, high: float) -> tuple[float, ...]:
    """Return a field of numbers in a range as a tuple of floats, checked.

    Raises:
        FieldError: it holds something else.
    """
    listed = _listed(values)
    simple = {type(item) for item in listed} <= {int, float}
    if not listed or not all((simple or is_number(item)) and low <= item <= high for item in listed):
        raise FieldError(field, f"numbers from {low:g} to {high:g}", values)
    return listed


def _listed(values: object) -> tuple[Any, ...]:
    """Return the items of a list, a tuple or an array; an empty tuple for anything else."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str | Mapping) else ()


def numbers_by_name(values: object, field: str, low: float, high: float) -> dict[str, float]:
    """Return a field that maps names to numbers in a range as a dict of floats, checked.

    Raises:
        FieldError: it holds none, or something else; names the first that is wrong.
    """
    if not isinstance(values, Mapping) or not values:
        raise FieldError(field, f"an object of names, each with a number from {low:g} to {high:g}", values)
    for name, value in values.items():
        if not isinstance(name, str) or not name.strip():
            raise FieldError(field, "names, none of them empty", name)
        if not (is_number(value) and low <= value <= high):
            raise FieldError(f"{field}.{name}", f"a number from {low:g} to {high:g}", value)
    return dict(values)


def mean_by_name(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the numbers of several plugins by name, over the plugins that give one; names in order of appearance."""
    names = dict.fromkeys(name for item in values for name in item)
    given = {name: [item[name] for item in values if name in item] for name in names}
    return {name: sum(several) / len(several) for name, several in given.items()}


def highest(values: Mapping[str, float], count: int | None = None) -> list[tuple[str, float]]:
    """Return names with their numbers, the highest first; ties keep their order."""
    return sorted(values.items(), key=lambda pair: -pair[1])[:count]


def reassigned(values: Mapping[str, float], rng: np.random.Generator, high: float) -> dict[str, float]:
    """Permute the numbers among the names, so that not every name keeps its own.

    Equal numbers cannot be falsified that way: they are mirrored in the range from 0 to `high`.
    """
    dealt = list(values.values())
    if len(set(dealt)) == 1:
        return {name: high - value for name, value in values.items()}
    order = rng.permutation(len(dealt)).tolist()
    while [dealt[index] for index in order] == dealt:
        order = [*order[1:], order[0]]
    return {name: dealt[index] for name, index in zip(values, order, strict=True)}


def with_highest(values: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Permute the numbers so that some names have the highest; each group keeps its order."""
    order = [name for name, _ in highest(values)]
    order.sort(key=lambda name: name not in names)
    dealt = dict(zip(order, sorted(values.values(), reverse=True), strict=True))
    return {name: dealt[name] for name in values}
