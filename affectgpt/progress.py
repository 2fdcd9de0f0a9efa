"""How far a command is, on standard error: a line rewritten in a terminal, one every 20 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

_whole: ContextVar[Callable[[float], None] | None] = ContextVar("whole", default=None)


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

    def __call__(self, done: float, total: int) -> None:
        """So many are done, of how many."""
        if (whole := _whole.get()) is not None:
            whole(done / max(total, 1))
            return
        now = time.monotonic()
        if done < total and now - self.shown_at < (0.2 if self.live else 20):
            return
        self.shown_at = now
        line = self.line(done, total, (done - self.before) / max(now - self.started, 1e-9))
        end = "" if self.live and done < total else "\n"
        print(f"\r\033[K{line}" if self.live else line, end=end, file=sys.stderr, flush=True)

    def line(self, done: float, total: int, rate: float) -> str:
        """The line that is shown, at so many a second."""
        return f"{done}/{total} {self.what}, {rate:.2f} a second, {_left(done, total, rate)}"

    def say(self, text: str) -> None:
        """A line of its own."""
        print(f"\r\033[K{text}" if self.live else text, file=sys.stderr)


class Rounds(Progress):
    """Shows in one line which of several rounds of the same work is under way, and how long all of them take.

    The work of a round may show progress of its own: under `round` its share is added to this line instead.
    """

    def line(self, done: float, total: int, rate: float) -> str:
        """The line that is shown, at so many rounds a second."""
        return f"{self.what} {min(int(done) + 1, total)}/{total}, {_left(done, total, rate)}"

    @contextmanager
    def round(self, number: int, total: int) -> Iterator[None]:
        """Do the work of a round, counted from 0."""

        def add(share: float) -> None:
            shown = _whole.set(None)
            self(number + min(share, 0.999), total)
            _whole.reset(shown)

        token = _whole.set(add)
        try:
            yield
        finally:
            _whole.reset(token)
        self(number + 1, total)


def _left(done: float, total: int, rate: float) -> str:
    return f"{timedelta(seconds=round((total - done) / max(rate, 1e-9)))} left"
