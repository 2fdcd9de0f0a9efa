"""Importer of tables of labelled clips; tables that importers join."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from affectgpt.clip import Clip
from affectgpt.media.media import is_lfs_pointer, medium_of
from affectgpt.media_root import media_folder, where_it_is
from affectgpt.problems import MOST, InputError, Problem, nearest, require_file, spelling_key
from affectgpt.tables import NOT_A_NUMBER, is_missing, read_table
from affectgpt.tasks import TASKS

_HYPHEN = re.compile(r"(?<=[^\W\d_])[-_\u2010\u2011](?=[^\W\d_])")
"""Hyphen within a word; that of a number is its sign."""
_BLANK = " \t\r\n\xa0\u3000"
"""Characters taken off the ends of a cell. `str.strip` takes U+0085, too, which an ellipsis may have become."""


def from_csv(
    path: str | Path,
    label_column: str,
    file_column: str = "file",
    subtitle_column: str | None = None,
    group_column: str | None = None,
    media_root: str | Path | None = None,
    labels: Sequence[str] | None = None,
    unlabelled: list[int] | None = None,
) -> list[Clip]:
    """Read a table of clips with one label each as `emotion_label` rows.

    Args:
        path: CSV or TSV in UTF-8 with a header.
        label_column: holds the label.
        file_column: holds the path of a video, sound or picture, relative to `media_root`; also the row's id.
        subtitle_column: holds the subtitle; "subtitle" by default, if there is one.
        group_column: holds the speaker, actor or dialogue; "group" by default, if there is one.
        media_root: folder that relative paths start from; the file's own by default.
        labels: closed set, the options of every row; by default all labels of the table, sorted.
        unlabelled: collects the lines of rows without a label, which are left out; without it they are problems.

    Raises:
        InputError: columns, labels or files that are missing, files named twice, fewer than two labels, labels that
            differ in case, spaces or Unicode form alone, labels outside the closed set.
    """
    path = require_file(path, "a CSV of clips", "")
    root = media_folder(path, media_root, is_read=True)
    wanted = [column for column in (file_column, label_column, subtitle_column, group_column) if column is not None]
    table, problems = read_table(path, wanted)
    rows = [(line, {column: value.strip(_BLANK) for column, value in row.items()}) for line, row in table]
    columns = list(table[0].cells) if table else []
    subtitle_column = subtitle_column or _spelt(columns, "subtitle")
    group_column = group_column or _spelt(columns, "group")
    missing = [line for line, row in rows if is_missing(row[label_column]) and row[label_column] not in (labels or ())]
    if unlabelled is not None:
        unlabelled += missing
        left_out = {*missing}
        rows = [(line, row) for line, row in rows if line not in left_out]
    problems += _label_problems(path, label_column, rows, labels, missing if unlabelled is None else [])
    options = list(labels) if labels is not None else sorted({row[label_column] for _, row in rows})
    seen: dict[Path, int] = {}
    clips = []
    for line, row in rows:
        file, label = row[file_column], row[label_column]
        media = Path(os.path.normpath(root / file))
        for column in (subtitle_column, group_column):
            if row.get(column, "").lower() in NOT_A_NUMBER:
                problems.append(_not_a_number(path, line, column, row[column]))
        if problem := _file_problem(media, file, root, len(problems) < MOST):
            problems.append(Problem(str(path), f"line {line}, column '{file_column}'", *problem))
        elif seen.setdefault(media, line) != line:
            got = f"{file}, also in line {seen[media]}"
            problems.append(Problem(str(path), f"line {line}, column '{file_column}'", "a file named once", got))
        clips.append(
            Clip(
                id=Path(os.path.relpath(media, root)).as_posix() if os.path.isabs(file) else file,
                **{medium_of(media): media},  # type: ignore[arg-type]
                subtitle=row.get(subtitle_column) or None,
                group=row.get(group_column) or None,
                messages=conversation(TASKS["emotion_label"].questions[0], label),
                task="emotion_label",
                level="emotion",
                answer=label,
                options=options,
                source=path.stem,
            )
        )
    if problems:
        raise InputError(problems)
    return clips


def _spelt(columns: Sequence[str], name: str) -> str:
    """Return the column of a name, in any case and with any invisible characters; the name if there is none."""
    return next((column for column in columns if spelling_key(column) == name), name)


def _label_problems(
    path: Path,
    column: str,
    rows: Sequence[tuple[int, dict[str, str]]],
    labels: Sequence[str] | None,
    missing: list[int],
) -> list[Problem]:
    """Return the problems of a column of labels.

    Args:
        rows: each row with its line.
        labels: closed set, if one is given.
        missing: lines whose label is missing.
    """
    problems: list[Problem] = []
    lines: dict[str, list[int]] = {}
    for line, row in rows:
        lines.setdefault(row[column], []).append(line)
    if missing:
        cells = [label for label, on in lines.items() if not {*missing}.isdisjoint(on)]
        got = "nothing" if cells == [""] else ", ".join(repr(cell) for cell in cells)
        fix = "Leave these rows out with --drop-unlabelled; or, where that is a label, name all labels with --labels."
        problems.append(Problem(str(path), f"{_named(missing)}, column '{column}'", "a label", got, fix))
        lines = {label: on for label, on in lines.items() if label not in cells}
    quoted = [label for label in lines if len(label) > 1 and label[0] == label[-1] == '"']
    if quoted and labels is None:
        where = f"{_named(lines[quoted[0]])}, column '{column}'"
        fix = "Remove the space before the quotation mark."
        problems.append(Problem(str(path), where, "a label without quotation marks", quoted[0], fix))
    if labels is None:
        if rows and len(lines) < 2:
            got = f"only {next(iter(lines))!r}" if lines else "none"
            problems.append(Problem(str(path), f"column '{column}'", "at least two different labels", got))
        return problems + alike(path, column, lines, "a label", _label_key)
    keys = {_label_key(label): label for label in labels}
    if len(keys) < len(labels):
        got = ", ".join(_shown(label, *labels) for label in labels if keys[_label_key(label)] != label)
        fix = "They differ in case, spaces or Unicode form alone."
        problems.append(Problem("--labels", "its labels", "distinct ones", f"{got} beside another spelling", fix))
    if len(labels) < 2:
        problems.append(Problem("--labels", "its labels", "at least two", ", ".join(labels) or "none"))
    for label, on in lines.items():
        if label not in labels:
            twin = keys.get(_label_key(label))
            fix = f"Did you mean {_shown(twin, label)}?" if twin else nearest(label, labels)
            where, got = f"{_named(on)}, column '{column}'", _shown(label, twin or "")
            problems.append(Problem(str(path), where, "a label that --labels names", got, fix))
    return problems


def _label_key(label: str) -> str:
    """Return what spellings of a label have in common that evaluators take for one: hyphens and quotation marks count
    as little as case and spaces."""
    return spelling_key(_HYPHEN.sub(" ", label).strip(".'\"` "))


def alike(
    path: Path,
    column: str,
    lines: dict[str, list[int]],
    what: str,
    key: Callable[[str], str] = spelling_key,
) -> list[Problem]:
    """Return a problem for each set of cells that differ in case, spaces or Unicode form alone.

    Args:
        path: the table.
        column: the column of the cells.
        lines: distinct cell -> its lines.
        what: description of what a cell is.
        key: what spellings of one have in common.
    """
    spellings: dict[str, list[str]] = {}
    for cell in lines:
        spellings.setdefault(key(cell), []).append(cell)
    problems = []
    for cells in spellings.values():
        if len(cells) > 1:
            got = "; ".join(f"{_shown(cell, *cells)} in {_named(lines[cell])}" for cell in sorted(cells))
            fix = "Each would be another one. Write the same in all rows."
            problems.append(Problem(str(path), f"column '{column}'", f"one spelling of {what}", got, fix))
    return problems


def _shown(text: str, *others: str) -> str:
    """Write a text for a message; where another one looks the same, the characters are spelt out."""
    plain = unicodedata.normalize("NFKC", text)
    twins = [other for other in others if other != text and unicodedata.normalize("NFKC", other) == plain]
    return ascii(text) if twins else repr(text)


def _named(lines: Sequence[int]) -> str:
    """Return the first lines in words, and how many follow."""
    if len(lines) == 1:
        return f"line {lines[0]}"
    more = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    return f"lines {', '.join(map(str, lines[:3]))}{more}"


def _file_problem(media: Path, file: str, root: Path, is_shown: bool) -> tuple[str, ...] | None:
    """Return what is wrong with the file of a row: expected, got, and what to do; None if nothing is.

    Args:
        is_shown: whether the message is short enough yet to show it, so that looking for the remedy is worth the time.
    """
    if not file:
        return "a file", "nothing", f"Looked in {root}."
    if os.path.isfile(media):  # Path.is_file raises on names that are too long
        if is_lfs_pointer(media):
            return "a file", f"{file}, a pointer of Git LFS", "Fetch the file itself with: git lfs pull"
        return None
    fix = where_it_is(root, file, media, is_shown)
    if fix.startswith("Looked in"):
        fix = f"{fix.removesuffix('.')}; --media-root names another folder."
    return "a file", f"{file}, which is not there", fix


def conversation(question: str, target: str) -> list[dict[str, str]]:
    """Return the chat turns of a question and the answer to learn."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": target}]


def _not_a_number(path: Path, line: int, column: str, cell: str) -> Problem:
    fix = "Pandas writes it for an empty cell: save the table with na_rep=''."
    return Problem(str(path), f"line {line}, column '{column}'", "text, or an empty cell", repr(cell), fix)


def read_column(path: Path, column: str, problems: list[Problem]) -> dict[str, str]:
    """Read a column of a table by the values of its column `name`."""
    rows, found = read_table(path, ["name", column])
    problems += found
    values: dict[str, str] = {}
    for line, cells in rows:
        name = cells["name"].strip(_BLANK)
        if cells[column].strip(_BLANK).lower() in NOT_A_NUMBER:
            problems.append(_not_a_number(path, line, column, cells[column]))
        elif cells[column].startswith("#") and is_missing(cells[column]):
            fix = "A spreadsheet took it for a formula. Write it anew."
            problems.append(Problem(str(path), f"line {line}, column '{column}'", "text", cells[column], fix))
        if not name:
            problems.append(Problem(str(path), f"line {line}, column 'name'", "the name of a clip", "nothing"))
        elif name in values:
            problems.append(Problem(str(path), f"line {line}, column 'name'", "a name used once", name))
        values[name] = cells[column].strip(_BLANK)
    return values
