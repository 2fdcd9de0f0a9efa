"""Guards prompts against text from outside: nothing in it can pass for a special token or marker."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_USUAL = (
    r"<\|[^\s<>|]{1,60}\|>",
    r"<｜[^\s<>｜]{1,60}｜>",
    r"</?s>",
    r"<(?:bos|eos|pad|unk|\w{1,20}_of_\w{1,20})>",
    r"<</?SYS>>",
    r"\[/?INST\]",
)
"""Patterns of how tokenizers and chat templates spell what opens and ends a turn, as a special token or not."""


def markers(*more: str) -> re.Pattern[str]:
    """Return a pattern that matches the usual markers of prompts, and more of them."""
    stripped = {marker.strip() for marker in more}
    longest_first = sorted((marker for marker in stripped if len(marker) > 1), key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, longest_first), *_USUAL]), re.IGNORECASE)


def special_tokens(tokenizer: Any, *more: str) -> re.Pattern[str]:
    """Return a pattern that matches the special tokens of a tokenizer, the usual markers, and more of them."""
    return markers(*(token.content for token in tokenizer.added_tokens_decoder.values() if token.special), *more)


def defuse(text: str, special: re.Pattern[str]) -> str:
    """Return a text in which no marker is spelt out: each gets a space after its first character.

    Nor can one arise where a tokenizer normalises its input: full-width letters that spell one become plain ones.
    """
    plain = unicodedata.normalize("NFKC", text)
    if special.search(plain):
        text = plain
    while special.search(text):
        text = special.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)
    return text
