"""Order of stages, and of the rows that a stage reads; it depends on the seed and the stage alone."""

from __future__ import annotations

from collections.abc import Sequence

from affectgpt.clip import Clip
from train.config.stage import StageConfig
from train.fingerprint import stream_of
from train.stages.curriculum import draw_rows
from train.stages.kind import StageKind

SHUFFLED = "shuffled"
"""Name of the stage that `curriculum: false` makes of all stages that merge."""


def merged_stages(stages: Sequence[StageKind], curriculum: bool) -> tuple[StageKind, ...]:
    """Return the stages that are merged into one without a curriculum; none if nothing is merged."""
    merging = tuple(stage for stage in stages if stage.merges)
    return () if curriculum or len(merging) < 2 else merging


def planned_stages(stages: Sequence[StageKind], curriculum: bool) -> list[StageKind]:
    """Return the stages as they run; without a curriculum, stages that merge become one with their rows shuffled."""
    merging = merged_stages(stages, curriculum)
    if not merging:
        return list(stages)
    merged = merging[-1].model_copy(
        update={
            "name": SHUFFLED,
            "steps": sum(stage.steps for stage in merging),
            "learning_rate": max(stage.learning_rate for stage in merging),
        }
    )
    return [merged, *(stage for stage in stages if not stage.merges)]


def stage_order(seed: int, stage: StageConfig, clips: Sequence[Clip], merged: Sequence[StageConfig] = ()) -> list[int]:
    """Draw the rows that a stage reads, in order: indices into `clips`.

    Args:
        merged: stages whose rows the stage 'shuffled' reads.
    """
    if merged and stage.name == SHUFFLED:
        rows = [row for item in merged for row in stage_order(seed, item, clips)]
        return stream_of(seed, SHUFFLED).permutation(rows).tolist()
    drawn_by = int(stream_of(seed, stage.name).integers(2**31))
    return draw_rows(clips, stage.mixture, stage.rows_per_step * stage.steps, drawn_by)
