"""Seconds of training steps, by part."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class StepTimes:
    """Seconds spent in the parts of steps, and tokens that were rolled out, since the last line of the log."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.tokens = 0

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the seconds of a block to a part."""
        started = time.perf_counter()
        yield
        self.seconds[part] += _elapsed(started)

    @contextmanager
    def measure_rest(self, part: str) -> Iterator[None]:
        """Add the seconds of a block to a part, without those that other parts measured inside it."""
        started, before = time.perf_counter(), sum(self.seconds.values())
        yield
        self.seconds[part] += _elapsed(started) - (sum(self.seconds.values()) - before)

    def take(self) -> dict[str, float]:
        """Return seconds and tokens per second by part, under their keys in the log, and start again from 0."""
        figures = {f"seconds/{part}": round(spent, 4) for part, spent in self.seconds.items()}
        figures |= {f"tokens_per_s/{part}": round(self.tokens / spent, 1) for part, spent in self.seconds.items()}
        self.seconds.clear()
        self.tokens = 0
        return figures


def _elapsed(started: float) -> float:
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()  # it works on while Python goes ahead
    return time.perf_counter() - started
