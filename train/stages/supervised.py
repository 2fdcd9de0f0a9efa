"""Settings that supervised stages share."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from train.config.stage import StageConfig


class SupervisedSettings(StageConfig):
    """Settings of a supervised stage: packing of its rows, and dropout of their parts."""

    packing: int | None = Field(default=None, ge=16)
    """Tokens of a pack, which is filled with rows instead of padding each; `batch_size` then counts packs."""
    modality_dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of rows of which one modality, drawn anew each time, is kept from the model."""
    evidence_dropout: float = Field(default=0.0, ge=0, le=1)
    """Share of rows whose evidence, drawn anew each time, is kept from the model."""
    evidence_corruption: float = Field(default=0.0, ge=0, le=1)
    """Share of rows whose evidence is made false, so that the model learns not to over-trust it."""

    @model_validator(mode="after")
    def _shares_of_rows(self) -> Self:
        if self.evidence_dropout + self.evidence_corruption > 1:
            raise ValueError("evidence_dropout and evidence_corruption are shares of rows: 1 at most together")
        return self
