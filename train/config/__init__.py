"""Recipes: what they may say (`sections.py`) and how they are read from YAML (`recipe_file.py`)."""

from train.config.sections import Recipe

__all__ = ["Recipe"]
