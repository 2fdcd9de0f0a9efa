"""Cards of plugins: kind, training data, inputs, number of parameters, and the paper that a plugin follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.plugins.options import set_values
from affectgpt.plugins.plugin import NOTE, load_plugin, plugin_class, settings_of
from affectgpt.problems import InputError


def card_of(name: str, given: Sequence[str] = ()) -> dict[str, Any]:
    """Return the card of a plugin.

    Args:
        name: name of a registered plugin, whose parameters are counted from shapes alone, or folder of a trained one.
        given: KEY=VALUE sizes of a registered plugin.

    Returns:
        `name`, `kind`, `learns_from`, `reads`, `parameters` (part -> count, and `total`), `paper`, `licence`, `status`.

    Raises:
        InputError: no such plugin, or sizes that are unknown or of the wrong type.
    """
    if (Path(name) / NOTE).is_file():
        if given:
            raise InputError(f"--set: expected none with {name}, a trained plugin, whose sizes are fixed.")
        plugin = load_plugin(name)
        cls, sizes = type(plugin), plugin.sizes()
    else:
        cls = plugin_class(name)
        sizes = set_values(given, lambda pairs: settings_of(cls.parameters, name, pairs))
    parts = cls.parameters(**sizes)
    return {
        "name": cls.name,
        "kind": cls.kind,
        "learns_from": list(cls.learns_from),
        "reads": list(cls.reads),
        "parameters": {**parts, "total": sum(parts.values())},
        "paper": cls.paper,
        "licence": cls.licence,
        "status": cls.status,
    }


def describe(card: dict[str, Any]) -> str:
    """Format a card as text for people."""
    parameters = ", ".join(f"{part} {count:,}" for part, count in card["parameters"].items())
    lines = {
        "evidence": card["kind"],
        "learns from": ", ".join(card["learns_from"]),
        "reads": ", ".join(card["reads"]),
        "parameters": parameters,
        "paper": card["paper"] or "none",
        "licence": card["licence"],
        "status": card["status"],
    }
    return "\n".join([card["name"], *(f"  {name:12} {text}" for name, text in lines.items())])
