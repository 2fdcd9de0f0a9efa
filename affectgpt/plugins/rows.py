"""Which rows a plugin learns from, and which it says something about, from what it declares."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import TASKS, known_rows
from affectgpt.evidence.evidence import Evidence
from affectgpt.plugins.plugin import Plugin, require_kind
from affectgpt.plugins.reads import MEDIA
from affectgpt.problems import InputError, nearest


def is_read(plugin: Plugin | type[Plugin], row: Clip) -> bool:
    """Tell whether a row has anything that a plugin reads."""
    return any(MEDIA[medium](row) for medium in plugin.reads)


def is_learned(plugin: Plugin | type[Plugin], row: Clip, tasks: Sequence[str] | None = None) -> bool:
    """Tell whether a plugin learns from a row: of its tasks, or of some of them, and with something that it reads."""
    return row.task in (plugin.learns_from if tasks is None else tasks) and is_read(plugin, row)


def described_rows(plugin: Plugin | type[Plugin]) -> str:
    """Describe the rows that a plugin learns from, for messages."""
    return f"rows of task {' or '.join(plugin.learns_from)} with {' or '.join(plugin.reads)}"


def tasks_of(plugin: Plugin | type[Plugin], chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks whose rows are taken for a plugin: those that were chosen, or all that it learns from.

    Raises:
        InputError: a task that it does not learn from; every one is named.
    """
    if tuple(chosen) == TASKS:
        return plugin.learns_from
    problems = [
        f"--tasks {task}: plugin '{plugin.name}' does not learn from it. {nearest(task, plugin.learns_from)}"
        for task in chosen
        if task not in plugin.learns_from
    ]
    if problems:
        raise InputError(problems)
    return tuple(chosen)


def gets_evidence(plugin: Plugin | type[Plugin], row: Clip, tasks: Sequence[str]) -> bool:
    """Tell whether held-out evidence is put on a row, of those tasks that were chosen.

    Rows of one clip share what is seen and heard, whatever they ask, so that those of other tasks get evidence as well.
    A dialogue stands for itself.
    """
    return row.task in tasks or (row.task not in plugin.learns_from and {*tasks} != {"dialogue"})


def evidence_of(plugin: Plugin, rows: Sequence[Clip]) -> list[Evidence | None]:
    """What a plugin says of rows, of its kind; None for each that it does not read or has nothing to say about.

    Raises:
        InputError: it answers for another number of rows, or with something else.
    """
    read = [index for index, row in enumerate(rows) if is_read(plugin, row)]
    given = list(plugin.predict([rows[index] for index in read]))
    require_kind(plugin, given, len(read))
    evidence: list[Evidence | None] = [None] * len(rows)
    for index, item in zip(read, given, strict=True):
        evidence[index] = item
    return evidence


def labelled_rows(
    plugin: Plugin | type[Plugin], path: Path, chosen: Sequence[str] = TASKS, media_root: Path | None = None
) -> list[Clip]:
    """Read the rows of a file whose answers a plugin learns from, or is scored by.

    Args:
        chosen: tasks that the user chose, see `tasks_of`.

    Raises:
        InputError: with every problem of every line, or no row of the tasks.
    """
    tasks = tasks_of(plugin, chosen)
    return known_rows(plugin.read(path, plugin.labels, media_root), path, tasks, plugin.labels)
