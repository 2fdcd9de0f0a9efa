"""Plugins: small affect models that predict evidence about a row, each in a file of its own.

A plugin is a class with the methods of `Plugin`, registered under a name as an entry point of the group
`affectgpt.plugins`, in this project's setup.cfg or in that of any other package. A saved plugin is a folder:
`plugin.json` names the plugin, the other files belong to it.
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
"""Version of saved plugins; raised when older folders can no longer be read."""
NOTE = "plugin.json"
Status = Literal["reproduced", "tested", "unverified"]
"""Evidence for an implementation: it met a published figure; it agrees with figures worked out by hand; neither."""


class Plugin(ABC):
    """Small model that predicts evidence about rows."""

    name: ClassVar[str]
    """Name under which it is registered."""
    kind: ClassVar[str]
    """Kind of its evidence: a name in `affectgpt.evidence.table`."""
    whose: ClassVar[str] = "speaker"
    """Holder of the emotion, for a plugin of kind emotion, as in `EmotionEvidence`."""
    learns_from: ClassVar[tuple[str, ...]] = ("dialogue", "emotion_label")
    """Tasks of `affectgpt.tasks` whose rows it is trained on."""
    reads: ClassVar[tuple[str, ...]] = ("words",)
    """Inputs that it reads, keys of `affectgpt.plugins.reads.MEDIA`; a row without any of them gets no evidence."""
    labels: Sequence[str] | None = None
    """Label set, if it is known before the plugin predicts."""
    paper: ClassVar[str] = ""
    """Paper that it follows, for its card."""
    licence: ClassVar[str] = "Apache-2.0"
    """Licence of its code and of any weights that come with it."""
    status: ClassVar[Status] = "unverified"

    @classmethod
    @abstractmethod
    def fit(cls, rows: Sequence[Clip]) -> Self:
        """Train a plugin on rows. Further parameters of a subclass, each with a default, are its settings.

        Work of more than a few seconds shows an `affectgpt.progress.Progress`.
        """

    @abstractmethod
    def predict(self, rows: Sequence[Clip]) -> Sequence[Evidence | None]:
        """Predict evidence about each row; None for rows about which the plugin predicts nothing."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the files that `load` reads into an existing folder: weights as safetensors, all else as JSON."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Load a plugin that `save` wrote."""

    @abstractmethod
    def card(self) -> Mapping[str, Any]:
        """Return information for users as JSON values: training data, settings, figures."""

    @classmethod
    def parameters(cls) -> dict[str, int]:
        """Count the parameters by part, from shapes alone: nothing is allocated. A plugin without weights has none.

        Further parameters of a subclass, each with a default, are the sizes that can be asked for.
        """
        return {}

    def sizes(self) -> dict[str, Any]:
        """Return the arguments with which `parameters` counts the parameters of this trained plugin."""
        return {}

    @classmethod
    def read(cls, path: Path, labels: Sequence[str] | None = None, media_root: Path | None = None) -> list[Clip]:
        """Read an input file of the plugin's commands: rows, lines of `context` and `emotion`, or a format of its own.

        Args:
            labels: the labels allowed in such lines; any, if None.

        Raises:
            InputError: with every problem of every line.
        """
        return read_rows(path, labels, media_root)


def names_emotion(plugin: Plugin | type[Plugin]) -> bool:
    """Tell whether a plugin predicts the speaker's emotion, which two-stage prediction needs."""
    return plugin.kind == "emotion" and plugin.whose == "speaker"


def find_plugins() -> dict[str, EntryPoint]:
    """Find every registered plugin, by name; nothing is imported.

    Raises:
        InputError: a name that two packages register.
    """
    return registered(GROUP, "plugin")


def plugin_class(name: str) -> type[Plugin]:
    """Import the class of a registered plugin.

    Raises:
        InputError: no plugin of that name, or one that cannot be imported or is not a plugin.
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
    """Convert settings of a plugin's `fit` to the types of its annotations.

    Raises:
        InputError: no such plugin, or settings that are unknown or of the wrong type; every one is named.
    """
    return settings_of(plugin_class(name).fit, name, given)


def settings_of(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Convert settings of a plugin's method, its parameters with a default that is not a function.

    Raises:
        InputError: settings that are unknown or of the wrong type; every one is named.
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
    """Write a plugin into a folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)
    plugin.save(folder)
    note = {"plugin": plugin.name, "format": FORMAT, "kind": plugin.kind, "card": dict(plugin.card())}
    (folder / NOTE).write_text(json.dumps(note, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load_plugin(folder: str | Path) -> Plugin:
    """Load the plugin saved in a folder.

    Raises:
        InputError: there is none, it has another format, or its package is not installed.
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
    """Return rows with evidence added under a name; None removes evidence of that name."""
    changed = []
    for row, item in zip(rows, evidence, strict=True):
        carried = {key: value for key, value in (row.evidence or {}).items() if key != name}
        if item is not None:
            carried[name] = item.to_json()
        changed.append(dataclasses.replace(row, evidence=carried or None))
    return changed


def require_kind(plugin: Plugin, evidence: Sequence[Evidence | None], rows: int) -> None:
    """Refuse predictions that do not match a plugin's rows and kind.

    Raises:
        InputError: a different number of predictions than rows, or one that is not of the plugin's kind.
    """
    cls = kind_class(plugin.kind)
    if len(evidence) != rows:
        raise InputError(f"plugin '{plugin.name}': expected evidence for {rows} rows, got {len(evidence)}")
    wrong = next((item for item in evidence if item is not None and not isinstance(item, cls)), None)
    if wrong is not None:
        raise InputError(f"plugin '{plugin.name}': expected {cls.__name__} or None, got {shorten(wrong)}")
