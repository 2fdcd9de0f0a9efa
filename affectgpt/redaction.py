"""Keeps secrets out of everything that the project prints: messages, logs, tracebacks."""

from __future__ import annotations

import logging
import os
import re
from typing import Any

_SECRET = re.compile(r"(?:^|_)(?:TOKEN|API_KEY|SECRET|PASSWORD|ACCESS_KEY)$")
"""Pattern for names of environment variables whose values are secret."""
_SHORTEST = 6
_USERINFO = re.compile(r"(?<=://)[^/\s?#'\"<>]*@")
_HIDDEN = "***"


def without_secrets(text: str) -> str:
    """Return a text without the values of secret environment variables and without user and password in URLs."""
    return _USERINFO.sub(f"{_HIDDEN}@", without(text, *_secrets()))


def without(text: str, *secrets: str) -> str:
    """Return a text without the secrets, even where JSON, Python or both escaped them with backslashes."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        spelt = "".join(_spelling(character) for character in secret)
        text = re.sub(spelt, _HIDDEN, text)
    return text


def _spelling(character: str) -> str:
    if character == "\\":
        return r"\\+"
    return character if character.isalnum() else rf"\\*{re.escape(character)}"


def guard_logs() -> None:
    """Redact secrets from whatever any library logs from here on."""
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
    values = [value.strip() for name, value in os.environ.items() if _SECRET.search(name)]
    return [value for value in values if len(value) >= _SHORTEST]
