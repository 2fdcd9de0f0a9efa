"""Output of commands to a terminal: text that cannot steer it, no progress bars and no notices of libraries."""

from __future__ import annotations

import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Pattern of C0 and C1 controls but for tab and line feed, and what overrides the direction of writing."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_BARS = ("HF_HUB_DISABLE_PROGRESS_BARS", "TQDM_DISABLE")


def printable(text: str) -> str:
    r"""Return a text that a terminal shows as it is: what would steer the terminal is written out.

    >>> printable("\x1b[31mred\x1b[0m, \u202eback")
    '\\x1b[31mred\\x1b[0m, \\u202eback'
    """
    return _CONTROLS.sub(lambda match: repr(match[0])[1:-1], without_surrogates(text))


def without_surrogates(text: str) -> str:
    """Return a text in which U+FFFD stands for each half of a surrogate pair, as bytes that are no UTF-8 become."""
    return _SURROGATES.sub("\ufffd", text)


@contextmanager
def without_bars() -> Iterator[None]:
    """Silence the progress bars of libraries, unless the environment asks for them, and what they tell programmers.

    Libraries that are imported inside read the variables of the environment; transformers, if it was imported before,
    is told, and shows its bars again afterwards.
    """
    ours = [name for name in _BARS if name not in os.environ]
    os.environ |= dict.fromkeys(ours, "1")
    loaded = sys.modules.get("transformers.utils.logging") if ours else None
    shown = loaded is not None and loaded.is_progress_bar_enabled()
    if loaded is not None and shown:
        loaded.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|torch)\.")
            yield
    finally:
        for name in ours:
            os.environ.pop(name, None)
        if loaded is not None and shown:
            loaded.enable_progress_bar()
