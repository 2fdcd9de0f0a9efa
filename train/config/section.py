"""Base class of the parts of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Part of a recipe: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
