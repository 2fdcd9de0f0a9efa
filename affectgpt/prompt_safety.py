"""Words of others in a prompt stay words: nothing in them can pass for a token or a mark that has a meaning there."""

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
"""How tokenizers and chat templates spell what opens and ends a turn, as a special token or not."""


def markers(*more: str) -> re.Pattern[str]:
    """What usually has a meaning in prompts, and more that has one."""
    stripped = {mark.strip() for mark in more}
    longest_first = sorted((mark for mark in stripped if len(mark) > 1), key=len, reverse=True)
    return re.compile("|".join([*map(re.escape, longest_first), *_USUAL]), re.IGNORECASE)


def special_tokens(tokenizer: Any, *more: str) -> re.Pattern[str]:
    """What a tokenizer takes for a special token wherever it is spelt out, and whatever else has a meaning."""
    return markers(*(token.content for token in tokenizer.added_tokens_decoder.values() if token.special), *more)


def defuse(text: str, special: re.Pattern[str]) -> str:
    """Text in which nothing special is spelt out: a space is put after the first character of each.

    Nor does it come about where a tokenizer normalises what it reads: wide letters that spell it become plain ones.
    """
    plain = unicodedata.normalize("NFKC", text)
    if special.search(plain):
        text = plain
    while special.search(text):
        text = special.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
    return text
