"""What a recipe says of a stage is what its trainer does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainingArguments

from tests.support.stages import make_context
from tests.support.tiny_rows import tiny_rows
from train.monitor import Console
from train.prepare import context_of
from train.recipe import Recipe
from train.stages import sft_trainer
from train.stages.arguments import common_arguments
from train.stages.dataset import StageDataset
from train.stages.sft import SftStage
from train.stages.sft_trainer import OrderedTrainer, run_sft


def stage(**settings: object) -> SftStage:
    fixed = {"name": "one", "kind": "sft", "steps": 50, "batch_size": 24, "learning_rate": 1e-3, "mixture": {"tree": 1}}
    return SftStage.model_validate(fixed | settings)


def arguments(planned: SftStage, processes: int = 1, **settings: object) -> dict[str, Any]:
    """What the trainer is given of a stage and of the recipe around it."""
    given = {"output": "runs/a", "data": {"train": "x"}, "model": {"path": "x"}, "stages": [planned]}
    prepared: Any = SimpleNamespace(clips={}, reader=None)
    context = context_of(Recipe.model_validate(given | settings), prepared, Console({}, quiet=True))
    return common_arguments(context, planned, Path("steps"), processes)


def test_every_setting_of_a_stage_reaches_the_trainer():
    planned = stage(
        learning_rate=3e-4,
        schedule="linear",
        warmup_ratio=0.1,
        weight_decay=0.05,
        betas=[0.8, 0.95],
        max_grad_norm=0.5,
        accumulation=3,
        gradient_checkpointing=True,
        save_steps=7,
        log_steps=4,
    )
    given = TrainingArguments(**arguments(planned, processes=2, seed=11))
    assert (given.max_steps, given.warmup_steps) == (50, 5)
    assert (given.learning_rate, given.lr_scheduler_type) == (3e-4, "linear")
    assert (given.weight_decay, given.adam_beta1, given.adam_beta2, given.max_grad_norm) == (0.05, 0.8, 0.95, 0.5)
    assert (given.per_device_train_batch_size, given.gradient_accumulation_steps) == (4, 3)
    assert given.gradient_checkpointing
    assert (given.save_steps, given.logging_steps, given.logging_first_step) == (7, 4, True)
    assert (given.seed, given.data_seed) == (11, 11)
    assert given.report_to == []
    assert given.deepspeed is None
    assert not given.ignore_data_skip


def test_wandb_and_deepspeed_are_asked_for_by_the_recipe():
    given = arguments(stage(), wandb=True, deepspeed="configs/zero2.json")
    assert (given["report_to"], given["deepspeed"], given["run_name"]) == (["wandb"], "configs/zero2.json", "a-one")


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_rate_of_learning_rises_and_falls_as_the_recipe_says(tiny, tmp_path, schedule):
    """Four steps, of which two warm up."""
    clips, reader = tiny_rows(tiny)
    planned = stage(steps=4, batch_size=1, warmup_ratio=0.5, schedule=schedule, log_steps=1)
    data = StageDataset(clips, [[0], [1], [2], [3]], reader)
    trainer = run_sft(make_context(tmp_path, reader), planned, tiny.model(), data, tmp_path / "steps", [])
    rates = [line["learning_rate"] / 1e-3 for line in trainer.state.log_history if "loss" in line]
    assert rates == pytest.approx([0.0, 0.5, 1.0, {"cosine": 0.5}.get(schedule, 1.0)])


def test_rows_are_read_in_the_order_of_the_data_set(tiny, tmp_path):
    clips, reader = tiny_rows(tiny)
    items = [[3], [0], [2], [1], [0], [2]]
    seen: list[str] = []

    class Watched(OrderedTrainer):
        def compute_loss(self, model, inputs, *args, **kwargs):
            seen.extend(self.rows_of(inputs))
            return super().compute_loss(model, inputs, *args, **kwargs)

    planned = stage(steps=3, batch_size=2, accumulation=2)
    context = make_context(tmp_path, reader)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft_trainer, "OrderedTrainer", Watched)
        run_sft(context, planned, tiny.model(), StageDataset(clips, items, reader), tmp_path / "steps", [])
    assert seen == [f"row{row}" for [row] in items]
    assert torch.is_grad_enabled()


def test_rows_of_a_pack_are_one_line_without_padding(tiny, tmp_path):
    clips, reader = tiny_rows(tiny)
    shares = []
    for settings in ({"packing": 256, "batch_size": 1}, {"batch_size": 4}):
        planned = stage(steps=1, **settings)
        items = [[0, 1, 2, 3]] if planned.packing else [[0], [1], [2], [3]]
        folder = tmp_path / str(planned.packing)
        data = StageDataset(clips, items, reader)
        trainer = run_sft(make_context(tmp_path, reader), planned, tiny.model(), data, folder, [])
        shares.append(trainer.state.log_history[0]["useful_tokens"])
    assert shares[0] == 1.0 > shares[1]
