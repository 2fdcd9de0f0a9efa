"""Where a stage goes on: its newest proven trainer checkpoint, if this run can read it."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

from affectgpt.problems import InputError, RunError, shorten
from train.config.sections import Recipe, StageConfig
from train.fault_tolerance.checkpoint import clear_drafts, newest_valid
from train.fault_tolerance.safe_trainer import SafeCheckpoints
from train.monitor import forget_stage


def train_from_newest(trainer: Any, recipe: Recipe, stage: StageConfig, folder: Path) -> None:
    """Train a stage to its end, from the newest checkpoint that can be trusted.

    Raises:
        InputError: that checkpoint is none for this run.
        RunError: it cannot be read, although it is as it was written.
    """
    trainer.accelerator.wait_for_everyone()  # the first process clears what is stale
    point = _resume_point(trainer, recipe, stage, folder)
    try:
        trainer.train(resume_from_checkpoint=point)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{point} holds what is not read from a file ({str(error).splitlines()[0]}). Delete it, to go on from the "
            f"one before; or begin stage '{stage.name}' anew: delete {folder}"
        ) from error


def _resume_point(trainer: SafeCheckpoints, recipe: Recipe, stage: StageConfig, folder: Path) -> str | None:
    """The checkpoint that a stage goes on from, the same on every process; log lines of later steps are deleted.

    Raises:
        InputError: it was saved under ZeRO, and this run is not, or has another number of processes; or the other way
            about. Loaded like that, it would come without its optimizer.
    """

    def find() -> str | None:
        clear_drafts(folder)
        newest = newest_valid(folder, lambda text: print(f"      {text}", file=sys.stderr))
        if newest is not None:
            _require_same_way(newest, recipe, stage, trainer.accelerator.num_processes)
        step = int(newest.name.rsplit("-", 1)[1]) if newest else 0
        for name in ("log.jsonl", "rollouts.jsonl"):
            forget_stage(recipe.output / name, stage.name, step)
        return str(newest) if newest else None

    return trainer.on_first(find)


def _require_same_way(checkpoint: Path, recipe: Recipe, stage: StageConfig, processes: int) -> None:
    shards = {path.name for path in checkpoint.glob("global_step*")}
    sharded = bool(shards)
    if sharded and (latest := (checkpoint / "latest").read_text().strip()) not in shards:
        raise InputError(f"{checkpoint / 'latest'}: expected one of {', '.join(sorted(shards))}, got {shorten(latest)}")
    saved_by = len(list(checkpoint.glob("progress-*.pt")))
    if sharded == (recipe.deepspeed is not None) and (not sharded or saved_by == processes):
        return
    way = f"with deepspeed, by {_count(saved_by)}" if sharded else "without deepspeed"
    here = f"with deepspeed, by {_count(processes)}" if recipe.deepspeed else "without deepspeed"
    raise InputError(
        f"{checkpoint} was saved {way}, and this run is {here}. Go on the same way; or begin stage '{stage.name}' "
        f"anew: delete {checkpoint.parent}"
    )


def _count(processes: int) -> str:
    return f"{processes} process{'es' if processes > 1 else ''}"
