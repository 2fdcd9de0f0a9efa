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
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import read_rows
from affectgpt.evidence.evidence import Evidence
from affectgpt.evidence.table import kind_class, kind_names
from affectgpt.plugins.reads import MEDIA
from affectgpt.problems import InputError, Problem, nearest, shorten
from affectgpt.registered import registered
from affectgpt.settings import read_settings
from affectgpt.tasks import TASKS

GROUP = "affectgpt.plugins"
FORMAT = 1
"""Changes when older folders can no longer be read."""
NOTE = "plugin.json"
Status = Literal["reproduced", "tested", "unverified"]
"""A published figure was met; it agrees with figures worked out by hand; neither."""


class Plugin(ABC):
    """A small model that turns rows into evidence."""

    name: ClassVar[str]
    """Under which it is registered."""
    kind: ClassVar[str]
    """Of its evidence: a name in `affectgpt.evidence.table`."""
    whose: ClassVar[str] = "speaker"
    """Of a plugin of kind emotion: who feels it, as in `EmotionEvidence`."""
    learns_from: ClassVar[tuple[str, ...]] = ("dialogue", "emotion_label")
    """Tasks of `affectgpt.tasks` whose rows teach it."""
    reads: ClassVar[tuple[str, ...]] = ("words",)
    """What it reads of a row, keys of `affectgpt.plugins.reads.MEDIA`; a row without any of it gets no evidence."""
    labels: Sequence[str] | None = None
    """Its label set, where that is known before it predicts."""
    paper: ClassVar[str] = ""
    """What it follows, for its card."""
    licence: ClassVar[str] = "Apache-2.0"
    """Of its code and of any weights that come with it."""
    status: ClassVar[Status] = "unverified"

    @classmethod
    @abstractmethod
    def fit(cls, rows: Sequence[Clip]) -> Self:
        """A plugin that has learned from rows. Parameters of its own, each with a default, are its settings.

        What takes more than some seconds shows an `affectgpt.progress.Progress`.
        """

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

    @classmethod
    def parameters(cls) -> dict[str, int]:
        """Count its parameters by part, from shapes alone: nothing is allocated; without weights it has none.

        Parameters of its own, each with a default, are the sizes that can be asked for.
        """
        return {}

    def sizes(self) -> dict[str, Any]:
        """Return what `parameters` is to be asked for to count those of this trained plugin."""
        return {}

    @classmethod
    def read(cls, path: Path, labels: Sequence[str] | None = None, media_root: Path | None = None) -> list[Clip]:
        """Read a file that its commands are given: rows, or lines of `context` and `emotion`; or a form of its own.

        Args:
            labels: which labels such lines may name; any, if None.

        Raises:
            InputError: with every problem of every line.
        """
        return read_rows(path, labels, media_root)


def names_emotion(plugin: Plugin | type[Plugin]) -> bool:
    """Tell whether a plugin names the speaker's emotion, so that two stages can look at it."""
    return plugin.kind == "emotion" and plugin.whose == "speaker"


def find_plugins() -> dict[str, EntryPoint]:
    """Every registered plugin, by name; nothing is imported.

    Raises:
        InputError: a name that two packages register.
    """
    return registered(GROUP, "plugin")


def plugin_class(name: str) -> type[Plugin]:
    """The class of a registered plugin.

    Raises:
        InputError: no plugin of that name, or one that cannot be imported or is no plugin.
    """
    entries = find_plugins()
    if name not in entries:
        raise InputError(f"unknown plugin '{name}'. {nearest(name, entries)}")
    path = entries[name].value
    try:
        cls = entries[name].load()
    except (ImportError, AttributeError) as error:
        raise InputError(f"plugin '{name}' ({path}) cannot be imported: {error}") from error
    kinds = kind_names()
    if not (isinstance(cls, type) and issubclass(cls, Plugin)) or cls.kind not in kinds:
        raise InputError(f"plugin '{name}' ({path}): expected a Plugin whose kind is one of {', '.join(kinds)}")
    problems = [
        f"plugin '{name}' ({path}): {field}: expected some of {', '.join(known)}, got {value}. {nearest(value, known)}"
        for field, values, known in (("learns_from", cls.learns_from, TASKS), ("reads", cls.reads, MEDIA))
        for value in values
        if value not in known
    ]
    if problems:
        raise InputError(problems)
    return cls


def fit_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a plugin's `fit`, of the types that its annotations have.

    Raises:
        InputError: no such plugin, or settings that it does not have or that are of another type; every one is named.
    """
    return settings_of(plugin_class(name).fit, name, given)


def settings_of(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a plugin's method: parameters with a default that is no function.

    Raises:
        InputError: settings that it does not have or that are of another type; every one is named.
    """
    known = [
        key
        for key, parameter in inspect.signature(function).parameters.items()
        if parameter.default is not inspect.Parameter.empty and not callable(parameter.default)
    ]
    values, wrong = read_settings(function, {key: value for key, value in given.items() if key in known})
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


def with_evidence(rows: Sequence[Clip], name: str, evidence: Sequence[Evidence | None]) -> list[Clip]:
    """Rows with evidence under a name, beside what they carry; None takes away what stood under it."""
    changed = []
    for row, item in zip(rows, evidence, strict=True):
        carried = {key: value for key, value in (row.evidence or {}).items() if key != name}
        if item is not None:
            carried[name] = item.to_json()
        changed.append(dataclasses.replace(row, evidence=carried or None))
    return changed


def require_kind(plugin: Plugin, evidence: Sequence[Evidence | None], rows: int) -> None:
    """Refuse what a plugin predicts of some rows.

    Raises:
        InputError: it answers for another number of rows, or with something that is not of its kind.
    """
    cls = kind_class(plugin.kind)
    if len(evidence) != rows:
        raise InputError(f"plugin '{plugin.name}': expected evidence of {rows} rows, got {len(evidence)}")
    wrong = next((item for item in evidence if item is not None and not isinstance(item, cls)), None)
    if wrong is not None:
        raise InputError(f"plugin '{plugin.name}': expected {cls.__name__} or None, got {shorten(wrong)}")
