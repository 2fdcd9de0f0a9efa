"""A whole run: prepare, stages, scores after each of them, report."""

from __future__ import annotations

import importlib.util
import json
import logging
import netrc
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from filelock import FileLock, Timeout

from affectgpt.problems import InputError, RunError
from train.config.recipe_file import save_recipe
from train.config.sections import Recipe
from train.fault_tolerance.watchdog import Watchdog, is_broken_connection
from train.hub.background import BackgroundPush
from train.hub.client import require_access
from train.monitor import Console, MemoryMeter
from train.prepare import prepare
from train.results import finish, score_stage, summary
from train.stages.empathy import require_rows
from train.stages.run import planned_stages, run_stages, world

GUESS_S = {"sft": 0.25, "grpo": 2.5, "empathy": 0.4}
"""Seconds a step may take on a laptop, for the first estimate of the time left."""


def plan_of(recipe: Recipe) -> dict[str, float]:
    """The steps of a run, with a guess of their seconds."""
    plan = {"data": 60.0, "media": 25.0}
    for stage in planned_stages(recipe):
        plan[f"{stage.kind} {stage.name}"] = GUESS_S[stage.kind] * stage.steps
        plan[f"score {stage.name}"] = 10.0
    return {**plan, "report": 5.0}


def run_recipe(recipe: Recipe) -> dict[str, Any] | None:
    """Run a recipe from wherever an earlier run of it stopped; returns the report, None on ranks other than the first.

    Raises:
        InputError: bad data, stages that could not be published where they are to be, or another run in the folder;
            before any training.
        KeyboardInterrupt: stopped by the user; the message how to go on has been printed.
        RunError: it cannot go on, or another of its processes is gone.
    """
    quiet_libraries()
    try:
        with ExitStack() as closing:
            closing.enter_context(_alone_in(recipe.output))
            closing.enter_context(Watchdog(recipe.output, *world(), recipe.hang_s))
            return _run(recipe, closing.enter_context(MemoryMeter()), closing)
    except RuntimeError as error:
        if is_broken_connection(error):
            raise RunError(
                "The connection to another process broke; the watchdog's line says which, and why. "
                "The same command goes on from what was saved."
            ) from error
        raise


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other runs out of a run folder; a run that was killed does not.

    Raises:
        InputError: another run is going on there.
    """
    if world()[0] != 0:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".running", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another run is going on there. Wait for its end, or name another folder: output=..."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _run(recipe: Recipe, memory: MemoryMeter, closing: ExitStack) -> dict[str, Any] | None:
    rank, _ = world()
    if recipe.wandb:
        set_up_wandb(recipe)
    if recipe.hub is not None and rank == 0:
        require_access()
    if recipe.threads:
        torch.set_num_threads(recipe.threads)
    console = Console(plan_of(recipe), quiet=rank != 0)
    started = time.monotonic()
    prepared = prepare(recipe, console)
    require_rows(recipe, prepared.clips["train"])
    publish = None
    if rank == 0:
        save_recipe(recipe, recipe.output / "recipe.yaml")
        if recipe.hub is not None:
            publish = closing.enter_context(BackgroundPush(recipe, prepared.base, console.say))
    entries, results = [], []
    try:
        for result in run_stages(recipe, prepared, console):
            results.append(result)
            if rank == 0:
                console.begin(f"score {result.stage.name}")
                entries.append(score_stage(recipe, prepared, result, console))
                console.done(_headline(entries[-1]))
                if publish is not None:
                    publish(result, summary(recipe, prepared, entries))
    except KeyboardInterrupt:
        console.say(f"Stopped. Go on with: affectgpt train {recipe.output / 'recipe.yaml'}")
        raise
    if rank != 0:
        return None
    console.begin("report")
    page = finish(recipe, prepared, results, entries, time.monotonic() - started, memory)
    console.done(str(page))
    report: dict[str, Any] = json.loads((recipe.output / "report.json").read_text())
    return report


def _headline(entry: dict[str, Any]) -> str:
    metrics = entry["metrics"]
    if entry["kind"] == "empathy":
        names = {"accuracy_plugin": "with plugins", "accuracy_no_plugin": "without"}
        return ", ".join(
            f"emotion {metrics[name]['value']:.2f} {text}" for name, text in names.items() if name in metrics
        )
    shown = [
        f"{short} {metrics[name]['value']:.2f}"
        for name, short in (
            ("attribute_accuracy", "attributes"),
            ("expression_accuracy", "expressions"),
            ("emotion_uar", "emotion UAR"),
            ("tree_similarity", "tree"),
        )
        if metrics.get(name) and metrics[name]["value"] is not None
    ]
    return ", ".join(shown)


def set_up_wandb(recipe: Recipe) -> None:
    """Keep wandb's files in the run folder; log offline unless the user is logged in."""
    if importlib.util.find_spec("wandb") is None:
        raise InputError("wandb: true needs the package. Install it with: pip install -c constraints.txt -e '.[wandb]'")
    recipe.output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("WANDB_DIR", str(recipe.output))
    os.environ.setdefault("WANDB_PROJECT", "affectgpt")
    try:
        logged_in = netrc.netrc().authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        logged_in = False
    if not logged_in and not os.environ.get("WANDB_API_KEY"):
        os.environ.setdefault("WANDB_MODE", "offline")


def quiet_libraries() -> None:
    """Keep the libraries' progress bars and notices off the console; what matters is said by ours."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not torch.accelerator.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # else DeepSpeed warns that it found nothing better
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
