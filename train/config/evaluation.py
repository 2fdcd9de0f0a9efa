"""The `evaluation` and `evidence` of a recipe: how a model is scored, and what prompts show of evidence."""

from __future__ import annotations

from pydantic import Field

from train.config.section import Section


class EvidenceConfig(Section):
    """Evidence that the prompt of a row shows; every field is one of `Cues`, which explains it."""

    top: int = Field(default=3, ge=1)
    causes: int = Field(default=3, ge=0)
    situation: bool = False


class EvaluationConfig(Section):
    """Settings of the scores that follow each stage."""

    batch_size: int = Field(default=64, ge=1)
    max_new_tokens: int = Field(default=128, ge=1)
    resamples: int = Field(default=1000, ge=10)
    closed_per_clip: int = Field(default=4, ge=1)
    """Attribute questions asked of each clip, drawn once per data set."""
    examples: int = Field(default=8, ge=0)
    """Clips shown in the report."""
