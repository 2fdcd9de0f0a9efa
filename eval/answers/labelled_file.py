"""Files with one value for each clip: CSV `name,label`, or JSONL with `name` (or `id`) and `label` or `response`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from affectgpt.encoding import TABLES
from affectgpt.json_files import iterate_json
from affectgpt.problems import InputError, Problem, require_file, shorten
from affectgpt.tables import read_table
from eval.answers.fields import NAMES, Record, Role, fields_of, is_header, name_of

SHOWN = 10
"""Maximum number of problems of one kind that are listed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Value of one clip in a file, its line and its field."""

    value: Any
    line: int
    group: str | None = None
    field: str = ""
    task: str | None = None
    """Task of the row, if it names one."""


def read_entries(path: str | Path, role: Role, task: str | None = None) -> dict[str, Entry]:
    """Read the entries of a file by the name of the clip, in the order of the file.

    Args:
        path: a table (`.csv`, `.tsv`), or JSONL under any other suffix.
        role: what the values are for, which decides the field that holds them.
        task: task of the rows to read, in a file whose rows name theirs; None for all.

    Raises:
        InputError: no such file, a line that is no row, a row without name or value, a name that occurs twice, fields
            that contradict each other, no row of the task.
    """
    path = require_file(path, "labels", "A CSV with the columns name,label, or one JSON object a line.")
    rows, problems = read_records(path)
    if task is not None and (tasks := {str(row["task"]) for _, row in rows if row.get("task")}):
        rows = [(line, row) for line, row in rows if row.get("task") == task]
        if not rows:
            got = ", ".join(sorted(tasks))
            raise InputError(Problem(str(path), "its rows", f"some of task {task}, for --task", got))
    fields = fields_of(path, rows, role)
    entries: dict[str, Entry] = {}
    for line, row in rows:
        name = name_of(row)
        field = next((field for field in fields if field in row), None)
        if name is None or field is None:
            fix = f"It may be called {' or '.join(NAMES)}." if name is None else _fix(role)
            wanted = NAMES[0] if name is None else (fields or role.fields or role.fallback)[0]
            has = ", ".join(map(str, row)) or "no field"
            problems.append(Problem(str(path), f"line {line}", f"the field '{wanted}'", shorten(has), fix))
        elif name in entries:
            got = f"{name!r}, also in line {entries[name].line}"
            problems.append(Problem(str(path), f"line {line}", "a name used once", got, "Remove one of the two."))
        else:
            group, task = (str(row[key]) if row.get(key) not in (None, "") else None for key in ("group", "task"))
            entries[name] = Entry(row[field], line, group, field, task)
    refuse(problems)
    return entries


def read_records(path: Path) -> tuple[list[tuple[int, Record]], list[Problem]]:
    """Read the lines of a file that are objects, each with its number, but for the header of a run's predictions.

    Args:
        path: a table (`.csv`, `.tsv`), or JSONL under any other suffix; a response may end inside a character.

    Returns:
        The lines, and the problems of the others; there is one or the other.
    """
    rows: list[tuple[int, Record]] = []
    problems: list[Problem] = []
    for line, row in _table_rows(path) if path.suffix.lower() in TABLES else iterate_json(path, mended=[]):
        if isinstance(row, Problem):
            problems.append(row)
        elif not is_header(row):
            rows.append((line, row))
    if not rows and not problems:
        problems.append(Problem(str(path), "the file", "at least one row", "none"))
    return rows, problems


def _fix(role: Role) -> str:
    names = role.fields or ("response", "prediction", "predict", "output", *role.fallback)
    return f"It may be called {' or '.join(names)}; name another with {role.option}."


def refuse(problems: Sequence[Problem], advice: str = "") -> None:
    """Raise InputError if there are problems; lines of a file with the same problem are listed once."""
    alike: dict[Problem, list[str]] = {}
    for problem in problems:
        alike.setdefault(replace(problem, where=""), []).append(problem.where)
    merged = [replace(problem, where=_together(lines)) for problem, lines in alike.items()]
    if merged:
        more = f"... and {len(merged) - SHOWN} more." if len(merged) > SHOWN else ""
        raise InputError(merged[:SHOWN], "\n".join(filter(None, (more, advice))))


def _together(lines: Sequence[str]) -> str:
    """Return several lines of a file as one: `line 1; line 2; line 3 and 17 more`."""
    return "; ".join(lines[:3]) + (f" and {len(lines) - 3} more" if len(lines) > 3 else "")


def lines_of(entries: Mapping[str, Entry]) -> dict[str, int]:
    """Map names to lines."""
    return {name: entry.line for name, entry in entries.items()}


def _table_rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    rows, problems = read_table(path)
    yield from ((0, problem) for problem in problems)
    yield from rows


def require_same_names(
    first: Path,
    known: Mapping[str, int],
    second: Path,
    others: Mapping[str, int],
    fix: str,
    allow_missing: bool = False,
) -> None:
    """Refuse two files of different clips, and name the clips.

    Args:
        first: file that determines the clips.
        known: its clips, with their lines.
        second: file compared with it.
        others: clips of `second`, with their lines.
        fix: next step for the user.
        allow_missing: whether `second` may lack clips.

    Raises:
        InputError: names the first clips that only one of the two has, with their lines.
    """
    extra = [(second, name, line, first) for name, line in others.items() if name not in known]
    missing = [(first, name, line, second) for name, line in known.items() if name not in others]
    wrong = extra[:5] if allow_missing else [*extra[:5], *missing[:5]]
    if wrong:
        problems = [
            Problem(str(file), f"line {line}", f"a clip that {absent} has too", shorten(name))
            for file, name, line, absent in wrong
        ]
        raise InputError(
            problems, f"The first ones; in {first} alone: {len(missing)} clips; in {second} alone: {len(extra)}. {fix}"
        )
