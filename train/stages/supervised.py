"""What supervised stages have in common: rows with answers, padded or packed, with a modality or evidence left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from affectgpt.clip import Clip
from train.stages.kind import MemoryNeeds, StageContext, StageKind

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback


class SupervisedStage(StageKind):
    """A stage that learns the answers of its rows."""

    packing: int | None = Field(default=None, ge=16)
    """Fill packs of that many tokens with rows, instead of padding each; `batch_size` then counts packs."""
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of rows of which one modality, drawn anew each time, is kept from the model."""
    evidence_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of rows whose evidence, drawn anew each time, is kept from the model."""
    evidence_corruption: float = Field(default=0.0, ge=0, le=1)
    """Share of rows whose evidence is made false, so that the model learns to doubt it."""

    @model_validator(mode="after")
    def _shares_of_rows(self) -> Self:
        if self.evidence_dropout + self.evidence_corruption > 1:
            raise ValueError("evidence_dropout and evidence_corruption are shares of rows: 1 at most together")
        return self

    @property
    def memory_needs(self) -> MemoryNeeds:
        """What the stage needs of memory; the size of a pack is the size of a row."""
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
