"""The contract of evidence: what a small model says of a row, of one kind or another.

A kind of evidence is a frozen dataclass below `Evidence` in a file of its own, and a line in `table.KINDS` or an entry
point of the group `affectgpt.evidence`. It alone knows what it holds; prompts, controls, scores and pages ask it
through the methods here. Several plugins may give evidence of one kind about a row, so that what is shown is asked of
the class, with all evidence of its kind.
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
    """A field of evidence that holds what it cannot.

    Args:
        field: its name.
        expected: what it should hold.
        got: what it holds; a text stands as it is, anything else as JSON would.
    """

    def __init__(self, field: str, expected: str, got: object) -> None:
        self.field, self.expected = field, expected
        self.got = got if isinstance(got, str) else shorten(got)
        super().__init__(f"{field}: expected {expected}, got {self.got}")


class Evidence(ABC):
    """What one small model says about one row."""

    __slots__ = ()
    kind: ClassVar[str]
    """Name on rows."""
    plural: ClassVar[str]
    """Of its control, which is `random_<plural>`."""

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as a row carries it."""
        return {"kind": self.kind, **asdict(self)}  # type: ignore[call-overload]

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> Self:
        """Make evidence of a row's JSON.

        Args:
            where: the row and the name of whoever gave it, for messages.

        Raises:
            InputError: fields that are unknown, lacking or wrong; names row and field.
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
        """Return the lines that all evidence of this kind on a row adds to its prompt: few words, every row pays."""

    @classmethod
    @abstractmethod
    def summary(cls, evidence: Sequence[Self], clip: Clip, cues: Cues) -> str:
        """Return a line for people about all evidence of this kind on a row; empty where there is nothing to say."""

    @abstractmethod
    def shuffled(self, rng: np.random.Generator, clip: Clip) -> Self:
        """Return the falsified control: evidence that sounds as sure as this and says something else at random."""

    def oracle(self, rng: np.random.Generator, clip: Clip, cues: Cues) -> Self:
        """Return evidence that sounds as sure and agrees with the row's answer; itself where that does not tell."""
        return self

    def answer_to(self, clip: Clip) -> Any:
        """Return what the evidence says as an answer to the row's task, of its answer type; None if it says nothing."""
        return None

    def top(self, count: int | None = None) -> list[tuple[str, float]]:
        """Return labels with their probabilities, the likeliest first; none of a kind that does not rank labels."""
        return []


def texts(values: object, field: str) -> tuple[str, ...]:
    """Check a field that holds distinct texts.

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
    """Check a field that holds numbers in a range.

    Raises:
        FieldError: it holds something else.
    """
    listed = _listed(values)
    simple = {type(item) for item in listed} <= {int, float}
    if not listed or not all((simple or is_number(item)) and low <= item <= high for item in listed):
        raise FieldError(field, f"numbers from {low:g} to {high:g}", values)
    return listed


def _listed(values: object) -> tuple[Any, ...]:
    """The items of a list, a tuple or an array; none of anything else."""
    return tuple(values) if isinstance(values, Iterable) and not isinstance(values, str | Mapping) else ()


def numbers_by_name(values: object, field: str, low: float, high: float) -> dict[str, float]:
    """Check a field that holds a number in a range for each of some names.

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
    """Average what several plugins say of each name, in the order in which names come; those that are silent apart."""
    names = dict.fromkeys(name for item in values for name in item)
    given = {name: [item[name] for item in values if name in item] for name in names}
    return {name: sum(several) / len(several) for name, several in given.items()}


def highest(values: Mapping[str, float], count: int | None = None) -> list[tuple[str, float]]:
    """Return names with their numbers, the highest first; of equals, the earlier name."""
    return sorted(values.items(), key=lambda pair: -pair[1])[:count]


def reassigned(values: Mapping[str, float], rng: np.random.Generator, high: float) -> dict[str, float]:
    """Deal the same numbers out to names anew, so that not every name keeps its own.

    Where all numbers are alike none can be wrong that way: they are mirrored in the range from 0 to `high`.
    """
    dealt = list(values.values())
    if len(set(dealt)) == 1:
        return {name: high - value for name, value in values.items()}
    order = rng.permutation(len(dealt)).tolist()
    while [dealt[index] for index in order] == dealt:
        order = [*order[1:], order[0]]
    return {name: dealt[index] for name, index in zip(values, order, strict=True)}


def with_highest(values: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Deal the same numbers out so that some names have the highest; each group keeps its order."""
    order = [name for name, _ in highest(values)]
    order.sort(key=lambda name: name not in names)
    dealt = dict(zip(order, sorted(values.values(), reverse=True), strict=True))
    return {name: dealt[name] for name in values}
