"""Context that a run gives its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from affectgpt.clip import Clip
from train.config.evaluation import EvaluationConfig
from train.config.model import ModelConfig
from train.config.stage import StageConfig
from train.run_folder import RunFolder
from train.sharding import cuts_weights

if TYPE_CHECKING:
    from affectgpt.inputs.reader import Reader
    from train.monitor import Console


@dataclass(frozen=True, slots=True, kw_only=True)
class StageContext:
    """Context of a stage: all that its run gives it besides its own settings.

    Args:
        folder: folder of the run.
        model: the recipe's `model`: how a checkpoint is loaded.
        rows: rows by part ('train', 'rl', 'dev', 'test', 'text').
        reader: reader of rows for the model.
        console: shows the progress of the stage.
        seed: seed of the run.
        evaluation: the recipe's `evaluation`.
        merged: stages whose rows the stage 'shuffled' reads; none in a run with a curriculum.
        deepspeed: configuration of DeepSpeed, under its launcher.
        wandb: whether the trainer logs to W&B too.
    """

    folder: RunFolder
    model: ModelConfig
    rows: Mapping[str, list[Clip]]
    reader: Reader
    console: Console
    seed: int = 0
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    merged: tuple[StageConfig, ...] = ()
    deepspeed: Path | None = None
    wandb: bool = False

    @property
    def cuts_weights(self) -> bool:
        """Whether each process loads only its part of the model: under ZeRO-3, unless the model is quantised."""
        quantised = self.model.lora is not None and self.model.lora.bits is not None
        return cuts_weights(self.deepspeed) and not quantised
