"""Importer of tables of labelled clips; tables that importers join."""

from __future__ import annotations

import csv
import os
from pathlib import Path

from affectgpt.clip import Clip
from affectgpt.media.media import medium_of
from affectgpt.media_root import media_folder
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.tasks import TASKS


def from_csv(
    path: str | Path,
    label_column: str,
    file_column: str = "file",
    subtitle_column: str | None = None,
    group_column: str | None = None,
    media_root: str | Path | None = None,
) -> list[Clip]:
    """Read a CSV of clips with one label each as `emotion_label` rows; their options are all labels, sorted.

    Args:
        path: CSV in UTF-8 with a header.
        label_column: holds the label.
        file_column: holds the path of a video, sound or picture, relative to `media_root`; also the row's id.
        subtitle_column: holds the subtitle; "subtitle" by default, if there is one.
        group_column: holds the speaker, actor or dialogue; "group" by default, if there is one.
        media_root: folder that relative paths start from; the file's own by default.

    Raises:
        InputError: columns, labels or files that are missing, files named twice, fewer than two labels.
    """
    path = require_file(path, "a CSV of clips", "")
    root = media_folder(path, media_root, is_read=True)
    wanted = [column for column in (file_column, label_column, subtitle_column, group_column) if column is not None]
    problems: list[Problem] = []
    rows = _read_csv(path, wanted, problems)
    rows = [(line, {column: value.strip() for column, value in row.items()}) for line, row in rows]
    options = sorted({row[label_column] for _, row in rows} - {""})
    if rows and len(options) < 2:
        got = f"only {options[0]!r}" if options else "none"
        problems.append(Problem(str(path), f"column '{label_column}'", "at least two different labels", got))
    seen: dict[str, int] = {}
    clips = []
    for line, row in rows:
        file, label = row[file_column], row[label_column]
        where = f"line {line}, column"
        if not label:
            problems.append(Problem(str(path), f"{where} '{label_column}'", "a label", "nothing"))
        if not file or not (root / file).is_file():
            got = f"{file}, which is not there" if file else "nothing"
            problems.append(Problem(str(path), f"{where} '{file_column}'", "a file", got, f"Looked in {root}."))
        elif seen.setdefault(file, line) != line:
            got = f"{file}, also in line {seen[file]}"
            problems.append(Problem(str(path), f"{where} '{file_column}'", "a file named once", got))
        media = Path(os.path.normpath(root / file))
        clips.append(
            Clip(
                id=file,
                **{medium_of(media): media},  # type: ignore[arg-type]
                subtitle=row.get(subtitle_column or "subtitle") or None,
                group=row.get(group_column or "group") or None,
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


def conversation(question: str, target: str) -> list[dict[str, str]]:
    """Return the chat turns of a question and the answer to learn."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": target}]


def read_table(path: Path, column: str, problems: list[Problem]) -> dict[str, str]:
    """Read another column of a CSV file, by the values of its column `name`."""
    table: dict[str, str] = {}
    for line, row in _read_csv(path, ["name", column], problems):
        name = row["name"].strip()
        if not name:
            problems.append(Problem(str(path), f"line {line}, column 'name'", "the name of a clip", "nothing"))
        elif name in table:
            problems.append(Problem(str(path), f"line {line}, column 'name'", "a name used once", name))
        table[name] = row[column].strip()
    return table


def _read_csv(path: Path, wanted: list[str], problems: list[Problem]) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV file with the lines they end on; none, and problems, if it lacks a wanted column."""
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            missing = [column for column in wanted if column not in columns]
            for column in missing:
                found = f"the columns {', '.join(columns)}" if columns else "an empty file"
                problems.append(
                    Problem(str(path), "the header", f"a column '{column}'", found, nearest(column, columns))
                )
            for row in reader if not missing else ():
                if None in row or None in row.values():
                    got = f"{'more' if None in row else 'fewer'}: {shorten(list(row.values()))}"
                    where, fix = f"line {reader.line_num}", "Put quotes around a cell that holds commas."
                    problems.append(Problem(str(path), where, f"{len(columns)} cells", got, fix))
                else:
                    rows.append((reader.line_num, row))
    except (UnicodeDecodeError, csv.Error) as error:
        problems.append(Problem(str(path), "the file", "a CSV in UTF-8", str(error)))
        return []
    if not rows and not problems:
        problems.append(Problem(str(path), "the file", "at least one row", "none"))
    return rows
