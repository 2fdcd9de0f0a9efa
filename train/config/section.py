"""Base class of the parts of a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Part of a recipe: unknown keys are errors. The docstring of a key is its line in docs/recipe.md."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
