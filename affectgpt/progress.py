"""How far a command is, on standard error: a line rewritten in a terminal, one every 20 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import timedelta


class Progress:
    """Shows what is done, at what rate, and how long the rest takes.

    Args:
        total: how many there are.
        what: their name.
        before: how many of them were done earlier, and say nothing about the rate.
    """

    def __init__(self, total: int, what: str, before: int = 0) -> None:
        self.total, self.what, self.before = total, what, before
        self.live = sys.stderr.isatty()
        self.started = self.shown_at = time.monotonic()

    def show(self, done: int) -> None:
        """So many are done."""
        now = time.monotonic()
        if done < self.total and now - self.shown_at < (0.2 if self.live else 20):
            return
        self.shown_at = now
        rate = (done - self.before) / max(now - self.started, 1e-9)
        left = timedelta(seconds=round((self.total - done) / max(rate, 1e-9)))
        line = f"{done}/{self.total} {self.what}, {rate:.2f} a second, {left} left"
        end = "" if self.live and done < self.total else "\n"
        print(f"\r\033[K{line}" if self.live else line, end=end, file=sys.stderr, flush=True)

    def say(self, text: str) -> None:
        """A line of its own."""
        print(f"\r\033[K{text}" if self.live else text, file=sys.stderr)


def shower(what: str) -> Callable[[int, int], None]:
    """A progress that learns of its total with the first that is done: called with how many are done, of how many."""
    progress: list[Progress] = []

    def show(done: int, total: int) -> None:
        if not progress:
            progress.append(Progress(total, what))
        progress[0].show(done)

    return show
