"""How long tests wait and how much they may compute: what holds on any machine, whatever else it is doing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 600.0
"""After which what a test waits for does not come any more."""


def wait_for(condition: Callable[[], object], pause_s: float = 0.01) -> None:
    """Return as soon as a condition holds.

    Raises:
        AssertionError: it does not hold after `PATIENCE_S`.
    """
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit, f"waited {PATIENCE_S:g} s in vain"
        time.sleep(pause_s)


@contextmanager
def cpu_seconds(limit_s: float) -> Iterator[None]:
    """Stop a block that computes for longer than it may: for what takes hours where it is not linear.

    Counts the time of this process on its processors, not that on the clock. For the main thread alone.

    Raises:
        AssertionError: the block needs more.
    """

    def stop(*_: object) -> None:
        raise AssertionError(f"not done after {limit_s:g} s of computing")

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
