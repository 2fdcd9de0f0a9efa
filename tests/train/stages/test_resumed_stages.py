"""A stage that is stopped between two saves' log lines and goes on ends, to the bit, as one that was never stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, TrainerCallback

from tests.support.stages import make_context
from tests.support.tiny_rows import tiny_rows
from train.stages.dataset import StageDataset
from train.stages.grpo import GrpoStage
from train.stages.grpo_run import run_grpo
from train.stages.sft import SftStage
from train.stages.sft_trainer import run_sft
from videmo.rewards import REWARDS


class StopAt(TrainerCallback):
    """Saves and stops after a step, as Ctrl-C does."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


Run = Callable[[Path, int], Any]


@pytest.fixture
def sft(tiny) -> Run:
    """`sft(folder, stop)`: a supervised stage of 4 steps until after a step, from what the folder has."""
    clips, reader = tiny_rows(tiny)
    fixed = {"name": "one", "kind": "sft", "steps": 4, "batch_size": 4, "learning_rate": 1e-2, "mixture": {"tree": 1}}
    stage = SftStage(**(fixed | {"accumulation": 2, "log_steps": 2}))  # type: ignore[arg-type]
    items = [[(place * 7 + place // 3) % 4] for place in range(16)]

    def run(folder: Path, stop: int) -> Any:
        torch.manual_seed(0)
        data = StageDataset(clips, items, reader, dropout=0.5)
        return run_sft(make_context(folder, reader), stage, tiny.model(), data, folder / "steps", [StopAt(stop)])

    return run


@pytest.fixture
def grpo(tiny, monkeypatch) -> Run:
    """`grpo(folder, stop)`: a stage of 4 steps, of which two learn from the same rollouts."""
    clips, reader = tiny_rows(tiny)
    monkeypatch.setitem(REWARDS, "label", lambda completions, **_: [float(len(set(text))) for text in completions])
    fixed = {"name": "rl", "kind": "grpo", "steps": 4, "batch_size": 8, "generations": 4, "learning_rate": 1e-2}
    more = {"mixture": {"tree": 1}, "rewards": {"label": 1}, "max_new_tokens": 5, "num_iterations": 2, "log_steps": 2}
    stage = GrpoStage(**(fixed | more | {"accumulation": 2}))  # type: ignore[arg-type]

    def run(folder: Path, stop: int) -> Any:
        folder.mkdir(exist_ok=True)
        model = AutoModelForImageTextToText.from_pretrained(tiny.folder)
        torch.manual_seed(0)
        order = [0, 1, 2, 3, 1, 0, 3, 2]
        context = make_context(folder, reader)
        return run_grpo(context, stage, model, clips, order, folder / "steps", [StopAt(stop)])

    return run


def figures(trainer: Any) -> list[dict[str, float]]:
    """What was logged at each line, times and speeds left out."""
    measured = ("seconds/", "tokens_per_s/", "step_time", "profiling/")
    return [
        {name: value for name, value in line.items() if not name.startswith(measured)}
        for line in trainer.state.log_history
        if "loss" in line
    ]


@pytest.mark.parametrize("kind", ["sft", "grpo"])
def test_it_ends_as_if_it_had_never_been_stopped(kind, request, tmp_path):
    run: Run = request.getfixturevalue(kind)
    whole = run(tmp_path / "whole", 4)
    run(tmp_path / "stopped", 3).finish_saving()
    logs = [tmp_path / "stopped" / name for name in ("log.jsonl", "rollouts.jsonl")]
    stage = {"sft": "one", "grpo": "rl"}[kind]
    for log in logs:  # of a step that was not saved
        with log.open("a") as file:
            file.write(json.dumps({"stage": stage, "step": 3}) + "\n")
            file.write(json.dumps({"stage": stage, "step": 4, "lost": True}) + "\n")
    torch.rand(7)
    resumed = run(tmp_path / "stopped", 4)
    for log in logs:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert {"stage": stage, "step": 3} in lines
        assert not any("lost" in line for line in lines)
    assert resumed.state.global_step == 4
    assert [line["step"] for line in figures(whole)] == [1, 2, 4]
    assert figures(resumed) == figures(whole)
    for (name, one), (_, two) in zip(whole.model.named_parameters(), resumed.model.named_parameters(), strict=True):
        assert one.equal(two), name
