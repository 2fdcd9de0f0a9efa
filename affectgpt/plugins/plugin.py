"""Plugins: small affect models that say something about a row, each a file of its own.

A plugin is a class with the methods of `Plugin`, registered under a name as an entry point of the group
`affectgpt.plugins`, in this project's setup.cfg or in that of any other package. A saved plugin is a folder:
`plugin.json` says whose it is, the rest is the plugin's.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, ClassVar, Self

from affectgpt.clip import Clip
from affectgpt.evidence.kinds import KINDS, Evidence, to_json
from affectgpt.problems import InputError, Problem, nearest, shorten
from affectgpt.settings import read_settings

GROUP = "affectgpt.plugins"
FORMAT = 1
"""Changes when older folders can no longer be read."""
NOTE = "plugin.json"


class Plugin(ABC):
    """A small model that turns rows into evidence."""

    name: ClassVar[str]
    """Under which it is registered."""
    kind: ClassVar[str]
    """Of its evidence: a key of `affectgpt.evidence.kinds.KINDS`."""
    labels: Sequence[str] | None = None
    """Of an emotion plugin: its label set, where that is known before it predicts."""

    @classmethod
    @abstractmethod
    def fit(cls, rows: Sequence[Clip]) -> Self:
        """A plugin that has learned from rows. Parameters of its own, each with a default, are its settings."""

    @abstractmethod
    def predict(self, rows: Sequence[Clip]) -> Sequence[Evidence | None]:
        """Evidence about each row, None about rows that it has nothing to say about."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what `load` reads into a folder that is there: weights as safetensors, all else as JSON."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """The plugin that was saved there."""

    @abstractmethod
    def card(self) -> Mapping[str, Any]:
        """What a user should know of it: data, settings, figures; JSON."""


def find_plugins() -> dict[str, EntryPoint]:
    """Every registered plugin, by name; nothing is imported."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP))}


def plugin_class(name: str) -> type[Plugin]:
    """The class of a registered plugin.

    Raises:
        InputError: no plugin of that name, or one that cannot be imported or is no plugin.
    """
    known = find_plugins()
    if name not in known:
        raise InputError(f"unknown plugin '{name}'. {nearest(name, known)}")
    try:
        found = known[name].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"plugin '{name}' ({known[name].value}) cannot be imported: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Plugin)) or found.kind not in KINDS:
        kinds = ", ".join(KINDS)
        raise InputError(f"plugin '{name}' ({known[name].value}): expected a Plugin whose kind is one of {kinds}")
    return found


def fit_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a plugin's `fit`, of the types that its annotations have.

    Raises:
        InputError: no such plugin, or settings that it does not have or that are of another type; every one is named.
    """
    fit = plugin_class(name).fit
    known = [
        key
        for key, parameter in inspect.signature(fit).parameters.items()
        if parameter.default is not inspect.Parameter.empty and not callable(parameter.default)
    ]
    values, wrong = read_settings(fit, {key: value for key, value in given.items() if key in known})
    problems = [
        f"{key}: unknown setting of plugin '{name}'. {nearest(key, known)}" for key in given if key not in known
    ]
    problems += [f"{key} of plugin '{name}': {problem}" for key, problem in wrong.items()]
    if problems:
        raise InputError(problems)
    return values


def save_plugin(plugin: Plugin, folder: Path) -> None:
    """Write a plugin into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    plugin.save(folder)
    note = {"plugin": plugin.name, "format": FORMAT, "kind": plugin.kind, "card": dict(plugin.card())}
    (folder / NOTE).write_text(json.dumps(note, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_plugin(folder: str | Path) -> Plugin:
    """The plugin that was saved in a folder.

    Raises:
        InputError: there is none, one of another version, or one whose package is not installed.
    """
    folder = Path(folder)
    fix = "Make one with: affectgpt plugins train NAME --data FILE.jsonl --out DIR"
    if not (folder / NOTE).is_file():
        raise InputError(Problem(str(folder), NOTE, "a saved plugin", "nothing there", fix))
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
        name, version = note["plugin"], note["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(Problem(str(folder), NOTE, "a plugin's name and format", shorten(str(error)), fix)) from None
    if version != FORMAT:
        raise InputError(Problem(str(folder), NOTE, f"format {FORMAT}", shorten(version), "Train it again."))
    return plugin_class(name).load(folder)


def evidence_of(plugin: Plugin, rows: Sequence[Clip]) -> list[Evidence | None]:
    """What a plugin says of rows, of its kind, one piece or None for each.

    Raises:
        InputError: it answers for another number of rows, or with something else.
    """
    found = list(plugin.predict(rows))
    form = KINDS[plugin.kind]
    wrong = next((piece for piece in found if piece is not None and not isinstance(piece, form)), None)
    if len(found) != len(rows):
        raise InputError(f"plugin '{plugin.name}': expected evidence of {len(rows)} rows, got {len(found)}")
    if wrong is not None:
        raise InputError(f"plugin '{plugin.name}': expected {form.__name__} or None, got {shorten(wrong)}")
    return found


def with_evidence(rows: Sequence[Clip], name: str, pieces: Sequence[Evidence | None]) -> list[Clip]:
    """Rows with evidence under a name, beside what they carry; None takes away what stood under it."""
    found = []
    for row, piece in zip(rows, pieces, strict=True):
        evidence = {key: value for key, value in (row.evidence or {}).items() if key != name}
        if piece is not None:
            evidence[name] = to_json(piece)
        found.append(dataclasses.replace(row, evidence=evidence or None))
    return found
