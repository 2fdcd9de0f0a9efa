"""Files with one value for each clip: CSV `name,label`, or JSONL with `name` (or `id`) and `label`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.encoding import TABLES
from affectgpt.json_files import iterate_json
from affectgpt.problems import InputError, Problem, require_file, shorten
from affectgpt.tables import read_table

NAMES = ("name", "id")
GOLD_FIELDS = ("label", "labels", "answer")
"""Fields that may hold the gold value; the first that a row has counts."""
PREDICTION_FIELDS = ("label", "labels", "prediction", "response")
"""Fields that may hold a model's prediction."""
SHOWN = 10
"""Maximum number of problems of one kind that are listed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Value of one clip in a file, and its line."""

    value: Any
    line: int
    group: str | None = None


def read_entries(path: str | Path, fields: Sequence[str]) -> dict[str, Entry]:
    """Read the entries of a file by the name of the clip, in the order of the file.

    Args:
        path: a table (`.csv`, `.tsv`), or JSONL under any other suffix.
        fields: possible names of the field that holds the value.

    Raises:
        InputError: no such file, a line that is no row, a row without name or value, a name that occurs twice.
    """
    path = require_file(path, "labels", "A CSV with the columns name,label, or one JSON object a line.")
    entries: dict[str, Entry] = {}
    problems: list[Problem] = []
    for line, row in _table_rows(path) if path.suffix.lower() in TABLES else iterate_json(path, mended=[]):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        name = next((row[field] for field in NAMES if row.get(field) not in (None, "")), None)
        field = next((field for field in fields if field in row), None)
        if name is None or field is None:
            wanted = NAMES if name is None else fields
            has = ", ".join(map(str, row)) or "no field"
            fix = f"It may be called {' or '.join(wanted)}."
            problems.append(Problem(str(path), f"line {line}", f"the field '{wanted[0]}'", shorten(has), fix))
        elif str(name) in entries:
            got = f"{name!r}, also in line {entries[str(name)].line}"
            problems.append(Problem(str(path), f"line {line}", "a name used once", got, "Remove one of the two."))
        else:
            group = row.get("group")
            entries[str(name)] = Entry(row[field], line, str(group) if group not in (None, "") else None)
    if not entries and not problems:
        problems.append(Problem(str(path), "the file", "at least one row", "none"))
    if problems:
        raise InputError(problems[:SHOWN], f"... and {len(problems) - SHOWN} more." if len(problems) > SHOWN else "")
    return entries


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
