"""The kinds of evidence, in one table, and the evidence of rows, read from their JSON.

A row's `evidence` is an object from a name, such as the plugin's, to evidence of one kind:

    {"emotion": {"kind": "emotion", "labels": ["joyful", ...], "probabilities": [0.4, ...], "calibrated": true},
     "cause": {"kind": "cause", "words": [{"turn": 0, "start": 12, "end": 16, "text": "tire", "weight": 0.3}, ...]}}
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from affectgpt.clip import Clip
from affectgpt.evidence.evidence import Evidence
from affectgpt.problems import InputError, Problem, shorten
from affectgpt.registered import registered

KINDS = {
    "emotion": "affectgpt.evidence.kinds.emotion:EmotionEvidence",
    "cause": "affectgpt.evidence.kinds.cause:CauseEvidence",
    "intensities": "affectgpt.evidence.kinds.intensities:IntensityEvidence",
    "dimensions": "affectgpt.evidence.kinds.dimensions:DimensionEvidence",
    "units": "affectgpt.evidence.kinds.units:UnitEvidence",
    "spans": "affectgpt.evidence.kinds.spans:SpanEvidence",
}
"""Classes by name, in the order in which prompts show them; entry points of the group `affectgpt.evidence` follow."""
GROUP = "affectgpt.evidence"


def kind_names() -> list[str]:
    """List every available kind, those of this project first.

    Raises:
        InputError: a package that registers a kind under a name in use.
    """
    return list(_paths(tuple(sys.path)))


def kind_class(name: object) -> type[Evidence]:
    """Find the class of a kind.

    Raises:
        InputError: no such kind, or one that cannot be imported or does not derive from Evidence.
    """
    return _load(name, tuple(sys.path))


@lru_cache(maxsize=8)
def _paths(search: tuple[str, ...]) -> dict[str, str]:
    """Return the import path of every kind's class by name; looked up once, unless the module search path changes."""
    others = registered(GROUP, "kind of evidence", KINDS)
    return {**KINDS, **{name: entry.value for name, entry in others.items()}}


@lru_cache(maxsize=64)
def _load(name: object, search: tuple[str, ...]) -> type[Evidence]:
    paths = _paths(search)
    if not isinstance(name, str) or name not in paths:
        raise InputError(f"kind: expected one of {', '.join(paths)}, got {shorten(name)}")
    module, _, attribute = paths[name].partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise InputError(f"kind of evidence '{name}' ({paths[name]}) cannot be imported: {error}") from error
    if not (isinstance(cls, type) and issubclass(cls, Evidence)) or getattr(cls, "kind", None) != name:
        raise InputError(f"kind of evidence '{name}' ({paths[name]}): expected a class below Evidence of that kind")
    return cls


def read_one(values: Any, where: str = "evidence") -> Evidence:
    """Read evidence that a row carries.

    Args:
        where: the row and the name under which it carries the evidence, for messages.

    Raises:
        InputError: an unknown kind or an invalid field.
    """
    kind = values.get("kind") if isinstance(values, dict) else values
    if not isinstance(values, dict) or not isinstance(kind, str) or kind not in _paths(tuple(sys.path)):
        raise InputError(Problem(where, "kind", f"one of {', '.join(kind_names())}", shorten(kind)))
    return kind_class(kind).from_json(values, where)


def read_all(evidence: Mapping[str, Any] | None, where: str = "evidence") -> dict[str, Evidence]:
    """Read all evidence that a row carries, by the name under which it carries it.

    Raises:
        InputError: with every problem.
    """
    known: dict[str, Evidence] = {}
    problems = []
    for name, values in (evidence or {}).items():
        try:
            known[name] = read_one(values, f"{where} of {name}")
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return known


def by_kind(clip: Clip) -> dict[type[Evidence], list[Evidence]]:
    """Read a row's evidence by kind: kinds in the order of the table, evidence of each in the order of the row.

    Raises:
        InputError: with every problem.
    """
    groups: dict[str, list[Evidence]] = {}
    for evidence in read_all(clip.evidence, f"row {clip.id}, evidence").values():
        groups.setdefault(evidence.kind, []).append(evidence)
    return {kind_class(name): groups[name] for name in kind_names() if name in groups}
