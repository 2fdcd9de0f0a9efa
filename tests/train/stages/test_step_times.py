"""Seconds of a step belong to one part each; what no part measured is the rest's."""

from __future__ import annotations

import pytest

from train.stages import step_times
from train.stages.step_times import StepTimes


@pytest.fixture
def clock(monkeypatch):
    """`clock(seconds)`: time goes by."""
    now = [100.0]
    monkeypatch.setattr(step_times.time, "perf_counter", lambda: now[0])

    def go_by(seconds: float) -> None:
        now[0] += seconds

    return go_by


def test_the_rest_is_what_no_part_measured(clock):
    times = StepTimes()
    with times.measure_rest("update"):
        with times.measure("rollout"):
            clock(2.0)
        clock(0.5)
        with times.measure("reward"):
            clock(1.0)
        clock(0.25)
    with times.measure("rollout"):
        clock(3.0)
    times.tokens += 30
    assert times.take() == {
        "seconds/rollout": 5.0,
        "seconds/reward": 1.0,
        "seconds/update": 0.75,
        "tokens_per_s/rollout": 6.0,
        "tokens_per_s/reward": 30.0,
        "tokens_per_s/update": 40.0,
    }


def test_every_line_of_the_log_begins_anew(clock):
    times = StepTimes()
    with times.measure("rollout"):
        clock(1.0)
    times.tokens = 8
    times.take()
    assert times.take() == {}
    with times.measure("rollout"):
        clock(4.0)
    assert times.take() == {"seconds/rollout": 4.0, "tokens_per_s/rollout": 0.0}
