"""Reader of label lists as people, spreadsheets and programs write them; all importers read lists through it."""

from __future__ import annotations

import ast
import json
import re

_QUOTES = " \t'\"`\u2018\u2019\u201c\u201d\u300c\u300d"
_BETWEEN = re.compile("[,;\n\uff0c\u3001\uff1b]")
_BRACKETS = (("[", "]"), ("(", ")"), ("{", "}"), ("\uff3b", "\uff3d"), ("\uff08", "\uff09"), ("\u3010", "\u3011"))


def read_labels(text: str) -> list[str]:
    """Read the distinct labels of a list, in order.

    The list is one of JSON or Python (`["happy", "at ease"]`), or words between commas, semicolons or lines, also
    Chinese ones (`happy\uff0cexcited`, `\u60b2\u4f24\u3001\u5931\u671b`), with or without brackets and quotation marks.
    """
    inside = text.strip()
    items = _literal(inside)
    if items is None:
        inside = next((inside[1:-1] for left, right in _BRACKETS if _is_enclosed(inside, left, right)), inside)
        items = _BETWEEN.split(inside)
    labels = (item.strip(_QUOTES) for item in items)
    return list(dict.fromkeys(label for label in labels if label))


def _is_enclosed(text: str, left: str, right: str) -> bool:
    return len(text) > 1 and text[0] == left and text.find(right) == len(text) - 1


def _literal(text: str) -> list[str] | None:
    """Return the items of a list that JSON or Python wrote; None for other texts, such as [happy, proud]."""
    for read in (json.loads, ast.literal_eval):
        try:
            items = read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
            continue
        if isinstance(items, list | tuple | set) and all(isinstance(item, str) for item in items):
            return sorted(items) if isinstance(items, set) else list(items)
    return None
