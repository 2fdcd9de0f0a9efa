"""Settings of a GRPO stage."""

from __future__ import annotations

from math import lcm
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from affectgpt.problems import InputError
from train.config.section import Section
from train.config.stage import StageConfig
from videmo.user_rewards import reward_function, user_functions


class RewardConfig(Section):
    """Reward of a GRPO stage: a number, its weight; or `weight` and whatever settings the reward takes."""

    model_config = ConfigDict(extra="allow")

    weight: float = Field(default=1.0, allow_inf_nan=False)
    """Weight in the sum of rewards."""

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, given: Any) -> Any:
        return given if isinstance(given, dict) else {"weight": given}

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the reward: all keys but the weight."""
        return self.model_extra or {}


class GrpoSettings(StageConfig):
    """Settings of a GRPO stage: how completions are drawn, rewarded and learned from."""

    generations: int = Field(default=8, ge=2)
    """Completions per prompt (G)."""
    temperature: float = Field(default=1.0, gt=0)
    """Temperature at which completions are drawn."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Probability of the nucleus from which tokens are drawn."""
    max_new_tokens: int = Field(default=128, ge=1)
    """Tokens of a completion at most."""
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL penalty to the model that the stage starts from."""
    loss_type: Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo"] = "dapo"
    """Loss of TRL's GRPO trainer."""
    importance_sampling: Literal["token", "sequence"] = "token"
    """Level of the ratio to the policy that generated the rollouts; 'sequence' is GSPO's."""
    num_iterations: int = Field(default=1, ge=1)
    """Number of passes over a batch of rollouts."""
    epsilon: float = Field(default=0.2, gt=0)
    """Clip of the ratio to the policy that generated."""
    epsilon_high: float | None = Field(default=None, gt=0)
    """Upper clip: the ratio stays within [1 - epsilon, 1 + epsilon_high]; by default epsilon."""
    exchanges: int = Field(default=0, ge=0)
    """Rounds of a step in which groups of equal reward, which teach nothing, are exchanged for groups of other prompts
    (DAPO's dynamic sampling); groups still equal after the last round are kept."""
    reward_files: tuple[Path, ...] = ()
    """Python files whose functions are rewards too. The files are run when the recipe is read."""
    reward_failure: Literal["stop", "drop"] = "stop"
    """Consequence of a reward that fails on a row: stop the run, or leave that reward out for the row's group."""
    reward_limit_s: float = Field(default=600.0, gt=0, allow_inf_nan=False)
    """Seconds that a reward may take for the completions of one rollout."""
    rewards: dict[str, RewardConfig] = Field(
        default={
            "tree": RewardConfig(weight=1.0),
            "format": RewardConfig(weight=0.2),
            "label": RewardConfig(weight=0.25),
        }
    )
    """Rewards by name, each a weight, or `weight` and settings of its own; see docs/grpo.md."""

    @field_validator("reward_files")
    @classmethod
    def _files_of_rewards(cls, files: tuple[Path, ...]) -> tuple[Path, ...]:
        for file in files:
            user_functions(file)
        return files

    @field_validator("rewards")
    @classmethod
    def _rewards(cls, rewards: dict[str, RewardConfig], info: ValidationInfo) -> dict[str, RewardConfig]:
        problems = [] if rewards else ["give at least one reward"]
        if "reward_files" in info.data:  # else the files are wrong themselves, and reported
            for name, reward in rewards.items():
                try:
                    reward_function(name, reward.settings, info.data["reward_files"])
                except InputError as error:
                    problems += map(str, error.problems)
        if problems:
            raise ValueError(". ".join(problem.rstrip(".") for problem in problems))
        return rewards

    @model_validator(mode="after")
    def _whole_groups(self) -> Self:
        if self.batch_size % self.generations:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of generations ({self.generations})")
        return self

    @property
    def batch_unit(self) -> int:
        """Number of rows that `batch_size` is a multiple of: groups are whole, and so are micro-batches."""
        return lcm(self.accumulation, self.generations)

    @property
    def rows_per_step(self) -> int:
        """Number of prompts of a step."""
        return self.batch_size // self.generations
