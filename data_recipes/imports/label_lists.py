"""Reader of label lists as people, spreadsheets and programs write them; all importers read lists through it."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

_QUOTES = " \t'\"`\u2018\u2019\u201c\u201d\u300c\u300d\u00ab\u00bb"
_BETWEEN = re.compile("[,;|\t\n\uff0c\u3001\uff1b\uff5c\u30fb]")
_SLASH = re.compile("[/\uff0f]")
_BRACKETS = (("[", "]"), ("(", ")"), ("{", "}"), ("\uff3b", "\uff3d"), ("\uff08", "\uff09"), ("\u3010", "\u3011"))
_FENCE = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)
_NUMBERED = re.compile(r"\s*(?:[-*\u2022]|\d+[.)\u3001])\s+")
_END = ".\u3002"
_NO_COMMA = re.compile(r"""(?<=[^\s\[(,\\]['"])\s+(?=['"][^\s,\])])""")
_NO_LABEL = re.compile(r"""[\[\]{}"\\]""")


def read_labels(text: str) -> list[str]:
    """Read the distinct labels of a list, in order.

    The list is one of JSON or Python (`["happy", "at ease"]`), also inside a text of JSON, inside another list or
    without commas, as NumPy prints it; or words between commas, semicolons, bars, tabs or lines, also Chinese ones
    (`happy\uff0cexcited`, `\u60b2\u4f24\u3001\u5931\u671b`), with or without brackets, quotation marks, bullets or
    numbers. Slashes separate where nothing else does, so that `anger/disgust, joy` are two labels.

    Raises:
        ValueError: a label would hold a bracket or a quotation mark: the list is written in some other way.
    """
    inside = text.strip()
    if (fenced := _FENCE.fullmatch(inside)) is not None:
        inside = fenced[1].strip()
    items = _literal(inside.rstrip(_END + ",;"))
    if items is None:
        items = _words(inside)
    labels = list(dict.fromkeys(label for label in (item.strip(_QUOTES) for item in items) if label))
    if broken := next((label for label in labels if _NO_LABEL.search(label)), None):
        raise ValueError(f"no label: {broken!r}")
    return labels


def _words(text: str) -> list[str]:
    """Split a list that is no literal into its items."""
    for sign in _END:
        text = text.removesuffix(sign)
    text = next((text[1:-1] for left, right in _BRACKETS if _is_enclosed(text, left, right)), text)
    items = _BETWEEN.split(text)
    if len(items) == 1:
        items = _SLASH.split(text)
    if all(_NUMBERED.match(item) for item in items if item.strip()):
        items = [_NUMBERED.sub("", item, count=1) for item in items]
    return [_unwrapped(item.strip()) for item in items]


def _unwrapped(item: str) -> str:
    return next((item[1:-1] for left, right in _BRACKETS if _is_enclosed(item, left, right)), item)


def _is_enclosed(text: str, left: str, right: str) -> bool:
    return len(text) > 1 and text[0] == left and text.find(right) == len(text) - 1


def _literal(text: str) -> list[str] | None:
    """Return the items of a list that JSON or Python wrote; None for other texts, such as [happy, proud]."""
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(_NO_COMMA.sub(", ", text) if text[:1] in ("[", "(", "{") else text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(value, str) and value.strip() != text:
            return _literal(value.strip()) or _words(value.strip())
        if isinstance(value, dict) and len(value) == 1:
            value = next(iter(value.values()))
        if isinstance(value, list | tuple | set):
            return _items(value)
    return None


def _items(values: list[Any] | tuple[Any, ...] | set[Any]) -> list[str]:
    """Return the texts of a list and of the lists in it, without what stands for nothing."""
    items = []
    for value in sorted(values, key=str) if isinstance(values, set) else values:
        if isinstance(value, list | tuple | set):
            items += _items(value)
        elif isinstance(value, str):
            items += _literal(value) or [value] if value[:1] == "[" else [value]
        elif value is not None and value == value:
            items.append(str(value))
    return items
