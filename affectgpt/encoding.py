"""Text of files from elsewhere: UTF-8 or a problem that says how to mend it, and characters that were cut in half."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from affectgpt.problems import Problem

TABLES = (".csv", ".tsv", ".tab")
"""Endings of tables; the last two have tabs between their cells."""
_HALF = re.compile("[\ud800-\udfff]")
_PACKED = {
    b"\x1f\x8b": ("a file that gzip packed", "Unpack it: gunzip takes files that end in .gz."),
    b"PK\x03\x04": ("a ZIP archive, as an .xlsx is", "Unpack it, or save the spreadsheet as CSV in UTF-8."),
    b"\xd0\xcf\x11\xe0": ("a workbook of Excel", "Save it as CSV in UTF-8."),
    b"PAR1": ("a Parquet file", "Write it as CSV or JSONL, as pandas does with to_csv and to_json."),
}
"""First bytes of files that are often taken for text -> what they are, and what to do."""
_SPLIT_CHARACTER = re.compile(rb"\xed[\xa0-\xbf]")
"""Half a character, encoded by itself: some programs write emoji as two halves."""


def decode(raw: bytes, file: str | Path, expected: str, row: int | None = None) -> str | Problem:
    """Decode a file, or a row of it, as UTF-8 with or without a byte order mark.

    Rows may have one, too, where files were joined; some programs write two.

    Args:
        raw: the bytes.
        file: their file, for the problem.
        expected: what they should be, likewise.
        row: row of a JSONL file that they are; by default they are the whole file.

    Returns:
        The text, or the problem: the line and the byte that are not UTF-8, and how the file can be saved again.
    """
    packed = next((told for start, told in _PACKED.items() if raw.startswith(start)), None)
    if packed is not None and row in (None, 1):
        return Problem(str(file), "the file", f"{expected} in UTF-8", *packed)
    wide = wide_encoding(raw)
    if wide is not None:
        where = f"{'line' if row is None else 'row'} 1, byte 1"
        return Problem(str(file), where, f"{expected} in UTF-8", wide, _save_again(file, wide))
    try:
        return raw.decode("utf-8").lstrip("\ufeff")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        start = before.rfind(b"\n") + 1
        number = before.count(b"\n") + 1
        where = f"line {number}" if row is None else f"row {row}"
        ahead = before[start:].decode("utf-8", errors="replace")[-20:]
        got = f"the byte 0x{raw[error.start]:02x}" + (f" after {ahead!r}" if ahead else "")
        fix = _save_again(file, _narrow_encoding(raw))
        if _SPLIT_CHARACTER.match(raw, error.start):
            got = f"half of a character{f' after {ahead!r}' if ahead else ''}"
            fix = "Its writer spells emoji as two halves (CESU-8). Have it write UTF-8, or remove them."
        return Problem(str(file), f"{where}, byte {error.start - start + 1}", f"{expected} in UTF-8", got, fix)


def is_no_text(raw: bytes) -> bool:
    """Tell whether bytes begin a file that is packed, or is in an encoding of two or four bytes a character."""
    return wide_encoding(raw) is not None or raw.startswith(tuple(_PACKED))


def wide_encoding(raw: bytes) -> str | None:
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
        f"iconv -f {encoding} -t UTF-8 {old.name} > {old.stem}-utf8{old.suffix}. Look whether its text is right then."
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
