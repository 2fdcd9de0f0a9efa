"""Settings that stages of every kind share; each kind adds its own in `train/stages/`."""

from __future__ import annotations

from math import lcm
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from affectgpt.problems import InputError, nearest
from affectgpt.tasks import TASKS
from train.config.section import Section


class StageConfig(Section):
    """Settings of a stage. `mixture` weighs tasks: replay of earlier levels and the draw of targets are its weights."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """Name of the stage, of its checkpoint, and in `stages.NAME.key=value` on the command line."""
    kind: str
    """Kind of the stage."""
    steps: int = Field(ge=1)
    """Steps of the optimizer."""
    batch_size: int = Field(ge=1)
    """Rows per optimiser step over all processes and accumulation steps; for grpo prompts times generations."""
    learning_rate: float = Field(gt=0, allow_inf_nan=False)
    """Highest learning rate of AdamW."""
    mixture: dict[str, float]
    """Weights by which rows of each task are drawn."""
    freeze: tuple[Literal["language_model", "soft_tokens"], ...] = ()
    """Parts of the model that the stage leaves as they are."""
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    """Share of the steps in which the learning rate rises from 0."""
    schedule: Literal["cosine", "constant", "linear"] = "cosine"
    """Course of the learning rate after that."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay of AdamW."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's moments. From scratch, the second should be smaller than for a pretrained model."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Norm to which gradients are clipped."""
    accumulation: int = Field(default=1, ge=1)
    """Micro-batches that a step is made of; `batch_size` is a multiple of it, times the processes."""
    gradient_checkpointing: bool = False
    """Whether to compute activations again in the backward pass instead of keeping them."""
    save_steps: int = Field(default=100, ge=1)
    """Steps between trainer checkpoints, from which a stage is resumed; the two newest are kept."""
    log_steps: int = Field(default=10, ge=1)
    """Steps between lines of `log.jsonl`."""

    @field_validator("mixture")
    @classmethod
    def _tasks(cls, mixture: dict[str, float]) -> dict[str, float]:
        unknown = [f"unknown task '{task}'. {nearest(task, TASKS)}" for task in mixture if task not in TASKS]
        if unknown:
            raise ValueError(" ".join(unknown))
        if not mixture or min(mixture.values()) < 0 or sum(mixture.values()) <= 0:
            raise ValueError("weights must be 0 or more, and one of them more")
        return mixture

    @model_validator(mode="after")
    def _whole_micro_batches(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of accumulation ({self.accumulation})")
        return self

    @property
    def rows_per_step(self) -> int:
        """Rows that are drawn for a step, over all processes."""
        return self.batch_size

    @property
    def batch_unit(self) -> int:
        """Number of rows that `batch_size` is a multiple of, on any number of processes."""
        return self.accumulation

    def rows_per_process(self, processes: int) -> int:
        """Return the rows of a micro-batch on each of `processes` processes.

        Raises:
            InputError: the batch cannot be split over the processes; names the nearest that can, and the one that gives
                every process as many rows as one has now.
        """
        share, rest = divmod(self.batch_size, self.accumulation * processes)
        if rest or not share:
            unit = lcm(self.accumulation * processes, self.batch_unit)
            fewer = self.batch_size // unit * unit
            nearest_sizes = f"{fewer} or {fewer + unit}" if fewer else f"{unit}"
            key = f"stages.{self.name}"
            steps = max(1, round(self.steps / processes))
            raise InputError(
                f"stage '{self.name}': batch_size {self.batch_size} does not split over {processes} processes x "
                f"{self.accumulation} accumulation steps, whose rows it counts together. Set {key}.batch_size to "
                f"{nearest_sizes}; or, to have {self.batch_size} on each process and as many rows in all: "
                f"{key}.batch_size={self.batch_size * processes} {key}.steps={steps}"
            )
        return share
