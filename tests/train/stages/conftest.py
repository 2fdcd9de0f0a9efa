"""Shared by the tests of GRPO."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from affectgpt.clip import Clip
from affectgpt.inputs.reader import ClipReader
from tests.support.stages import make_context
from tests.support.tiny_rows import tiny_rows
from train.stages import grpo_trainer as grpo
from train.stages.grpo import GrpoStage
from train.stages.grpo_run import run_grpo
from videmo.rewards import REWARDS


@pytest.fixture
def rows(tiny) -> tuple[list[Clip], ClipReader]:
    """Four prompts of unequal length: both modalities, one, none."""
    return tiny_rows(tiny)


@pytest.fixture
def train(tiny, rows, tmp_path, monkeypatch) -> Callable[..., grpo.MediaGRPOTrainer]:
    """`train(reward, model=None, order=None, **stage settings)` runs a stage and returns its trainer."""
    clips, reader = rows

    def run(
        reward: Any,
        model: Any = None,
        order: list[int] | None = None,
        output: str = "",
        world_size: int = 1,
        **settings: Any,
    ) -> grpo.MediaGRPOTrainer:
        monkeypatch.setitem(REWARDS, "label", reward)
        defaults = {"steps": 1, "batch_size": 8, "generations": 4, "learning_rate": 1e-3, "max_new_tokens": 6}
        fixed = {"name": "rl", "kind": "grpo", "mixture": {"tree": 1.0}, "rewards": {"label": 1.0}}
        stage = GrpoStage(**(fixed | defaults | {"log_steps": 1, "warmup_ratio": 0.0} | settings))
        context = make_context(tmp_path / output, reader)
        model = model or AutoModelForImageTextToText.from_pretrained(tiny.folder)
        prompts = stage.steps * stage.batch_size // stage.generations
        order = order or [index % len(clips) for index in range(prompts)]
        torch.manual_seed(0)
        context.folder.path.mkdir(exist_ok=True)
        return run_grpo(context, stage, model, clips, order, tmp_path / output / "steps", [], world_size)

    return run
