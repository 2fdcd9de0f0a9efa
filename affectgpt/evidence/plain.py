"""Words of evidence made safe for a prompt: on one line, short, and with nothing that could pass for an instruction."""

from __future__ import annotations

import re

from affectgpt.evidence.words import LONGEST_TURN

_TROUBLE = re.compile(r"[^\w'’ -]+")
_LONGEST = 40


def plain(text: str) -> str:
    """Remove from a label or a word every character that could act as an instruction's punctuation or a new line."""
    return one_line(_TROUBLE.sub(" ", text))[:_LONGEST].strip()


def one_line(text: str) -> str:
    """Put a text on one line, cut to the length of a turn."""
    return " ".join(text.split())[:LONGEST_TURN]
