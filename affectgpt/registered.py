"""Entry points that packages register under the groups of this project: found by name, loaded when needed."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from affectgpt.problems import InputError


def registered(group: str, what: str, ours: Iterable[str] = ()) -> dict[str, EntryPoint]:
    """Find every entry point of a group, by name in alphabetical order; nothing is imported.

    Args:
        what: noun for messages, such as 'plugin' or 'kind of evidence'.
        ours: names that the project itself uses and no package may register.

    Raises:
        InputError: a name that two packages register, or one of ours; every one is listed.
    """
    entries: dict[str, EntryPoint] = {}
    problems = []
    for entry in sorted(entry_points(group=group)):
        owners = [entries[entry.name].value] if entry.name in entries else []
        owners += ["this project"] if entry.name in ours else []
        if owners and owners != [entry.value]:
            problems.append(
                f"{what} '{entry.name}': expected one owner of the name, got {owners[0]} and {entry.value} (entry "
                f"points of the group {group}). Uninstall a package, or register it under another name."
            )
        entries.setdefault(entry.name, entry)
    if problems:
        raise InputError(problems)
    return entries
