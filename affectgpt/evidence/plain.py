"""Words of evidence as a prompt can show them: on one line, short, and with nothing that could pass for an order."""

from __future__ import annotations

import re

from affectgpt.evidence.words import LONGEST_TURN

_TROUBLE = re.compile(r"[^\w'’ -]+")
_LONGEST = 40


def plain(text: str) -> str:
    """Take from a label or a word whatever could pass for an instruction's punctuation or a new line."""
    return one_line(_TROUBLE.sub(" ", text))[:_LONGEST].strip()


def one_line(text: str) -> str:
    """Put a text on one line, cut where a turn would be."""
    return " ".join(text.split())[:LONGEST_TURN]
