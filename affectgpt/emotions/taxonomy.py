"""The project's wheel of emotion: from an English word to its group, at two levels, and to its valence.

The words stand in `wheel.toml`, each with its source. A word has one group, a group one valence; a word is as its group
or neither pleasant nor unpleasant, so that none changes sides. What is not there has no group: it is never guessed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal

from affectgpt.emotions.lemmas import base_forms, lemma, tidy

Level = Literal["basic", "fine"]
SOURCES = ("parrott", "plutchik", "own")
_LONGEST = 80
"""Characters past which nothing is a phrase of the wheel."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A word of the wheel: its name among its forms, its groups, its valence (-1, 0, 1), and who put it there."""

    name: str
    fine: str
    basic: str
    valence: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wheel:
    """The table as read. `entries` holds every written form; the sets are explained in `wheel.toml`."""

    entries: dict[str, Entry]
    groups: dict[str, tuple[str, int]]
    """Fine group -> its basic group and its valence."""
    weak: frozenset[str]
    other: frozenset[str]
    hedges: frozenset[str]
    modifiers: frozenset[str]
    carriers: frozenset[str]


@cache
def wheel() -> Wheel:
    """The project's wheel, read once."""
    table: dict[str, Any] = tomllib.loads(files("affectgpt.emotions").joinpath("wheel.toml").read_text("utf-8"))
    sections = {name: section for name, section in table.items() if isinstance(section, dict)}
    entries: dict[str, Entry] = {}
    for fine, section in sections.items():
        even = set(_items(section.get("even", "")))
        for source in SOURCES:
            for family in _items(section.get(source, "")):
                forms = [spelling for form in family.split("/") for spelling in _spellings(form)]
                known = next((entries[form] for form in forms if form in entries), None)
                name = known.name if known else forms[0]
                sources = (*(known.sources if known else ()), source)
                entry = Entry(name, fine, section["basic"], 0 if name in even else section["valence"], sources)
                family_of_known = [form for form, other in entries.items() if known and other.name == name]
                entries.update(dict.fromkeys([*family_of_known, *forms], entry))
    return Wheel(
        entries,
        {fine: (section["basic"], section["valence"]) for fine, section in sections.items()},
        *(frozenset(_items(table[name])) for name in ("weak", "other", "hedges", "modifiers", "carriers")),
    )


def _spellings(form: str) -> tuple[str, ...]:
    """`light-hearted`, `light hearted`, `lighthearted`."""
    return (form, form.replace("-", " "), form.replace("-", "")) if "-" in form else (form,)


def _items(text: str) -> Iterator[str]:
    return (item for item in (" ".join(piece.split()) for piece in text.split(",")) if item)


def find(word: str) -> Entry | None:
    """The wheel's entry of a word or a short phrase in any form; None where the wheel does not know it."""
    return _find(word) if len(word) <= _LONGEST else None


@lru_cache(maxsize=1 << 16)
def _find(word: str) -> Entry | None:
    here = wheel()
    phrase = tidy(word)
    if not phrase or phrase in here.hedges:
        return None
    for form in base_forms(phrase):
        if entry := here.entries.get(form):
            return entry
    start, _, last = phrase.rpartition(" ")
    if last in here.carriers and (entry := find(start)):
        return entry
    for count in (3, 2, 1):
        words = phrase.split(" ", count)
        lead = " ".join(words[:count])
        if len(words) > count and (lead in here.hedges or lead in here.modifiers):
            return find(words[count])
    return None


def group_of(word: str, level: Level = "basic") -> str | None:
    """The group of a word at a level; None where the wheel does not know the word.

    >>> group_of("happily"), group_of("happiness", "fine"), group_of("table")
    ('joy', 'cheerfulness', None)
    """
    entry = find(word)
    if entry is None:
        return None
    return entry.basic if level == "basic" else entry.fine


def valence_of(word: str) -> int | None:
    """1 pleasant, -1 unpleasant, 0 neither; None where the wheel does not know the word."""
    entry = find(word)
    return None if entry is None else entry.valence


def normalise(word: str) -> str:
    """One name for all forms of a word: the wheel's where it knows it, else its lemma (a phrase stays as it is).

    >>> normalise("Angrier"), normalise("anger"), normalise("tables")
    ('anger', 'anger', 'table')
    """
    entry = find(word)
    return lemma(tidy(word)) if entry is None else entry.name


@cache
def vocabulary() -> frozenset[str]:
    """Every word and phrase that is written in the wheel, in all its written forms."""
    return frozenset(wheel().entries)
