"""Resuming a stage from its newest verified trainer checkpoint, if this run can read it."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.problems import InputError, RunError, shorten
from train.fault_tolerance.checkpoint import clear_drafts, newest_valid
from train.fault_tolerance.safe_trainer import SafeCheckpointsMixin


def train_from_newest(trainer: Any, stage: str, folder: Path, logs: Sequence[Path], sharded: bool) -> None:
    """Train a stage to its end, from the newest checkpoint that can be trusted.

    Args:
        stage: name of the stage.
        folder: folder of the trainer's checkpoints.
        logs: log files; lines of later steps are deleted from them.
        sharded: whether the run is under DeepSpeed, whose processes each save a part.

    Raises:
        InputError: the checkpoint does not fit this run.
        RunError: the checkpoint cannot be read, although its manifest holds.
    """
    trainer.accelerator.wait_for_everyone()  # the first process clears what is stale
    point = _resume_point(trainer, stage, folder, logs, sharded)
    try:
        trainer.train(resume_from_checkpoint=point)
    except pickle.UnpicklingError as error:
        raise RunError(
            f"{point} holds data that are not safe to load ({str(error).splitlines()[0]}). Delete it, to resume from "
            f"the one before; or begin stage '{stage}' anew: delete {folder}"
        ) from error


def _resume_point(
    trainer: SafeCheckpointsMixin, stage: str, folder: Path, logs: Sequence[Path], sharded: bool
) -> str | None:
    """Find the checkpoint that a stage resumes from, the same on every process; delete later lines of the logs.

    Raises:
        InputError: only one of the checkpoint and this run is under ZeRO, or both are with different numbers of
            processes. The optimizer's state would be lost.
    """

    def find() -> str | None:
        clear_drafts(folder)
        newest = newest_valid(folder, lambda text: print(f"      {text}", file=sys.stderr))
        if newest is not None:
            _require_same_way(newest, stage, sharded, trainer.accelerator.num_processes)
        step = int(newest.name.rsplit("-", 1)[1]) if newest else 0
        for log in logs:
            forget_stage(log, stage, step)
        return str(newest) if newest else None

    return trainer.on_first(find)


def forget_stage(path: Path, stage: str, after_step: int = 0) -> None:
    """Delete the log lines of a stage beyond a step: it is about to run again from there."""
    if path.is_file():
        kept = []
        for line in path.read_bytes().split(b"\n"):  # a text may hold other ends of lines, such as U+2028
            try:
                row = json.loads(line)
            except ValueError:  # cut short by a kill
                continue
            if isinstance(row, dict) and (row.get("stage") != stage or row.get("step", 0) <= after_step):
                kept.append(line)
        path.write_bytes(b"".join(line + b"\n" for line in kept))


def _require_same_way(checkpoint: Path, stage: str, expects_shards: bool, processes: int) -> None:
    shards = {path.name for path in checkpoint.glob("global_step*")}
    sharded = bool(shards)
    if sharded and (latest := (checkpoint / "latest").read_text().strip()) not in shards:
        raise InputError(f"{checkpoint / 'latest'}: expected one of {', '.join(sorted(shards))}, got {shorten(latest)}")
    saved_by = len(list(checkpoint.glob("progress-*.pt")))
    if sharded == expects_shards and (not sharded or saved_by == processes):
        return
    way = f"with deepspeed, by {_count(saved_by)}" if sharded else "without deepspeed"
    here = f"with deepspeed, by {_count(processes)}" if expects_shards else "without deepspeed"
    raise InputError(
        f"{checkpoint} was saved {way}, and this run is {here}. Resume in the same way; or begin stage '{stage}' "
        f"anew: delete {checkpoint.parent}"
    )


def _count(processes: int) -> str:
    return f"{processes} process{'es' if processes > 1 else ''}"
