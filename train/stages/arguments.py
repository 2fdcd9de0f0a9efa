"""Trainer arguments and start of training that all kinds of stages share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from train.config.stage import StageConfig
from train.fault_tolerance.resume import train_from_newest
from train.sharding import cut_weights
from train.stages.context import StageContext


def common_arguments(context: StageContext, stage: StageConfig, folder: Path, world_size: int) -> dict[str, Any]:
    """Return the arguments of transformers' `TrainingArguments` that follow from a stage and its run.

    Args:
        folder: where the trainer writes its checkpoints.
        world_size: number of processes.

    Raises:
        InputError: the batch cannot be split over the processes.
    """
    on_gpu = torch.cuda.is_available()
    return {
        "output_dir": str(folder),
        "per_device_train_batch_size": stage.rows_per_process(world_size),
        "gradient_accumulation_steps": stage.accumulation,
        "max_steps": stage.steps,
        "learning_rate": stage.learning_rate,
        # The library's own "constant" has no warm-up.
        "lr_scheduler_type": "constant_with_warmup" if stage.schedule == "constant" else stage.schedule,
        "warmup_steps": round(stage.warmup_ratio * stage.steps),
        "weight_decay": stage.weight_decay,
        "adam_beta1": stage.betas[0],
        "adam_beta2": stage.betas[1],
        "max_grad_norm": stage.max_grad_norm,
        "logging_steps": stage.log_steps,
        "logging_first_step": True,
        "save_steps": stage.save_steps,
        "seed": context.seed,
        "data_seed": context.seed,
        "bf16": on_gpu and torch.cuda.is_bf16_supported(),
        "gradient_checkpointing": stage.gradient_checkpointing,
        "use_cpu": not on_gpu,
        "dataloader_pin_memory": on_gpu,
        "ddp_find_unused_parameters": False,
        "log_level": "error",
        "log_level_replica": "error",
        "remove_unused_columns": False,
        "disable_tqdm": True,
        "report_to": ["wandb"] if context.wandb else [],
        "run_name": f"{context.folder.name}-{stage.name}",
        "deepspeed": str(context.deepspeed) if context.deepspeed else None,
    }


def train_stage(trainer: Any, context: StageContext, stage: StageConfig, folder: Path) -> None:
    """Train a stage to its end, from the newest checkpoint that can be trusted; see `train_from_newest`.

    Args:
        folder: where the trainer writes its checkpoints.
    """
    if context.cuts_weights:
        cut_weights(trainer, torch.float32 if context.model.lora is None else None)
    logs = (context.folder.log, context.folder.rollouts)
    train_from_newest(trainer, stage.name, folder, logs, context.deepspeed is not None)
