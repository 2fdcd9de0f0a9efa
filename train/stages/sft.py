"""Stages of kind `sft`: supervised fine-tuning."""

from __future__ import annotations

from typing import ClassVar, Literal

from train.stages.supervised import SupervisedStage


class SftStage(SupervisedStage):
    """A supervised stage. Without a curriculum, all of them are one."""

    title: ClassVar[str] = "supervised"
    card_title: ClassVar[str] = "supervised"
    seconds_per_step: ClassVar[float] = 0.25
    merges: ClassVar[bool] = True

    kind: Literal["sft"]
