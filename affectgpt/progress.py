"""How far a command is, on standard error: a line rewritten in a terminal, one every 20 s elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta


class Progress:
    """Shows what is done, at what rate, and how long the rest takes.

    Args:
        what: the name of what is done.
        before: how many were done earlier, and say nothing about the rate.
    """

    def __init__(self, what: str, before: int = 0) -> None:
        self.what, self.before = what, before
        self.live = sys.stderr.isatty()
        self.started = self.shown_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """So many are done, of how many."""
        now = time.monotonic()
        if done < total and now - self.shown_at < (0.2 if self.live else 20):
            return
        self.shown_at = now
        rate = (done - self.before) / max(now - self.started, 1e-9)
        left = timedelta(seconds=round((total - done) / max(rate, 1e-9)))
        line = f"{done}/{total} {self.what}, {rate:.2f} a second, {left} left"
        end = "" if self.live and done < total else "\n"
        print(f"\r\033[K{line}" if self.live else line, end=end, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        print(f"\r\033[K{text}" if self.live else text, file=sys.stderr)
