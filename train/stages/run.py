"""Run of the stages of a recipe, each from the checkpoint of the one before; finished stages are skipped."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import set_seed
from transformers.integrations import unset_hf_deepspeed_config

from affectgpt.clip import Clip
from affectgpt.features.file_hashes import ContentIndex
from affectgpt.problems import InputError
from train.fault_tolerance import watchdog
from train.fault_tolerance.checkpoint import drafting, flaw_of, publish
from train.model_setup import freeze, load_stage_model
from train.monitor import StageLog
from train.run_folder import NOTE, RunFolder
from train.stages.context import StageContext
from train.stages.kind import StageKind, StageResult
from train.stages.kinds import fingerprint_of, v0_1_0_fingerprint
from train.stages.order import SHUFFLED


class Interrupted(KeyboardInterrupt):
    """Interrupt of a stage by a signal, whose number it carries; the stage's checkpoint is kept."""


def world() -> tuple[int, int]:
    """Return the rank of this process and the number of processes, as the launcher set them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def require_rows(stages: Sequence[StageKind], rows: Sequence[Clip]) -> None:
    """Refuse, before any stage runs, rows of part 'train' that a stage could not learn from.

    Raises:
        InputError: with the problems of every stage.
    """
    if problems := [flaw for stage in stages for flaw in stage.flaws_of(rows)]:
        raise InputError(problems)


def run_stages(
    context: StageContext, stages: Sequence[StageKind], model: Path, made_from: str, v0_1_0: str, curriculum: bool
) -> Iterator[StageResult]:
    """Run every unfinished stage; yield each stage when its checkpoint is complete.

    Args:
        stages: as they run, see `planned_stages`.
        model: folder of the model that the first stage starts from.
        made_from: fingerprint of all that training depends on besides the stages.
        v0_1_0: fingerprint that v0.1.0 gave the same: stages that it finished are reused.

    Raises:
        InputError: the checkpoint of a finished stage is damaged.
        Interrupted: Ctrl-C or SIGTERM; calling again resumes from the kept checkpoint.
    """
    console, parent, fingerprint, older = context.console, model, made_from, v0_1_0
    taught: dict[str, None] = {}
    for stage in stages:
        taught |= dict.fromkeys(_taught(context, stage))
        console.begin(f"{stage.kind} {stage.name}")
        fingerprint = fingerprint_of(fingerprint, stage, curriculum)
        older = v0_1_0_fingerprint(older, stage, curriculum)
        folder = context.folder.checkpoint(stage.name)
        done = _read_done(context.folder, stage.name, fingerprint, older)
        if done is None:
            seconds = _run_stage(context, stage, parent, fingerprint, older)
            console.done(f"{stage.steps} steps")
            yield StageResult(stage, folder, seconds, False, fingerprint, tuple(taught))
        else:
            console.done("unchanged, reused")
            yield StageResult(stage, folder, done["seconds"], True, done["fingerprint"], tuple(taught))
        parent = folder


def _taught(context: StageContext, stage: StageKind) -> list[str]:
    """Return the tasks of the rows that a stage draws; the stage 'shuffled' draws those of all that it is made of."""
    read = context.merged if context.merged and stage.name == SHUFFLED else [stage]
    return [task for item in read for task, weight in item.mixture.items() if weight > 0]


def _read_done(run: RunFolder, stage: str, *fingerprints: str) -> dict[str, Any] | None:
    """Read the note of a finished stage; None unless it is of the same data, settings and parents.

    Raises:
        InputError: its checkpoint is no longer what was written.
    """
    folder, path = run.checkpoint(stage), run.note(stage)
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:  # damaged itself, so that nothing tells which stage the checkpoint is of
        note = {"fingerprint": fingerprints[0]}
    if note.get("fingerprint") not in fingerprints:
        return None
    with FileLock(run.lock):  # the first process reads the files, the others find their hashes noted
        flaw = flaw_of(folder, index=ContentIndex(run.hashes))
    if flaw is not None:
        raise InputError(
            f"{folder}: stage '{stage}' is done, but its checkpoint is damaged: {flaw}. It is not used. To train the "
            f"stage anew, delete it, and run the same command again: rm -r {shlex.quote(str(folder))}"
        )
    return note


def _run_stage(context: StageContext, stage: StageKind, parent: Path, fingerprint: str, older: str) -> float:
    _, world_size = world()
    started = time.monotonic()
    steps = _open_steps(context.folder, stage.name, fingerprint, older)
    rows = stage.draws_from(context)
    set_seed(context.seed)
    model = load_stage_model(parent, context.model, trainable=True, as_stored=context.cuts_weights)
    freeze(model, stage.freeze)
    log = StageLog(stage.name, context.console, context.folder.log, stage.reward_names)
    previous = {number: signal.signal(number, log.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        trainer = stage.train(context, model, rows, steps, [log], world_size)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    trainer.finish_saving()
    if log.signal and trainer.state.global_step < stage.steps:
        raise Interrupted(log.signal)
    seconds = round(time.monotonic() - started, 1)
    watchdog.doing("saving its model")
    folder = context.folder.checkpoint(stage.name)
    with drafting(folder) as draft:
        trainer.on_first(lambda: shutil.rmtree(draft, ignore_errors=True))
        trainer.save_model(str(draft))
        trainer.accelerator.wait_for_everyone()

        def finish() -> None:
            context.reader.processor.save_pretrained(draft)
            note = {"fingerprint": fingerprint, "seconds": seconds, "steps": stage.steps, "torch": torch.__version__}
            (draft / NOTE).write_text(json.dumps(note), encoding="utf-8")
            publish(draft, folder)
            shutil.rmtree(steps, ignore_errors=True)

        trainer.on_first(finish)  # the next stage of every rank starts from this checkpoint
    unset_hf_deepspeed_config()  # under ZeRO-3, whatever is loaded from here on would be split over the ranks
    if log.signal:
        raise Interrupted(log.signal)
    return seconds


def _open_steps(folder: RunFolder, stage: str, fingerprint: str, older: str) -> Path:
    """Return the folder of a stage's trainer checkpoints; delete those of other settings.

    Every process calls this; the first one does the work.
    """
    steps = folder.steps(stage)
    note = steps / "fingerprint"
    with FileLock(folder.lock):
        if not (note.is_file() and note.read_text() in (fingerprint, older)):
            shutil.rmtree(folder.checkpoint(stage), ignore_errors=True)
            shutil.rmtree(steps, ignore_errors=True)
            steps.mkdir(parents=True)
            note.write_text(fingerprint)
    return steps
