"""Keeps what is secret out of everything that the project says: messages, logs, tracebacks."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

_SECRET = re.compile(r"(?:^|_)(?:TOKEN|API_KEY|SECRET|PASSWORD|ACCESS_KEY)$")
"""Names of environment variables whose values are nobody's business."""
_SHORTEST = 6
_USERINFO = re.compile(r"(?<=://)[^/\s?#'\"<>]*@")
_HIDDEN = "***"


def without_secrets(text: str) -> str:
    """Text without the values of secret environment variables and without user and password of any URL."""
    return _USERINFO.sub(f"{_HIDDEN}@", without(text, *_secrets()))


def without(text: str, *secrets: str) -> str:
    """Text without secrets, whatever JSON, Python or both put backslashes before."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        spelt = "".join(_spelling(character) for character in secret)
        text = re.sub(spelt, _HIDDEN, text)
    return text


def _spelling(character: str) -> str:
    if character == "\\":
        return r"\\+"
    return character if character.isalnum() else rf"\\*{re.escape(character)}"


def guard_logs() -> None:
    """Keep secrets out of whatever any library logs from here on."""
    make = logging.getLogRecordFactory()
    if getattr(make, "is_guarded", False):
        return

    def guarded(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make(*args, **kwargs)
        message = record.getMessage()
        if (clean := without_secrets(message)) != message:
            record.msg, record.args = clean, ()
        return record

    guarded.is_guarded = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(guarded)


def _secrets() -> list[str]:
    found = [value.strip() for name, value in os.environ.items() if _SECRET.search(name)]
    return [value for value in found if len(value) >= _SHORTEST]
