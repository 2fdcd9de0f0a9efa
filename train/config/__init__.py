"""Sections of a recipe. `from train.config import Recipe` gives the whole one, which `train/recipe.py` defines."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """Import `Recipe` on first use: it needs the kinds of stages, which need the sections here."""
    if name == "Recipe":
        return import_module("train.recipe").Recipe
    raise AttributeError(f"module 'train.config' has no attribute '{name}'")
