"""The type of a setting that names a model: a folder, or an id of the Hub. Nothing is loaded to check it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _checked(name: str) -> str:
    if (Path(name) / "config.json").is_file():
        return name
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        raise ValueError("a model's folder, with its config.json, or an id of the Hub")
    return name


ModelName = Annotated[str, AfterValidator(_checked)]
