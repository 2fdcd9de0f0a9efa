"""Extractors: from what a model said to the emotions that it names. Plug-ins of the entry-point group below.

`written` reads what is written as a list, `vocabulary` finds the wheel's words in any text, `llm` asks a language
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from typing import Protocol

GROUP = "affectgpt.extractors"


class Extractor(Protocol):
    """Turns texts into labels. Name, version and settings together settle what a text is turned into."""

    @property
    def name(self) -> str:
        """Under which it is registered."""

    @property
    def version(self) -> str:
        """Changes whenever the labels of some text may."""

    @property
    def settings(self) -> Mapping[str, object]:
        """What else the labels depend on, as JSON can write it."""

    def extract(self, texts: Sequence[str]) -> Sequence[list[str] | None]:
        """The labels of each text in the order of their first mention, none twice; None where it gave up."""


def extractor_names() -> list[str]:
    """Every extractor that is installed."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load_extractor(name: str, **settings: object) -> Extractor:
    """An extractor by name, made with its settings.

    Raises:
        LookupError: no extractor of that name is installed.
    """
    for point in entry_points(group=GROUP, name=name):
        extractor: Extractor = point.load()(**settings)
        return extractor
    raise LookupError(f"extractor {name!r}: expected one of {', '.join(extractor_names())}")
