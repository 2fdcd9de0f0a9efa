"""Extractors turn the text that a model writes into emotion labels. They are plugins of the entry-point group below.

`written` reads labels that are written as a list, `vocabulary` finds the wheel's words in any text, `llm` asks a
language model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol

GROUP = "affectgpt.extractors"


class Extractor(Protocol):
    """Interface that turns texts into labels. Name, version and settings together determine the labels of a text."""

    @property
    def name(self) -> str:
        """Name under which it is registered."""

    @property
    def version(self) -> str:
        """Version; it changes whenever the labels of some text may change."""

    @property
    def settings(self) -> Mapping[str, object]:
        """Whatever else the labels depend on, as values that JSON can write."""

    def extract(self, texts: Sequence[str]) -> Sequence[list[str] | None]:
        """Return the labels of each text in order of first mention, without repeats; None where it gave up."""


def extractor_names() -> list[str]:
    """Return the names of all installed extractors."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_extractor(name: str, **settings: object) -> Extractor:
    """Load an extractor by name, made with its settings.

    Raises:
        LookupError: no extractor of that name is installed.
    """
    for point in entry_points(group=GROUP, name=name):
        extractor: Extractor = point.load()(**settings)
        return extractor
    raise LookupError(f"extractor {name!r}: expected one of {', '.join(extractor_names())}")
