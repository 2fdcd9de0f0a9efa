"""Strict readers of tables (CSV, TSV) and of JSON, a document or an object a line; nobody else parses such files.

What a lenient reader takes without a word changes data: a quotation mark that is never closed swallows the rows behind
it, of two columns or keys of one name the last wins. Here each is a `Problem` that names the line.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from affectgpt.problems import InputError, Problem, nearest, shorten

TABLES = (".csv", ".tsv", ".tab")
"""Endings of the files that `read_table` reads; the last two have tabs between their cells."""
_JSON_SPACE = " \t\r\n"
_HALF = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_OTHER_DELIMITERS = ";\t|"


# Text


def decode(raw: bytes, file: str | Path, expected: str, row: int | None = None) -> str | Problem:
    """Decode a file, or a part of it, as UTF-8 with or without a byte order mark.

    Args:
        raw: the bytes.
        file: their file, for the problem.
        expected: what they should be, likewise.
        row: row of a JSONL file that they are; by default they are the whole file.

    Returns:
        The text, or the problem: the line and the byte that are not UTF-8, and how the file can be saved again.
    """
    wide = _wide_encoding(raw)
    if wide is not None:
        where = f"{'line' if row is None else 'row'} 1, byte 1"
        return Problem(str(file), where, f"{expected} in UTF-8", wide, _save_again(file, wide))
    try:
        return raw.decode("utf-8-sig" if row in (None, 1) else "utf-8")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        start = before.rfind(b"\n") + 1
        number = before.count(b"\n") + 1
        where = f"line {number}" if row is None else f"row {row}"
        ahead = before[start:].decode("utf-8", errors="replace")[-20:]
        got = f"the byte 0x{raw[error.start]:02x}" + (f" after {ahead!r}" if ahead else "")
        fix = _save_again(file, _narrow_encoding(raw))
        return Problem(str(file), f"{where}, byte {error.start - start + 1}", f"{expected} in UTF-8", got, fix)


def _wide_encoding(raw: bytes) -> str | None:
    """Return the name of an encoding of two or four bytes a character that a text seems to have; None for others."""
    if raw.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "UTF-32"
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "UTF-16"
    zeros = [byte == 0 for byte in raw[:4]]
    if zeros == [False, True, False, True]:
        return "UTF-16LE"
    return "UTF-16BE" if zeros == [True, False, True, False] else None


def _narrow_encoding(raw: bytes) -> str:
    """Guess the encoding of a text that is not UTF-8: Chinese if its high bytes come in pairs, else Western."""
    try:
        raw.decode("gb2312")
        return "GB18030"
    except UnicodeDecodeError:
        return "WINDOWS-1252"


def _save_again(file: str | Path, encoding: str) -> str:
    old = Path(file)
    by_hand = "in a spreadsheet choose 'CSV UTF-8'; or run" if old.suffix.lower() in TABLES else "run"
    return (
        f"It may be in {encoding}. Save it as UTF-8: {by_hand}: "
        f"iconv -f {encoding} -t UTF-8 {old.name} > {old.stem}-utf8{old.suffix}"
    )


def half_characters(value: Any, field: str = "") -> Iterator[str]:
    """Yield the fields, such as `messages[1].content`, whose text holds half a character.

    JSON spells characters beyond the basic plane, emoji among them, as two halves (`\\ud83d\\ude00`). Text that was cut
    between them cannot be encoded, neither as UTF-8 nor as tokens (huggingface/transformers#8886).
    """
    if isinstance(value, str):
        if _HALF.search(value):
            yield field
    elif isinstance(value, dict):
        for key, item in value.items():
            if _HALF.search(key):
                yield f"{field}.{key!a}" if field else f"{key!a}"
            yield from half_characters(item, f"{field}.{key}" if field else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from half_characters(item, f"{field}[{index}]")


def mend_characters(value: Any) -> Any:
    """Return a text or a JSON value in which U+FFFD, the replacement character, stands for each half of a character."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, dict):
        return {mend_characters(key): mend_characters(item) for key, item in value.items()}
    return [mend_characters(item) for item in value] if isinstance(value, list) else value


# JSON


def parse_json(text: str) -> Any:
    """Parse a JSON document.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or has an object with a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError:
        raise ValueError("too many brackets inside each other") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count)!r} twice in an object")
    return values


def load_json(path: Path, expected: str = "JSON") -> Any:
    """Read a file that is one JSON document.

    Raises:
        InputError: it is none, is not in UTF-8, or holds a key twice or half a character.
    """
    text = decode(path.read_bytes(), path, expected)
    if isinstance(text, Problem):
        raise InputError(text)
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InputError(Problem(str(path), "the file", expected, str(error))) from None
    if broken := list(half_characters(value)):
        raise InputError([_half(path, f"'{field}'") for field in broken])
    return value


def iterate_json(path: Path, mended: list[int] | None = None) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Yield each line of a JSONL file with its number, from 1: its object, or the problem with it.

    Lines end with a newline and nothing else: U+2028 and the like are part of a text. Blank lines are skipped.

    Args:
        path: the file.
        mended: collects the numbers of lines in which U+FFFD was put for half a character; without it, that is a
            problem.
    """
    return _lines(path, mended)


def iterate_objects(path: Path, mended: list[int]) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Yield the objects of a JSONL file or of a JSON array, with their numbers from 1, or the problem with each.

    Args:
        path: the file.
        mended: collects the numbers of objects in which U+FFFD was put for half a character.
    """
    with path.open("rb") as file:
        is_array = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    return _items(path, mended) if is_array else _lines(path, mended)


def _lines(path: Path, mended: list[int] | None) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    empty = True
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            text = decode(raw, path, "one JSON object", number)
            if isinstance(text, Problem):
                yield number, text
                if _wide_encoding(raw):
                    return
                continue
            if not text.strip(_JSON_SPACE):
                continue
            row = _object(path, number, text)
            if empty and isinstance(row, Problem) and text.lstrip(_JSON_SPACE).startswith("["):
                fix = f"Write each object of the array on a line of its own: jq -c '.[]' {path.name} > rows.jsonl"
                yield number, Problem(str(path), f"row {number}", "one JSON object a line", "a JSON array", fix)
                return
            empty = False
            yield number, _whole(path, number, row, mended) if _ESCAPED_HALF.search(text) else row


def _items(path: Path, mended: list[int]) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    expected = "a JSON array, or one JSON object a line"
    text = decode(path.read_bytes(), path, expected)
    if isinstance(text, Problem):
        yield 1, text
        return
    try:
        items = parse_json(text)
    except ValueError as error:
        yield 1, Problem(str(path), "the file", expected, str(error))
        return
    for number, item in enumerate(items, start=1):
        is_object = isinstance(item, dict)
        row = item if is_object else Problem(str(path), f"row {number}", "a JSON object", shorten(item))
        yield number, _whole(path, number, row, mended) if _ESCAPED_HALF.search(text) else row


def _object(path: Path, number: int, text: str) -> dict[str, Any] | Problem:
    try:
        row = parse_json(text.strip(_JSON_SPACE))
    except ValueError as error:
        return Problem(str(path), f"row {number}", "one JSON object a line", str(error))
    return row if isinstance(row, dict) else Problem(str(path), f"row {number}", "a JSON object", shorten(row))


def _whole(
    path: Path, number: int, row: dict[str, Any] | Problem, mended: list[int] | None
) -> dict[str, Any] | Problem:
    """Return a row without half characters: mended where that is counted, else the problem with it."""
    broken = [] if isinstance(row, Problem) else list(half_characters(row))
    if not broken:
        return row
    if mended is None:
        return _half(path, f"row {number}, field '{broken[0]}'")
    mended.append(number)
    return dict(mend_characters(row))


def _half(path: Path, where: str) -> Problem:
    fix = "The text was cut inside a character, such as an emoji. Remove it, or write the whole character."
    return Problem(str(path), where, "whole characters", "half of one (a surrogate, \\ud800 to \\udfff)", fix)


# Tables


class TableRow(NamedTuple):
    """Row of a table: its cells by column, and the line that it begins on."""

    line: int
    cells: dict[str, str]


def read_table(path: Path, wanted: Sequence[str] = ()) -> tuple[list[TableRow], list[Problem]]:
    """Read the rows of a CSV in UTF-8 with a header, or of a TSV where the file is called so.

    Columns without a name are left out where they hold nothing, or the index that pandas writes. Blank lines are
    skipped.

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
    columns = first[1] if first else []
    problems += _header_problems(path, first[0] if first else 1, columns, delimiter, wanted)
    if problems:
        return [], problems
    whole: list[tuple[int, list[str]]] = []
    for line, cells in records:
        if len(cells) == len(columns):
            whole.append((line, cells))
            continue
        got = f"{'more' if len(cells) > len(columns) else 'fewer'}: {shorten(cells)}"
        spaced = any(cell.startswith(' "') for cell in cells)
        fix = "Remove the space before the quotation mark." if spaced else "Put quotes around a cell that holds commas."
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
        except csv.Error:
            problems.append(_open_cell(path, begin, lines[begin : reader.line_num], delimiter))
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


def _open_cell(path: Path, begin: int, lines: Sequence[str], delimiter: str) -> Problem:
    line, index = _quoting(lines, delimiter).opened
    got = shorten(lines[line][index:].rstrip("\r\n"))
    if len(lines) - line > 1:
        got += f" and what follows up to line {begin + len(lines)}"
    fix = "Close the quotation mark or remove it. Inside a quoted cell it is written twice."
    return Problem(
        str(path), f"line {begin + line + 1}", 'a cell in quotation marks that ends with ", and no more', got, fix
    )


def _swallowed(lines: Sequence[str], delimiter: str, columns: int) -> str | None:
    """Return a line of a record that looks like a whole row inside a quoted cell; None where there is none.

    Text has a space behind its commas, a row of a table has none.
    """
    if columns < 2:
        return None
    inside = _quoting(lines, delimiter).inside
    # In two columns a comma that ends a line is more likely one of the text than an empty cell behind it.
    between_cells = re.compile(re.escape(delimiter) + (r"(?!\s)" if columns > 2 else r"(?!\s|$)"))
    looks, whole = [], 0
    for text, marked in zip((line.rstrip("\r\n") for line in lines), inside, strict=True):
        between = {match.start() for match in between_cells.finditer(text)}
        if len(between) >= columns - 1:
            whole += 1
            if between & {*marked} and (columns > 2 or _has_name(text, delimiter)):
                looks.append(text)
    return looks[-1] if whole > 1 and looks else None


def _has_name(line: str, delimiter: str) -> bool:
    """Tell whether one of two cells is like the name of a clip: ASCII without spaces."""
    return any(cell.isascii() and cell and not re.search(r"\s", cell) for cell in line.split(delimiter))


def _header_problems(
    path: Path, line: int, columns: list[str], delimiter: str, wanted: Sequence[str]
) -> Iterator[Problem]:
    where = f"line {line}, the header" if line > 1 else "the header"
    other = next((sign for sign in _OTHER_DELIMITERS if len(columns) == 1 and sign in columns[0]), None)
    if other is not None:
        name = "tabs" if other == "\t" else f"'{other}'"
        fix = f"Its cells seem to be separated by {name}. " + (
            "Call the file .tsv." if other == "\t" else "Save it with commas instead."
        )
        yield Problem(str(path), where, "columns with commas between them", f"one column {shorten(columns[0])}", fix)
        return
    seen: dict[str, int] = {}
    for number, column in enumerate(columns, start=1):
        name = unicodedata.normalize("NFKC", column).strip()
        if name and seen.setdefault(name, number) != number:
            got = f"{shorten(column)} in columns {seen[name]} and {number}"
            yield Problem(str(path), where, "a name used once", got, "Rename one of the two, or remove it.")
    for column in wanted:
        if column not in columns:
            got = f"the columns {', '.join(columns)}" if columns else "an empty file"
            yield Problem(str(path), where, f"a column '{column}'", got, nearest(column, columns))


def _nameless_problems(path: Path, index: int, rows: Sequence[tuple[int, list[str]]]) -> Iterator[Problem]:
    """Yield the problem of a column without a name that holds something other than the index of pandas."""
    if index == 0 and all(cells[0].strip().isdigit() for _, cells in rows):
        return
    filled = next(((line, cells[index]) for line, cells in rows if cells[index].strip()), None)
    if filled is not None:
        got = f"none for column {index + 1}, which holds {shorten(filled[1])} in line {filled[0]}"
        yield Problem(str(path), "the header", "a name for every column", got, "Name it, or remove the column.")
