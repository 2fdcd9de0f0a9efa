"""Rows that a plugin learns from, and rows that it predicts evidence about, by what its class declares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from affectgpt.clip import MEDIA_FIELDS, Clip
from affectgpt.evidence.dialogue import TASKS, known_rows
from affectgpt.evidence.evidence import Evidence
from affectgpt.media.source import MediaError
from affectgpt.plugins.plugin import Plugin, require_kind
from affectgpt.plugins.reads import MEDIA
from affectgpt.problems import InputError, nearest


def is_read(plugin: Plugin | type[Plugin], row: Clip) -> bool:
    """Tell whether a row has any input that a plugin reads."""
    return any(MEDIA[medium](row) for medium in plugin.reads)


def is_learned(plugin: Plugin | type[Plugin], row: Clip, tasks: Sequence[str] | None = None) -> bool:
    """Tell whether a plugin learns from a row: it has an input that the plugin reads, and one of the tasks."""
    return row.task in (plugin.learns_from if tasks is None else tasks) and is_read(plugin, row)


def described_rows(plugin: Plugin | type[Plugin]) -> str:
    """Describe the rows that a plugin learns from, for messages."""
    return f"rows of task {' or '.join(plugin.learns_from)} with {' or '.join(plugin.reads)}"


def tasks_of(plugin: Plugin | type[Plugin], chosen: Sequence[str]) -> tuple[str, ...]:
    """Return the tasks whose rows a plugin uses: the chosen ones, or all that it learns from.

    Raises:
        InputError: a chosen task that it does not learn from; every one is named.
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
    """Tell whether a row gets out-of-fold evidence, given the chosen tasks.

    Rows about one clip share its media, whatever they ask, so rows of other tasks get evidence as well. A dialogue gets
    it only if its task was chosen.
    """
    return row.task in tasks or (row.task not in plugin.learns_from and {*tasks} != {"dialogue"})


def evidence_of(plugin: Plugin, rows: Sequence[Clip]) -> list[Evidence | None]:
    """Predict a plugin's evidence about rows; None for rows that it cannot read or about which it predicts nothing.

    Raises:
        InputError: the plugin returns a different number of predictions, or one that is not of its kind, or lets the
            error of a media file through; its row is named.
    """
    read = [index for index, row in enumerate(rows) if is_read(plugin, row)]
    with media_errors(plugin, rows):
        given = list(plugin.predict([rows[index] for index in read]))
    require_kind(plugin, given, len(read))
    evidence: list[Evidence | None] = [None] * len(rows)
    for index, item in zip(read, given, strict=True):
        evidence[index] = item
    return evidence


@contextmanager
def media_errors(plugin: Plugin | type[Plugin], rows: Sequence[Clip]) -> Iterator[None]:
    """Explain the error of a media file that a plugin lets through while it reads rows.

    Raises:
        InputError: names the plugin, the rows of the file, and what is wrong with it.
    """
    try:
        yield
    except MediaError as error:
        media = ((row, getattr(row, name)) for row in rows for name in MEDIA_FIELDS)
        named = dict.fromkeys(row.id for row, path in media if path is not None and str(path) in str(error))
        shown = f"row {', '.join([*named][:3])}{', ...' if len(named) > 3 else ''}: " if named else ""
        advice = "Mend the file or leave the row out; 'affectgpt data check' names every clip that cannot be read."
        raise InputError(f"plugin '{plugin.name}': {shown}{error}", advice) from error


def labelled_rows(
    plugin: Plugin | type[Plugin], path: Path, chosen: Sequence[str] = TASKS, media_root: Path | None = None
) -> list[Clip]:
    """Read the rows of a file that a plugin learns from or is scored on.

    Args:
        chosen: tasks that the user chose; see `tasks_of`.

    Raises:
        InputError: with every problem of every line, or no row of the tasks.
    """
    tasks = tasks_of(plugin, chosen)
    return known_rows(plugin.read(path, plugin.labels, media_root), path, tasks, plugin.labels)
