"""Supervised stages: rows with answers, padded or packed. Stages of kind `sft` are nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from affectgpt.clip import Clip
from train.stages.context import StageContext
from train.stages.kind import MemoryNeeds, StageKind
from train.stages.supervised import SupervisedSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback


class SupervisedStage(SupervisedSettings, StageKind):
    """Stage that learns the answers of its rows."""

    @property
    def memory_needs(self) -> MemoryNeeds:
        """Memory needs of the stage; the size of a pack is the size of a row."""
        return MemoryNeeds(row_tokens=self.packing)

    def draws_from(self, context: StageContext) -> list[Clip]:
        """Return the rows of 'train' and 'text'."""
        return [*context.rows["train"], *context.rows.get("text", [])]

    def train(
        self,
        context: StageContext,
        model: PreTrainedModel,
        rows: Sequence[Clip],
        folder: Path,
        callbacks: Sequence[TrainerCallback],
        world_size: int = 1,
    ) -> Any:
        """Train on rows in their drawn order, with the loss on their answers."""
        from train.stages.sft_trainer import run_sft, stage_dataset

        dataset = stage_dataset(context, self, rows)
        return run_sft(context, self, model, dataset, folder, callbacks, world_size)


class SftStage(SupervisedStage):
    """Supervised stage. Without a curriculum, all of them are merged into one."""

    title: ClassVar[str] = "supervised"
    card_title: ClassVar[str] = "supervised"
    seconds_per_step: ClassVar[float] = 0.25
    merges: ClassVar[bool] = True

    kind: Literal["sft"]
