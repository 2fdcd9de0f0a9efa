"""A supervised stage on `transformers.Trainer`: rows in their drawn order, loss on targets only."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from affectgpt.problems import InputError
from train.checkpoint import SafeCheckpoints, clear_drafts, newest_valid
from train.config import Recipe, StageConfig
from train.data import StageDataset, SupervisedCollator
from train.finite_loss import FiniteLoss, NamedRows
from train.monitor import forget_stage


class OrderedTrainer(SafeCheckpoints, FiniteLoss, Trainer):
    """Reads rows in the order of the data set: it was shuffled once, and a resumed run must find its place in it."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)


class UsefulTokens(TrainerCallback):
    """Adds to what is logged which share of the tokens so far was no padding."""

    def __init__(self, collator: SupervisedCollator) -> None:
        self.collator = collator

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Runs before the callbacks that write."""
        share = self.collator.useful_share()
        if logs is not None and share is not None:
            logs["useful_tokens"] = share


def common_arguments(recipe: Recipe, stage: StageConfig, folder: Path, world_size: int) -> dict[str, Any]:
    """Trainer arguments that supervised and GRPO stages share.

    Raises:
        InputError: the batch cannot be split over the processes.
    """
    share, rest = divmod(stage.batch_size, stage.accumulation * world_size)
    if rest or not share:
        raise InputError(
            f"stage '{stage.name}': batch_size {stage.batch_size} does not split over {world_size} processes x "
            f"{stage.accumulation} accumulation steps; set stages.{stage.name}.batch_size to a multiple of "
            f"{stage.accumulation * world_size}"
        )
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": share,
        "gradient_accumulation_steps": stage.accumulation,
        "max_steps": stage.steps,
        "learning_rate": stage.learning_rate,
        "lr_scheduler_type": stage.schedule,
        "warmup_steps": round(stage.warmup_ratio * stage.steps),
        "weight_decay": stage.weight_decay,
        "adam_beta1": stage.betas[0],
        "adam_beta2": stage.betas[1],
        "max_grad_norm": stage.max_grad_norm,
        "logging_steps": stage.log_steps,
        "logging_first_step": True,
        "save_steps": stage.save_steps,
        "seed": recipe.seed,
        "data_seed": recipe.seed,
        "bf16": on_gpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": stage.gradient_checkpointing,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": ["wandb"] if recipe.wandb else [],
        "run_name": f"{recipe.output.name}-{stage.name}",
        "deepspeed": str(recipe.deepspeed) if recipe.deepspeed else None,
    }


def resume_point(trainer: SafeCheckpoints, recipe: Recipe, stage: StageConfig, folder: Path) -> str | None:
    """The checkpoint that a stage goes on from, the same on every process; log lines of later steps are deleted."""

    def find() -> str | None:
        clear_drafts(folder)
        newest = newest_valid(folder, lambda text: print(f"      {text}", file=sys.stderr))
        step = int(newest.name.rsplit("-", 1)[1]) if newest else 0
        for name in ("log.jsonl", "rollouts.jsonl"):
            forget_stage(recipe.output / name, stage.name, step)
        return str(newest) if newest else None

    return trainer.on_first(find)


def run_sft(
    recipe: Recipe,
    stage: StageConfig,
    model: PreTrainedModel,
    dataset: StageDataset,
    folder: Path,
    callbacks: Sequence[TrainerCallback],
    world_size: int = 1,
) -> Trainer:
    """Train `model` in place on a stage; goes on from the newest checkpoint in `folder` if there is one."""
    collator = SupervisedCollator(dataset.reader, stage.packing is not None)
    trainer = OrderedTrainer(
        model=model,
        args=TrainingArguments(**common_arguments(recipe, stage, folder, world_size)),
        train_dataset=dataset,
        data_collator=NamedRows(collator),
        callbacks=[UsefulTokens(collator), *callbacks],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.accelerator.wait_for_everyone()  # the first rank clears what is stale
    trainer.train(resume_from_checkpoint=resume_point(trainer, recipe, stage, folder))
    return trainer
