"""Log lines and the console, without a trainer."""

from __future__ import annotations

import io
import json
import re
import signal
import time
from types import SimpleNamespace

import pytest
import torch

from train.monitor import Console, MemoryMeter, StageLog, show_rollouts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(out) -> Console:
    return Console({"data": 60.0, "sft one": 30.0, "report": 5.0}, out=out)


def state(step: int, first: bool = True) -> SimpleNamespace:
    return SimpleNamespace(global_step=step, max_steps=10, is_world_process_zero=first)


def control() -> SimpleNamespace:
    return SimpleNamespace(should_save=False, should_training_stop=False)


def test_log_lines(console, tmp_path):
    path = tmp_path / "log.jsonl"
    log = StageLog("one", console, path, ["tree", "label"])
    logs = {
        "loss": 2.5,
        "learning_rate": 1e-3,
        "epoch": 0.1,
        "completions/mean_length": 7.0,
        "zero_variance_share": 0.5,
        "seconds/rollout": 1.5,
    }
    log.on_log(
        None,
        state(1),
        control(),
        logs | {"rewards/tree/mean": 0.25, "rewards/tree/std": 0.5, "rewards/other/mean": 1.0},
    )
    log.on_log(None, state(2), control(), {"train_runtime": 3.0})  # the summary at the end is no step
    log.on_log(None, state(3, first=False), control(), {"loss": 1.0})  # other ranks say nothing
    log.on_log(None, state(4), control(), {"loss": 1.0})
    first, second = [json.loads(line) for line in path.read_text().splitlines()]
    seconds = first.pop("seconds")
    assert 0 <= seconds < 60
    assert first == {
        "stage": "one",
        "step": 1,
        "loss": 2.5,
        "learning_rate": 1e-3,
        "completion_length": 7.0,
        "zero_variance_share": 0.5,
        "seconds/rollout": 1.5,
        "rewards/tree": 0.25,
        "rewards/tree/std": 0.5,
    }
    assert (second["step"], second["loss"]) == (4, 1.0)


def test_ctrl_c_saves_and_stops_after_the_step(console, out, tmp_path):
    log = StageLog("one", console, tmp_path / "log.jsonl")
    assert not log.on_step_end(None, state(1), control()).should_training_stop
    log.interrupt(signal.SIGTERM, None)
    after = log.on_step_end(None, state(2), control())
    assert (after.should_save, after.should_training_stop) == (True, True)
    assert "Stopping after this step" in out.getvalue()
    assert log.signal == signal.SIGTERM
    with pytest.raises(KeyboardInterrupt) as caught:
        log.interrupt(signal.SIGINT, None)
    assert caught.value.args == (signal.SIGINT,)


def test_a_signal_to_one_process_stops_all_after_the_same_step(console, tmp_path, monkeypatch):
    def largest_is_another(held: torch.Tensor, kind: object) -> None:
        assert kind == torch.distributed.ReduceOp.MAX
        held.fill_(max(int(held), signal.SIGTERM))

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "all_reduce", largest_is_another)
    log = StageLog("one", console, tmp_path / "log.jsonl")
    after = log.on_step_end(SimpleNamespace(device="cpu"), state(2), control())
    assert (after.should_save, after.should_training_stop) == (True, True)
    assert log.signal == signal.SIGTERM


def test_the_last_step_leaves_no_checkpoint_to_train_on_from(console, tmp_path):
    after = StageLog("one", console, tmp_path / "log.jsonl").on_step_end(
        None, state(10), SimpleNamespace(should_save=True, should_training_stop=True)
    )
    assert (after.should_save, after.should_training_stop) == (False, True)


def test_plain_output_has_a_line_for_each_step_of_the_plan(console, out, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    for title in ("data", "sft one", "report"):
        console.begin(title)
        for share in (0.1, 0.5, 1.0):
            console.show("working", share)
        console.done(f"{title} is done")
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    for number, (line, title) in enumerate(zip(lines, ("data", "sft one", "report"), strict=True), start=1):
        assert re.fullmatch(rf"\[ {number}/3\] {title} +{title} is done +0:00", line)
    assert "\x1b" not in out.getvalue()
    assert "\r" not in out.getvalue()


def test_plain_output_shows_a_sign_of_life_now_and_then(console, out, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    console.begin("data")
    for step in range(60):
        now += 1.0
        console.show(f"{step} of 60", (step + 1) / 60)
    lines = out.getvalue().splitlines()
    assert 2 <= len(lines) <= 3
    assert "left, all" in lines[0]


def test_a_terminal_sees_one_line_that_is_rewritten():
    out = Terminal()
    console = Console({"data": 60.0, "report": 5.0}, out=out)
    console.begin("data")
    console.show("half", 0.5, force=True)
    console.done("all")
    console.say("a word")
    assert out.getvalue().count("\n") == 2
    assert out.getvalue().count("\r\x1b[2K") == 4


def test_time_left_learns_from_what_was_measured(console, out, monkeypatch):
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    console.begin("data")
    now += 120.0  # twice the guess
    console.done("")
    console.begin("sft one")
    now += 10.0
    console.show("", 0.5, force=True)
    assert "0:10 left, all 0:20" in out.getvalue().splitlines()[-1]


def test_quiet(out):
    console = Console({"data": 1.0}, quiet=True, out=out)
    console.begin("data")
    console.show("x", 0.5, force=True)
    console.say("x")
    console.done("x")
    assert out.getvalue() == ""


def test_memory_meter():
    with MemoryMeter(period_s=0.01) as memory:
        pass
    assert 10 < memory.peak_mb < 100_000


def test_rollouts_go_to_the_run_and_to_wandb_as_a_table(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    rollouts = [
        {"id": "row0", "completion": "a1 mouth: smiling\nm1 joy", "reward": 0.75, "rewards/tree": 0.75},
        {"id": "row0", "completion": "nothing", "reward": 0.0, "rewards/tree": None},
    ]
    show_rollouts(tmp_path / "rollouts.jsonl", "grpo", True, 2, rollouts)  # without a run there, the file alone
    run = wandb.init(project="test", dir=tmp_path)
    sent = []
    monkeypatch.setattr(run, "log", sent.append)
    monkeypatch.setattr(wandb, "log", run.log)
    show_rollouts(tmp_path / "rollouts.jsonl", "grpo", True, 3, rollouts)
    run.finish()
    show_rollouts(tmp_path / "long.jsonl", "grpo", False, 2, [{"id": "a", "completion": "x" * 10_000}])
    assert len((tmp_path / "long.jsonl").read_text()) < 4100
    lines = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert lines == [{"stage": "grpo", "step": step, **rollout} for step in (2, 3) for rollout in rollouts]
    [logged] = sent
    assert logged["train/global_step"] == 3
    assert logged["rollouts/grpo"].columns == ["id", "completion", "reward", "rewards/tree"]
    assert logged["rollouts/grpo"].data == [[*rollout.values()] for rollout in rollouts]
