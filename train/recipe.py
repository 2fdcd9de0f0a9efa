"""A recipe: all settings of a run. `train/recipe_file.py` reads it from YAML."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, model_validator

from train.config.data import DataConfig
from train.config.evaluation import EvaluationConfig, EvidenceConfig
from train.config.hub import HubConfig
from train.config.model import ModelConfig
from train.config.section import Section
from train.run_folder import RunFolder
from train.stages.kind import StageKind
from train.stages.kinds import AnyStage
from train.stages.order import merged_stages, planned_stages


class Recipe(Section):
    """Settings of a whole run."""

    title: str = "AffectGPT"
    """Title of the report and of the model card."""
    output: Path
    """Folder of the run. Synthetic data, features and untrained models go to `cache` beside it, which runs share."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is drawn; runs of one seed are equal."""
    data: DataConfig
    """Rows; see `data`."""
    model: ModelConfig
    """Model that is trained; see `model`."""
    stages: tuple[AnyStage, ...]
    """Stages in their order, each a list item with its `kind`; see `stages`."""
    curriculum: bool = True
    """Whether supervised stages run in order; False shuffles the rows of all of them into one stage."""
    evidence: EvidenceConfig = Field(default_factory=EvidenceConfig)
    """Evidence that prompts show; see `evidence`."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """Scores that follow each stage; see `evaluation`."""
    deepspeed: Path | None = None
    """DeepSpeed configuration, for runs under its launcher."""
    wandb: bool = False
    """Whether to log to Weights & Biases too, offline unless somebody is logged in."""
    hang_s: float = Field(default=1800.0, gt=0)
    """Seconds without progress in any process after which the run is ended; each process then writes its stacks."""
    hub: HubConfig | None = None
    """Repository to which finished stages are sent; see `hub`."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch per process; all cores by default."""

    @model_validator(mode="after")
    def _distinct_names(self) -> Recipe:
        names = [stage.name for stage in self.stages]
        if not names:
            raise ValueError("stages: a recipe needs at least one")
        if len(set(names)) < len(names):
            raise ValueError("stages: every stage needs a name of its own")
        if not self.curriculum and any(stage.memory_needs.row_tokens for stage in self.stages):
            raise ValueError("curriculum: false shuffles the rows of all stages, which packing cannot; leave one out")
        return self

    @property
    def folder(self) -> RunFolder:
        """Folder of the run."""
        return RunFolder(self.output)

    @property
    def planned(self) -> list[StageKind]:
        """Stages as they run; without a curriculum, the supervised ones are merged into one."""
        return planned_stages(self.stages, self.curriculum)

    @property
    def merged(self) -> tuple[StageKind, ...]:
        """Stages that are merged into one without a curriculum."""
        return merged_stages(self.stages, self.curriculum)
