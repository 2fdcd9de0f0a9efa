"""A whole run: prepare, stages, scores after each of them, report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from filelock import FileLock, Timeout

from affectgpt.problems import InputError, RunError
from eval.report.glossary import taught_metrics
from train.fault_tolerance.watchdog import Watchdog, is_broken_connection
from train.hub.background import BackgroundPush
from train.hub.client import require_access
from train.libraries import quiet_libraries, set_up_wandb
from train.monitor import Console, MemoryMeter
from train.plan.estimate import split_batches
from train.prepare import context_of, prepare
from train.recipe import Recipe
from train.recipe_file import save_recipe
from train.results import finish, summary
from train.run_folder import RunFolder
from train.stages.kind import StageKind
from train.stages.run import require_rows, run_stages, world


def plan_of(stages: Sequence[StageKind]) -> dict[str, float]:
    """Return the steps of a run with their estimated seconds."""
    plan = {"data": 60.0, "media": 25.0}
    for stage in stages:
        plan[f"{stage.kind} {stage.name}"] = stage.seconds_per_step * stage.steps
        plan[f"score {stage.name}"] = 10.0
    return {**plan, "report": 5.0}


def run_recipe(recipe: Recipe) -> dict[str, Any] | None:
    """Run a recipe, resuming an earlier run of it; return the report, None on ranks other than the first.

    Raises:
        InputError: bad data, stages that could not be published, or another run in the folder; before any training.
        KeyboardInterrupt: stopped by the user; the message how to resume has been printed.
        RunError: the run cannot go on, or another of its processes is gone.
    """
    quiet_libraries()
    try:
        with ExitStack() as closing:
            closing.enter_context(_alone_in(recipe.folder))
            closing.enter_context(Watchdog(recipe.output, *world(), recipe.hang_s))
            return _run(recipe, closing.enter_context(MemoryMeter()), closing)
    except RuntimeError as error:
        if is_broken_connection(error):
            raise RunError(
                "The connection to another process broke; the watchdog's message above names it. "
                "Run the same command to resume from the last checkpoint."
            ) from error
        raise


@contextmanager
def _alone_in(folder: RunFolder) -> Iterator[None]:
    """Lock a run folder against other runs; the lock of a killed run does not last.

    Raises:
        InputError: another run is under way there.
    """
    if world()[0] != 0:
        yield
        return
    folder.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.running, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder.path}: another run is under way there. Wait until it ends, or name another folder: output=..."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _run(recipe: Recipe, memory: MemoryMeter, closing: ExitStack) -> dict[str, Any] | None:
    rank, processes = world()
    split_batches(recipe.planned, processes)
    if recipe.wandb:
        set_up_wandb(recipe.output)
    if recipe.hub is not None and rank == 0:
        require_access()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    console = Console(plan_of(recipe.planned), quiet=rank != 0)
    started = time.monotonic()
    prepared = prepare(recipe, console)
    context = context_of(recipe, prepared, console)
    require_rows(recipe.stages, prepared.clips["train"])
    publish = None
    if rank == 0:
        save_recipe(recipe, recipe.folder.recipe)
        if recipe.hub is not None:
            adapted = prepared.starting_model if recipe.model.lora is not None else None
            publish = closing.enter_context(BackgroundPush(recipe.hub, recipe.folder, adapted, console.say))
    entries, results = [], []
    try:
        for result in run_stages(
            context,
            recipe.planned,
            prepared.starting_model,
            prepared.fingerprint,
            prepared.v0_1_0,
            recipe.curriculum,
        ):
            results.append(result)
            if rank == 0:
                console.begin(f"score {result.stage.name}")
                entries.append(result.stage.score(context, result))
                console.done(result.stage.headline(taught_metrics(entries[-1])))
                if publish is not None:
                    publish(result, summary(recipe, prepared, context, entries))
    except KeyboardInterrupt:
        console.say(f"Stopped. Resume with: affectgpt train {recipe.folder.recipe}")
        raise
    if rank != 0:
        return None
    console.begin("report")
    page = finish(recipe, prepared, context, results, entries, time.monotonic() - started, memory)
    console.done(str(page))
    report: dict[str, Any] = json.loads(recipe.folder.report.read_text())
    return report
