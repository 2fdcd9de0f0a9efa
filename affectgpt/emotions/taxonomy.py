"""The project's emotion wheel: maps an English word to its group, at two levels, and to its valence.

The words stand in `wheel.toml`, each with its source. A word has one group and a group has one valence; a word has the
valence of its group or is neutral, so that no word changes sides. A word that is not there has no group: nothing is
guessed.
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
"""Longest phrase of the wheel in characters."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Word of the wheel: its preferred name, its groups, its valence (-1, 0 or 1), and the sources that list it."""

    name: str
    fine: str
    basic: str
    valence: int
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wheel:
    """Table of `wheel.toml`. `entries` holds every written form; the file explains the other sets."""

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
    """Read the project's wheel, once."""
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
    """Return the spellings of a hyphenated word: `light-hearted`, `light hearted`, `lighthearted`."""
    return (form, form.replace("-", " "), form.replace("-", "")) if "-" in form else (form,)


def _items(text: str) -> Iterator[str]:
    return (item for item in (" ".join(part.split()) for part in text.split(",")) if item)


def find(word: str) -> Entry | None:
    """Return the wheel's entry of a word or short phrase in any inflection; None where the wheel does not know it."""
    return _find(word) if len(word) <= _LONGEST else None


@lru_cache(maxsize=1 << 16)
def _find(word: str) -> Entry | None:
    table = wheel()
    phrase = tidy(word)
    if not phrase or phrase in table.hedges:
        return None
    for form in base_forms(phrase):
        if entry := table.entries.get(form):
            return entry
    start, _, last = phrase.rpartition(" ")
    if last in table.carriers and (entry := find(start)):
        return entry
    for count in (3, 2, 1):
        words = phrase.split(" ", count)
        lead = " ".join(words[:count])
        if len(words) > count and (lead in table.hedges or lead in table.modifiers):
            return find(words[count])
    return None


def group_of(word: str, level: Level = "basic") -> str | None:
    """Return the group of a word at a level; None where the wheel does not know the word.

    >>> group_of("happily"), group_of("happiness", "fine"), group_of("table")
    ('joy', 'cheerfulness', None)
    """
    entry = find(word)
    if entry is None:
        return None
    return entry.basic if level == "basic" else entry.fine


def valence_of(word: str) -> int | None:
    """Return 1 for a pleasant word, -1 for an unpleasant one, 0 for neither; None where the wheel does not know it."""
    entry = find(word)
    return None if entry is None else entry.valence


def normalise(word: str) -> str:
    """Return one name for all forms of a word: the wheel's where it knows it, else the lemma; phrases stay as they are.

    >>> normalise("Angrier"), normalise("anger"), normalise("tables")
    ('anger', 'anger', 'table')
    """
    entry = find(word)
    return lemma(tidy(word)) if entry is None else entry.name


@cache
def vocabulary() -> frozenset[str]:
    """Return every word and phrase of the wheel, in all written forms."""
    return frozenset(wheel().entries)
