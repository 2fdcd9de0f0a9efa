"""The contract of a kind of stages: its settings, rows, training, scores and words.

A kind is a class beneath `StageKind` in a file of its own, and a line of the table in `train/stages/kinds.py`. Its file
is imported whenever a recipe is read, so TRL and the trainer of transformers are imported only where training begins.
Settings that the trainer needs too are defined in a file that both import.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from affectgpt.clip import Clip
from train.config.stage import StageConfig
from train.stages.context import StageContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

HEADLINES = {
    "attribute_accuracy": "attributes",
    "expression_accuracy": "expressions",
    "emotion_uar": "emotion UAR",
    "tree_similarity": "tree",
}
"""Scores on clips that the console shows first for a stage, with their names there."""
NOT_SHOWN = ("emotion_war", "parse_rate")
"""Scores that the console leaves to the report."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """Finished stage: its checkpoint, how long it took, whether an earlier run had finished it."""

    stage: StageKind
    folder: Path
    seconds: float
    reused: bool
    fingerprint: str
    taught: tuple[str, ...] = ()
    """Tasks that this stage and those before it taught; none if that is not known."""

    def entry(self) -> dict[str, Any]:
        """Return the stage's entry in the report, without scores."""
        return {
            "name": self.stage.name,
            "kind": self.stage.kind,
            "title": self.stage.title,
            "answers_clips": self.stage.answers_clips,
            "rewarded": self.stage.rewarded,
            "seconds": self.seconds,
            "steps": self.stage.steps,
            "reused": self.reused,
            "taught": list(self.taught),
            "metrics": {},
        }


@dataclass(frozen=True, slots=True)
class MemoryNeeds:
    """Properties of a stage that the plan of a run's memory depends on.

    Args:
        row_tokens: tokens of a row, if the stage fixes them.
        completion_tokens: tokens that the model writes to each row.
        generates: whether the completions of a step are written together before it learns from them.
        reference: whether a frozen copy of the model stands beside it.
    """

    row_tokens: int | None = None
    completion_tokens: int = 0
    generates: bool = False
    reference: bool = False


class StageKind(StageConfig, ABC):
    """Base class of stages: the settings of a recipe, and the methods that train and score with them."""

    title: ClassVar[str]
    """Name of the kind in the report."""
    card_title: ClassVar[str]
    """Name of the kind in the model card."""
    card_tags: ClassVar[tuple[str, ...]] = ()
    """Tags that a model card gets for a stage of the kind."""
    seconds_per_step: ClassVar[float]
    """Estimated seconds of a step on a laptop, for the first estimate of the time left."""
    merges: ClassVar[bool] = False
    """Whether `curriculum: false` shuffles the rows of all stages of the kind into one stage."""
    answers_clips: ClassVar[bool] = True
    """Whether the stage trains on clips, so that its answers are in the tables and the gallery of the report."""
    needs_conversations: ClassVar[bool] = True
    """Whether a row of the stage's mixture needs `messages`; not so where nothing is asked or answered in words."""
    rewarded: ClassVar[bool] = False
    """Whether the stage learns from rewards, whose curves the report shows."""

    @property
    def reward_names(self) -> tuple[str, ...]:
        """Names of the rewards that the stage logs."""
        return ()

    def file_texts(self) -> list[str]:
        """Return the texts of the files that the stage runs; a changed text changes its fingerprint."""
        return []

    @property
    def memory_needs(self) -> MemoryNeeds:
        """Memory needs of the stage besides weights and states."""
        return MemoryNeeds()

    def flaws_of(self, rows: Sequence[Clip]) -> list[str]:
        """Return why the stage cannot learn from the rows of part 'train'; checked before any stage runs."""
        return []

    @abstractmethod
    def draws_from(self, context: StageContext) -> list[Clip]:
        """Return the rows that the stage draws from."""

    @abstractmethod
    def train(
        self,
        context: StageContext,
        model: PreTrainedModel,
        rows: Sequence[Clip],
        folder: Path,
        callbacks: Sequence[TrainerCallback],
        world_size: int = 1,
    ) -> Any:
        """Train `model` in place; resume from the newest trainer checkpoint in `folder`.

        Returns:
            The trainer of transformers, with `SafeCheckpointsMixin`.
        """

    def score(self, context: StageContext, result: StageResult) -> dict[str, Any]:
        """Return the stage's entry in the report, here with the scores of its answers to clips."""
        from train.stages.scores import score_clips

        return score_clips(context, result.folder, result.fingerprint, result.entry())

    @classmethod
    def headline(cls, metrics: Mapping[str, Any]) -> str:
        """Return the most important scores as text for the console."""
        from eval.report.glossary import term_of

        others = [name for name in metrics if name not in HEADLINES and name not in NOT_SHOWN]
        names = HEADLINES | {name: term_of(name).title for name in others}
        return ", ".join(
            f"{title} {metrics[name]['value']:.2f}"
            for name, title in names.items()
            if metrics.get(name) and metrics[name]["value"] is not None
        )

    @classmethod
    def card_note(cls, settings: Mapping[str, Any]) -> str | None:
        """Return what a model card adds to its table on training with these settings; None for nothing."""
        return None
