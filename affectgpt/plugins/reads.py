"""Inputs that a plugin may read, each with a test whether a row has it."""

from __future__ import annotations

from collections.abc import Callable

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import dialogue_of


def _given(*fields: str) -> Callable[[Clip], bool]:
    return lambda row: any(getattr(row, field, None) is not None for field in fields)


MEDIA: dict[str, Callable[[Clip], bool]] = {
    "words": lambda row: dialogue_of(row) is not None,
    "video": _given("video"),
    "audio": lambda row: row.audio is not None or (row.video is not None and row.has_sound),
    "face": _given("face", "video"),
    "image": _given("image"),
    "signal": _given("signal"),
}
"""Tests whether a row has an input, by its name. A video counts as having sound and a face until it is decoded."""
