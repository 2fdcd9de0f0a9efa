"""Strict readers of JSON, a document or an object a line; nobody else parses JSON of users.

Of a key twice in an object the last would win without a word, and half a character ends in a tokenizer's traceback.
Here each is a `Problem` that names row and field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affectgpt.encoding import decode, half_characters, is_no_text, mend_characters
from affectgpt.problems import InputError, Problem, shorten

_SPACE = " \t\r\n"
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


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
        raise InputError(Problem(str(path), "the file", expected, str(error), _next_step(text, error))) from None
    if broken := list(half_characters(value)):
        raise InputError([_half(path, f"'{field}'") for field in broken])
    return value


def iterate_json(path: Path, mended: list[int] | None = None) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Yield each line of a JSONL file with its number, from 1: its object, or the problem with it.

    Lines end with a newline, a carriage return or both, which JSON has in no text: U+2028 and the like are part of a
    text. Blank lines are skipped.

    Args:
        path: the file.
        mended: collects the numbers of lines in which U+FFFD was put for half a character; without it, that is a
            problem.
    """
    return _lines(path, mended)


def iterate_objects(path: Path, mended: list[int] | None = None) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    """Yield the objects of a JSONL file or of a JSON array, with their numbers from 1, or the problem with each.

    Args:
        path: the file.
        mended: collects the numbers of objects in which U+FFFD was put for half a character; without it, that is a
            problem.
    """
    with path.open("rb") as file:
        is_array = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    return _items(path, mended) if is_array else _lines(path, mended)


def _lines(path: Path, mended: list[int] | None) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    empty = True
    with path.open("rb") as file:
        lines = (part for line in file for part in line.rstrip(b"\r\n").split(b"\r"))
        for number, raw in enumerate(lines, start=1):
            text = decode(raw, path, "one JSON object", number)
            if isinstance(text, Problem):
                yield number, text
                if number == 1 and is_no_text(raw):
                    return
                continue
            if not text.strip(_SPACE):
                continue
            row = _object(path, number, text)
            if empty and isinstance(row, Problem) and (told := _several_lines(path, number, text)) is not None:
                yield number, told
                return
            empty = False
            yield number, _whole(path, number, row, mended) if _ESCAPED_HALF.search(text) else row


def _several_lines(path: Path, number: int, text: str) -> Problem | None:
    """Return the one problem of a file that opens a JSON array, or an object over several lines; None for others."""
    start = text.strip(_SPACE)
    if start.startswith("["):
        got, fix = "a JSON array", f"Write each object of it on a line of its own: jq -c '.[]' {path.name} > rows.jsonl"
    elif start == "{":
        got, fix = "an object over several lines", f"Write it on one: jq -c . {path.name} > rows.jsonl"
    else:
        return None
    return Problem(str(path), f"row {number}", "one JSON object a line", got, fix)


def _items(path: Path, mended: list[int] | None) -> Iterator[tuple[int, dict[str, Any] | Problem]]:
    expected = "a JSON array, or one JSON object a line"
    text = decode(path.read_bytes(), path, expected)
    if isinstance(text, Problem):
        yield 1, text
        return
    try:
        items = parse_json(text)
    except ValueError as error:
        yield 1, Problem(str(path), "the file", expected, str(error), _next_step(text, error))
        return
    for number, item in enumerate(items, start=1):
        is_object = isinstance(item, dict)
        row = item if is_object else Problem(str(path), f"row {number}", "a JSON object", shorten(item))
        yield number, _whole(path, number, row, mended) if _ESCAPED_HALF.search(text) else row


def _object(path: Path, number: int, text: str) -> dict[str, Any] | Problem:
    try:
        row = parse_json(text.strip(_SPACE))
    except ValueError as error:
        fix = _next_step(text.strip(_SPACE), error)
        return Problem(str(path), f"row {number}", "one JSON object a line", str(error), fix)
    return row if isinstance(row, dict) else Problem(str(path), f"row {number}", "a JSON object", shorten(row))


def _next_step(text: str, error: ValueError) -> str:
    """Return what to do about a text that is no JSON; an empty text where only its position can be told."""
    if not isinstance(error, json.JSONDecodeError):
        return "Remove one of the two." if "twice" in str(error) else ""
    here = text[error.pos :].lstrip(_SPACE)
    if error.msg == "Extra data":
        return "Remove the comma behind the object." if here.startswith(",") else "Write each object on its own line."
    if here.startswith("'"):
        return "Python prints objects so; json.dumps writes them as JSON."
    if here[:1] in ("}", "]"):
        return "Remove the comma before it."
    if error.msg.startswith("Invalid control"):
        return "Write a line break inside a text as \\n, a tab as \\t."
    if error.msg.startswith("Unterminated"):
        return "It is cut off here, or lacks the quotation mark at the end of a text."
    if error.msg.startswith("Expecting ',' delimiter") and here:
        return 'Inside a text a quotation mark is written \\".'
    return ""


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
