"""A supervised stage on `transformers.Trainer`: rows in their drawn order, loss on targets only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from affectgpt.problems import InputError
from train.config.sections import Recipe, StageConfig
from train.fault_tolerance.exact_state import ExactState
from train.fault_tolerance.finite_loss import ROW_TOKENS, FiniteLoss, NamedRows
from train.fault_tolerance.resume import train_from_newest
from train.fault_tolerance.safe_trainer import SafeCheckpoints
from train.stages.dataset import StageDataset, SupervisedCollator


class OrderedTrainer(SafeCheckpoints, ExactState, FiniteLoss, Trainer):
    """Reads rows in the order of the data set: it was shuffled once, and a resumed run must find its place in it.

    Logs which share of the tokens so far was no padding.
    """

    useful_tokens = tokens = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """As the trainer's."""
        self.useful_tokens += inputs[ROW_TOKENS]
        self.tokens += inputs["input_ids"].numel()
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As the trainer's."""
        if self.tokens:
            logs["useful_tokens"] = self.useful_tokens / self.tokens
        super().log(logs, start_time)

    def kept(self) -> dict[str, Any]:
        """Also the tokens so far."""
        return {**super().kept(), "tokens": [self.useful_tokens, self.tokens]}

    def restore(self, kept: dict[str, Any]) -> None:
        """The opposite of `kept`."""
        super().restore(kept)
        self.useful_tokens, self.tokens = kept["tokens"]


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
        # The "constant" of transformers has no warm-up.
        "lr_scheduler_type": "constant_with_warmup" if stage.schedule == "constant" else stage.schedule,
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
        "ddp_find_unused_parameters": False,
        "log_level": "error",
        "log_level_replica": "error",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": ["wandb"] if recipe.wandb else [],
        "run_name": f"{recipe.output.name}-{stage.name}",
        "deepspeed": str(recipe.deepspeed) if recipe.deepspeed else None,
    }


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
    trainer = OrderedTrainer(
        model=model,
        args=TrainingArguments(**common_arguments(recipe, stage, folder, world_size)),
        train_dataset=dataset,
        data_collator=NamedRows(SupervisedCollator(dataset.reader, stage.packing is not None)),
        callbacks=list(callbacks),
    )
    trainer.remove_callback(PrinterCallback)
    train_from_newest(trainer, recipe, stage, folder)
    return trainer
