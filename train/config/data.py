"""The `data` of a recipe: where its rows come from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from affectgpt.media.readers import FrameReader
from affectgpt.problems import nearest
from data_recipes.synthetic.generate import Settings
from train.config.section import Section

PARTS = ("train", "rl", "dev", "test", "text")
"""Parts that rows come in, each a row file."""


class DataConfig(Section):
    """Sources of the rows: `synthetic` settings, or one row file for each part."""

    synthetic: dict[str, int | float] | None = None
    """Settings of `data_recipes.synthetic.generate.Settings`; the clips are made where `folder` says."""
    folder: Path | None = None
    """Folder of synthetic data; by default beside the run, under a name that follows from its settings."""
    train: Path | None = None
    """Row file that supervised stages learn from, and plugins."""
    rl: Path | None = None
    """Row file of GRPO's prompts; by default those of `train`."""
    dev: Path | None = None
    """Row file that is scored apart from `test`: for choices between settings."""
    test: Path | None = None
    """Row file on which every stage is scored; without it nothing is."""
    text: Path | None = None
    """Row file without media that supervised stages learn from too, so that the model keeps its words."""
    media_root: Path | None = None
    """Folder that media paths in all row files are relative to; by default the folder of each row file."""
    features: Literal["stored", "online"] = "stored"
    """Source of the features of frozen towers: 'stored' computes them once and reads them from the store, 'online'
    computes them each time. Both give the same bits, and are never mixed."""
    store: Path | None = None
    """Folder of the feature store, which runs share; by default beside the run."""
    bad_sample_budget: float = Field(default=0.02, ge=0, le=1)
    """Share of clips that may be undecodable; beyond it the run stops."""
    decode_timeout_s: float = Field(default=20.0, gt=0)
    """Seconds after which a clip that is still being decoded counts as undecodable."""
    reader: FrameReader = "auto"
    """Library that reads frames from a file whose media have been checked; `scripts/bench_decode.py` compares them."""

    @field_validator("folder", *PARTS, "media_root", "store")
    @classmethod
    def _home(cls, path: Path | None) -> Path | None:
        """Expand '~', which no shell does inside a recipe."""
        return None if path is None else Path(os.path.expanduser(path))

    @field_validator("synthetic")
    @classmethod
    def _settings(cls, given: dict[str, int | float] | None) -> dict[str, int | float] | None:
        known = Settings.__dataclass_fields__
        wrong = [f"unknown key '{name}'. {nearest(name, known)}" for name in given or {} if name not in known]
        wrong += [
            f"{name} must be a whole number, got {value}"
            for name, value in (given or {}).items()
            if name in known and known[name].type == "int" and value != int(value)
        ]
        if wrong:
            raise ValueError(" ".join(wrong))
        Settings(**(given or {}))  # type: ignore[arg-type]
        return given

    @model_validator(mode="after")
    def _one_source(self) -> DataConfig:
        files = [name for name in PARTS if getattr(self, name) is not None]
        if self.synthetic is not None and files:
            raise ValueError(f"give either 'synthetic' or row files, not both (found {', '.join(files)})")
        if self.synthetic is None and self.train is None:
            raise ValueError("give 'synthetic', or 'train': a row file")
        return self
