"""Mixin for trainers of transformers: checkpoints are whole or not there, and training does not wait for the disk.

A checkpoint is written while training waits. It is flushed, hashed and renamed (`checkpoint.py`) in the background.
Until then it is a draft; a run that is killed loses it, and resumes from the one before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

from train.fault_tolerance import watchdog
from train.fault_tolerance.checkpoint import (
    SaveError,
    draft_of,
    drafting,
    hash_part,
    publish,
    require_room,
    rotate,
    size_of,
)

T = TypeVar("T")


class SafeCheckpointsMixin:
    """Mixin for `transformers.Trainer`; list it before the trainer class.

    Every process writes its part (under ZeRO its own shards), flushes and hashes it; the first one publishes when all
    are done. If that fails, all processes fail alike, at the next save or in `finish_saving`.
    """

    args: Any
    accelerator: Any
    state: Any
    is_world_process_zero: Any
    _aside: Path | None = None
    _last_size = 0
    _publishing: Future[None] | None = None

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._aside or self.args.output_dir)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint and publish it in the background, after waiting for the one before."""
        place = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
        watchdog.doing(f"saving {place.name}")
        self.finish_saving()
        with drafting(place) as room:
            self.on_first(lambda: _empty(room, self._last_size))
            self._aside = room
            try:
                super()._save_checkpoint(model, trial)  # type: ignore[misc]
            finally:
                self._aside = None
            self.accelerator.wait_for_everyone()
        background = ThreadPoolExecutor(1)
        if self.is_world_process_zero():
            self._publishing = background.submit(self._publish, place)
        else:
            written = draft_of(place) / place.name
            self._publishing = background.submit(
                hash_part, written, self.args.process_index, self.accelerator.num_processes
            )
        background.shutdown(wait=False)

    def finish_saving(self) -> None:
        """Wait until the last checkpoint is published.

        Raises:
            SaveError: it could not be published; raised on every process.
            OSError: this process could not even note its hashes; the sentinels end the others.
        """
        publishing, self._publishing = self._publishing, None
        if publishing is not None and not self.is_world_process_zero():
            publishing.result()
        self.on_first(lambda: publishing and publishing.result())

    def _publish(self, place: Path) -> None:
        with drafting(place) as room:
            self._last_size = size_of(room)
            publish(room / place.name, place, self.accelerator.num_processes)
            shutil.rmtree(room)
            rotate(place.parent)

    def on_first(self, work: Callable[[], T]) -> T:
        """Run `work` on the first process and return its result on every process; a failure there is raised on all."""
        made: list[Any] = [None, None]
        error: Exception | None = None
        if self.is_world_process_zero():
            try:
                made[0] = work()
            except Exception as caught:
                error, made[1] = caught, f"the first process: {type(caught).__name__}: {caught}"
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast_object_list(made, src=0)
        if error is not None:
            raise error
        if made[1] is not None:
            raise SaveError(made[1])
        found: T = made[0]
        return found


def _empty(room: Path, expected: int) -> None:
    shutil.rmtree(room, ignore_errors=True)
    require_room(room.parent, expected)
    room.mkdir(parents=True)
