"""The `evaluation` and `evidence` of a recipe: how a model is scored, and what prompts show of evidence."""

from __future__ import annotations

from pydantic import Field

from train.config.section import Section


class EvidenceConfig(Section):
    """Evidence that the prompt of a row shows; every field is one of `Cues`, which explains it."""

    top: int = Field(default=3, ge=1)
    """Likeliest emotions that are shown, and most labels and action units of other evidence."""
    causes: int = Field(default=3, ge=0)
    """Words, moments and spans that are shown, those of the highest weight first."""
    situation: bool = False
    """Whether to show the situation of a row, which gives the emotion away."""


class EvaluationConfig(Section):
    """Settings of the scores that follow each stage."""

    batch_size: int = Field(default=64, ge=1)
    """Prompts that are answered together."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Tokens of an answer at most."""
    resamples: int = Field(default=1000, ge=10)
    """Bootstrap resamples of an interval."""
    closed_per_clip: int = Field(default=4, ge=1)
    """Attribute questions asked of each clip, drawn once per data set."""
    examples: int = Field(default=8, ge=0)
    """Clips shown in the report."""
