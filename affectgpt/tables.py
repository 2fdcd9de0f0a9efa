"""The strict reader of tables (CSV, TSV); nobody else parses such files.

What a lenient reader takes without a word changes data: a quotation mark that is never closed swallows the rows behind
it, of two columns of one name the last wins. Here each is a `Problem` that names the line.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from affectgpt.encoding import TABLES, decode
from affectgpt.problems import Problem, nearest, shorten, spelling_key

_DELIMITERS = {",": "commas", "\uff0c": "Chinese commas", ";": "';'", "\t": "tabs", "|": "'|'"}
"""Signs that stand between the cells of some table, and their names."""
_NUMBER = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
"""Comma inside a number or a time of subtitles, such as 1,000 and 00:00:01,500."""
MISSING = frozenset((
    "", "nan", "-nan", "nat", "na", "n/a", "n.a.", "n.a", "#n/a", "#n/a n/a", "#na", "<na>", "none", "null", "nil",
    "undefined", "(null)", "\\n", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan", "[]", "{}", "()",
    "#value!", "#ref!", "#name?", "#div/0!", "#num!", "#null!", "#error!", "-", "--", "\u2013", "\u2014", "?", ".",
))  # fmt: skip
"""Cells, in lower case, by which pandas, databases, spreadsheets and people say that there is nothing."""
NOT_A_NUMBER = ("nan", "<na>")
"""Cells, in lower case, that pandas alone writes where there is nothing."""
_AROUND = " \t\r\n\xa0\u3000\u200b\ufeff'\""


def is_missing(cell: str) -> bool:
    """Tell whether a cell says that there is nothing, whatever its case and the spaces and quotation marks around."""
    return cell.strip(_AROUND).lower() in MISSING


class TableRow(NamedTuple):
    """Row of a table: its cells by column, and the line that it begins on."""

    line: int
    cells: dict[str, str]


def read_table(path: Path, wanted: Sequence[str] = ()) -> tuple[list[TableRow], list[Problem]]:
    """Read the rows of a CSV in UTF-8 with a header, or of a TSV where the file is called so.

    Columns without a name are left out where they hold nothing, or the index that pandas writes. Blank lines, and
    those of empty cells, are skipped.

    Args:
        path: the table.
        wanted: columns that it must have.

    Returns:
        The rows, and the problems of the others. A header that lacks a column, or names one twice, has no rows.
    """
    delimiter, kind = ("\t", "TSV") if path.suffix.lower() in TABLES[1:] else (",", "CSV")
    text = decode(path.read_bytes(), path, f"a {kind}")
    if isinstance(text, Problem):
        return [], [text]
    problems: list[Problem] = []
    records = _records(path, text, delimiter, problems)
    first = next(records, None)
    columns = first[1] if first is not None else []
    if first is None:
        return [], problems or [Problem(str(path), "the file", "a header and at least one row", "an empty file")]
    problems += _header_problems(path, first[0], columns, delimiter, wanted)
    if problems:
        return [], problems
    whole: list[tuple[int, list[str]]] = []
    for line, cells in records:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) == len(columns):
            whole.append((line, cells))
            continue
        got = f"{'more' if len(cells) > len(columns) else 'fewer'}: {shorten(cells)}"
        fix = f"Put quotes around a cell that holds {_DELIMITERS[delimiter]}."
        if any(cell.startswith(' "') for cell in cells):
            fix = "Remove the space before the quotation mark."
        elif len(cells) < len(columns):
            fix = f"Write {_DELIMITERS[delimiter]} for its empty cells, too."
        problems.append(Problem(str(path), f"line {line}", f"{len(columns)} cells", got, fix))
    for index, name in enumerate(columns):
        if not name.strip():
            problems += _nameless_problems(path, index, whole)
    rows = [
        TableRow(line, {name: cell for name, cell in zip(columns, cells, strict=True) if name.strip()})
        for line, cells in whole
    ]
    if not rows and not problems:
        problems.append(Problem(str(path), "the file", "at least one row", "none"))
    return rows, problems


def _records(path: Path, text: str, delimiter: str, problems: list[Problem]) -> Iterator[tuple[int, list[str]]]:
    """Yield the records that are not blank with their first lines; add a problem for each that quotation marks spoil.

    Behind a cell that is not closed as it should be nothing can be told from text, so that reading ends there.
    """
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(iter(lines), delimiter=delimiter, strict=True)
    columns = 0
    while True:
        begin = reader.line_num
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.append(_open_cell(path, begin, lines[begin : reader.line_num], delimiter, str(error)))
            return
        if not cells:
            continue
        columns = columns or len(cells)
        spanned = lines[begin : reader.line_num]
        if len(spanned) > 1 and (swallowed := _swallowed(spanned, delimiter, columns)):
            got = f"a quoted cell that holds what looks like whole rows, such as {shorten(swallowed)}"
            fix = (
                f"Does the quotation mark in line {begin + _quoting(spanned, delimiter).opened[0] + 1} belong there? "
                "Remove it or close it. If the cell is right, put a space after its commas."
            )
            where = f"lines {begin + 1} to {reader.line_num}"
            problems.append(Problem(str(path), where, "one row", got, fix))
        yield begin + 1, cells


class _Quoting(NamedTuple):
    """Quotation marks of a record: where the last quoted cell begins (line and character, from 0), and, for each line,
    the delimiters that are text of a quoted cell."""

    opened: tuple[int, int]
    inside: list[list[int]]


def _quoting(lines: Sequence[str], delimiter: str) -> _Quoting:
    opened, state = (0, 0), "start"
    inside: list[list[int]] = [[] for _ in lines]
    for number, line in enumerate(lines):
        for index, sign in enumerate(line):
            if state == "quoted":
                if sign == '"':
                    state = "closed"
                elif sign == delimiter:
                    inside[number].append(index)
            elif sign == delimiter or sign in "\r\n":
                state = "start"
            elif sign == '"' and state == "start":
                state, opened = "quoted", (number, index)
            elif sign == '"' and state == "closed":
                state = "quoted"
            elif state == "closed":
                return _Quoting(opened, inside)
            else:
                state = "plain"
    return _Quoting(opened, inside)


def _open_cell(path: Path, begin: int, lines: Sequence[str], delimiter: str, error: str) -> Problem:
    line, index = _quoting(lines, delimiter).opened
    got = shorten(lines[line][index:].rstrip("\r\n"))
    if len(lines) - line > 1:
        got += f" and what follows up to line {begin + len(lines)}"
    expected = 'a cell in quotation marks that ends with ", and no more'
    fix = "Close the quotation mark or remove it. Inside a quoted cell it is written twice."
    if "limit" in error:
        expected = f"a cell of at most {csv.field_size_limit():,} characters"
        fix = "Is a quotation mark never closed?"
    return Problem(str(path), f"line {begin + line + 1}", expected, got, fix)


def _swallowed(lines: Sequence[str], delimiter: str, columns: int) -> str | None:
    """Return a line of a record that looks like a whole row inside a quoted cell; None where there is none.

    Text has a space behind its commas, a row of a table has none.
    """
    if columns < 2:
        return None
    between_cells = re.compile(re.escape(delimiter) + r"(?!\s)")
    if columns == 2:
        # One comma is easily text: at the end of a line, and between Chinese characters.
        sign, near = re.escape(delimiter), "\u3000-\u9fff\uff00-\uffef"
        between_cells = re.compile(rf"(?<![{near}]){sign}(?!\s|$)|{sign}(?![\s{near}]|$)")
    looks, whole = [], 0
    for text, marked in zip(lines, _quoting(lines, delimiter).inside, strict=True):
        numbers = {match.start() for match in _NUMBER.finditer(text)}
        between = {match.start() for match in between_cells.finditer(text.rstrip("\r\n"))} - numbers
        if len(between) >= columns - 1:
            whole += 1
            if between & {*marked}:
                looks.append(text.rstrip("\r\n"))
    return looks[-1] if whole > 1 and looks else None


def _header_problems(
    path: Path, line: int, columns: list[str], delimiter: str, wanted: Sequence[str]
) -> Iterator[Problem]:
    where = f"line {line}, the header" if line > 1 else "the header"
    other = next((sign for sign in _DELIMITERS if len(columns) == 1 and sign in columns[0]), None)
    if other is not None:
        named = {"\t": " Call the file .tsv.", ",": " Call the file .csv."}.get(other, " Save it with commas instead.")
        fix = f"Its cells seem to be separated by {_DELIMITERS[other]}.{named}"
        if other == delimiter:
            fix = "Remove the quotation marks around the whole."
        expected = f"columns with {_DELIMITERS[delimiter]} between them"
        yield Problem(str(path), where, expected, f"one column {shorten(columns[0])}", fix)
        return
    seen: dict[str, int] = {}
    for number, column in enumerate(columns, start=1):
        name = spelling_key(column)
        if '"' in column:
            fix = "Remove it, or put one at both ends of the name."
            yield Problem(str(path), where, "names without a quotation mark", shorten(column), fix)
        elif name and seen.setdefault(name, number) != number:
            twin = columns[seen[name] - 1]
            alike = "" if twin == column else f" and {shorten(twin)}, which look alike,"
            got = f"{shorten(column)}{alike} in columns {seen[name]} and {number}"
            yield Problem(str(path), where, "a name used once", got, "Rename one of the two, or remove it.")
    for column in wanted:
        if column not in columns:
            got = f"the columns {shorten(', '.join(columns), 200)[1:-1]}"
            yield Problem(str(path), where, f"a column '{column}'", got, nearest(column, columns))


def _nameless_problems(path: Path, index: int, rows: Sequence[tuple[int, list[str]]]) -> Iterator[Problem]:
    """Yield the problem of a column without a name that holds something other than the index of pandas."""
    if index == 0 and all(cells[0].strip().isdigit() for _, cells in rows):
        return
    filled = next(((line, cells[index]) for line, cells in rows if cells[index].strip()), None)
    if filled is not None:
        got = f"none for column {index + 1}, which holds {shorten(filled[1])} in line {filled[0]}"
        yield Problem(str(path), "the header", "a name for every column", got, "Name it, or remove the column.")
