"""Progress of a command on standard error: one line rewritten in a terminal, a new line every 20 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

_whole: ContextVar[Callable[[float], None] | None] = ContextVar("whole", default=None)


class Progress:
    """Progress line of a command: items done, their rate, and the time left.

    Args:
        what: the name of the items.
        before: items that were done in an earlier run and do not count for the rate.
    """

    def __init__(self, what: str, before: int = 0) -> None:
        self.what, self.before = what, before
        self.live = sys.stderr.isatty()
        self.started = self.shown_at = time.monotonic()

    def __call__(self, done: float, total: int) -> None:
        """Show that `done` of `total` items are done, unless a line was shown just before."""
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
        """Return the line to show; `rate` is items per second."""
        return f"{done}/{total} {self.what}, {rate:.2f} a second, {_left(done, total, rate)}"

    def say(self, text: str) -> None:
        """Print a text on a line of its own."""
        print(f"\r\033[K{text}" if self.live else text, file=sys.stderr)


class Rounds(Progress):
    """Progress line of several rounds of the same work: the current round, and the time left for all.

    The work of a round may show progress of its own: inside `round` its share is added to this line instead.
    """

    def line(self, done: float, total: int, rate: float) -> str:
        """Return the line to show; `rate` is rounds per second."""
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
