"""Stages of kind `grpo`: reinforcement learning from rewards, on groups of answers to each prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from affectgpt.clip import Clip
from train.stages.context import StageContext
from train.stages.grpo_settings import GrpoSettings
from train.stages.kind import MemoryNeeds, StageKind
from train.stages.order import stage_order

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback


class GrpoStage(GrpoSettings, StageKind):
    """Stage that learns from the rewards of its own answers."""

    title: ClassVar[str] = "reinforcement"
    card_title: ClassVar[str] = "GRPO"
    card_tags: ClassVar[tuple[str, ...]] = ("grpo",)
    seconds_per_step: ClassVar[float] = 2.5
    rewarded: ClassVar[bool] = True

    kind: Literal["grpo"]

    @property
    def reward_names(self) -> tuple[str, ...]:
        """Names of the rewards, in the recipe's order."""
        return tuple(self.rewards)

    def file_texts(self) -> list[str]:
        """Read the files of rewards."""
        return [path.read_text(encoding="utf-8") for path in self.reward_files]

    @property
    def memory_needs(self) -> MemoryNeeds:
        """Memory needs of rollouts and of the reference."""
        return MemoryNeeds(completion_tokens=self.max_new_tokens, generates=True, reference=self.beta > 0)

    def draws_from(self, context: StageContext) -> list[Clip]:
        """Return the rows of 'rl' if there are any, else those of 'train'."""
        return context.rows.get("rl") or context.rows["train"]

    def train(
        self,
        context: StageContext,
        model: PreTrainedModel,
        rows: Sequence[Clip],
        folder: Path,
        callbacks: Sequence[TrainerCallback],
        world_size: int = 1,
    ) -> Any:
        """Train by GRPO on the prompts of the rows, as drawn."""
        from train.stages.grpo_run import run_grpo  # importing TRL takes seconds

        order = stage_order(context.seed, self, rows)
        return run_grpo(context, self, model, rows, order, folder, callbacks, world_size)

    @classmethod
    def card_note(cls, settings: Mapping[str, Any]) -> str:
        """Return a sentence on how completions were drawn and rewarded."""
        rewards = ", ".join(f"{name} {reward['weight']:g}" for name, reward in settings["rewards"].items())
        return (
            f"`{settings['name']}`: {settings['generations']} completions a prompt, temperature "
            f"{settings['temperature']:g}, KL weight {settings['beta']:g}, loss {settings['loss_type']}; "
            f"rewards {rewards}"
        )
