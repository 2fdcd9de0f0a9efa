"""Runs the stages of a recipe, each from the checkpoint of the one before, and skips those whose result is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from filelock import FileLock
from transformers import AutoModelForImageTextToText, PreTrainedModel, set_seed
from transformers.integrations import unset_hf_deepspeed_config

from affectgpt.clip import Clip
from train.config import Recipe, StageConfig
from train.data import StageDataset
from train.monitor import Console, StageLog, forget_stage
from train.prepare import Prepared, digest
from train.sft import newest_checkpoint, run_sft
from videmo.curriculum import batch_by_length, draw_rows


@dataclass(frozen=True, slots=True)
class StageResult:
    """A finished stage: its checkpoint, how long it took, whether it was found done."""

    stage: StageConfig
    folder: Path
    seconds: float
    reused: bool
    fingerprint: str


class Interrupted(KeyboardInterrupt):
    """The user stopped a stage; its checkpoint is kept."""


def world() -> tuple[int, int]:
    """Rank of this process and number of processes, as the launcher set them."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def planned_stages(recipe: Recipe) -> list[StageConfig]:
    """The stages as they run. Without a curriculum, the supervised ones are one stage of the same rows, shuffled."""
    supervised = [stage for stage in recipe.stages if stage.kind == "sft"]
    if recipe.curriculum or len(supervised) < 2:
        return list(recipe.stages)
    merged = supervised[-1].model_copy(
        update={
            "name": "shuffled",
            "steps": sum(stage.steps for stage in supervised),
            "learning_rate": max(stage.learning_rate for stage in supervised),
        }
    )
    return [merged, *(stage for stage in recipe.stages if stage.kind != "sft")]


def stage_order(recipe: Recipe, stage: StageConfig, clips: Sequence[Clip]) -> list[int]:
    """Which rows a stage reads, in order: indices into `clips`."""
    if stage.name == "shuffled" and not recipe.curriculum:
        supervised = [item for item in recipe.stages if item.kind == "sft"]
        rows = [row for item in supervised for row in stage_order(recipe, item, clips)]
        return stream_of(recipe.seed, "shuffled").permutation(rows).tolist()
    seed = int(stream_of(recipe.seed, stage.name).integers(2**31))
    per_step = stage.batch_size if stage.kind == "sft" else stage.batch_size // stage.generations
    return draw_rows(clips, stage.mixture, per_step * stage.steps, seed)


def rows_for(stage: StageConfig, prepared: Prepared) -> list[Clip]:
    """The rows that a stage draws from: supervised ones from 'train' and 'text', GRPO from 'rl' where there is one."""
    if stage.kind == "grpo":
        return prepared.clips.get("rl") or prepared.clips["train"]
    return [*prepared.clips["train"], *prepared.clips.get("text", [])]


def load_model(folder: Path, recipe: Recipe, trainable: bool = False) -> PreTrainedModel:
    """The model of a checkpoint folder: a whole model, or a LoRA adapter on the one it was made from."""
    if (folder / "adapter_config.json").is_file():
        from peft import PeftModel

        settings = json.loads((folder / "adapter_config.json").read_text())
        base = AutoModelForImageTextToText.from_pretrained(settings["base_model_name_or_path"])
        adapted: Any = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
        return cast(PreTrainedModel, adapted)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    if trainable and recipe.model.lora is not None:
        return add_adapter(model, recipe)
    return model


def add_adapter(model: PreTrainedModel, recipe: Recipe) -> PreTrainedModel:
    """LoRA on every linear layer of the language model alone; what joins the modalities is trained in full."""
    from peft import LoraConfig, get_peft_model

    assert recipe.model.lora is not None
    config = LoraConfig(
        r=recipe.model.lora.r,
        lora_alpha=recipe.model.lora.alpha,
        lora_dropout=recipe.model.lora.dropout,
        target_modules=r".*language_model.*\.(q|k|v|o|gate|up|down)_proj",
        modules_to_save=["soft_tokens"],
        task_type="CAUSAL_LM",
    )
    return cast(PreTrainedModel, get_peft_model(model, config))


def freeze(model: PreTrainedModel, parts: Sequence[str]) -> None:
    """Take parts of the model out of training: 'language_model', 'soft_tokens'."""
    for name, parameter in model.named_parameters():
        if any(f".{part}." in f".{name}" for part in parts) or ("language_model" in parts and "lm_head" in name):
            parameter.requires_grad_(False)


def stream_of(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for every use of a recipe's seed."""
    return np.random.default_rng([seed, int(digest(name), 16) % 2**32])


def run_stages(recipe: Recipe, prepared: Prepared, console: Console) -> Iterator[StageResult]:
    """Run every stage that is not done yet; yields each when its checkpoint is complete.

    Raises:
        Interrupted: the user pressed Ctrl-C; calling again goes on from the kept checkpoint.
    """
    parent, fingerprint = prepared.base, prepared.fingerprint
    for stage in planned_stages(recipe):
        console.begin(f"{stage.kind} {stage.name}")
        fingerprint = digest(fingerprint, stage.model_dump(mode="json"), recipe.curriculum)
        folder = recipe.output / "checkpoints" / stage.name
        done = _read_done(folder, fingerprint)
        if done is None:
            seconds = _run_stage(recipe, stage, prepared, parent, folder, fingerprint, console)
            console.done(f"{stage.steps} steps")
            yield StageResult(stage, folder, seconds, False, fingerprint)
        else:
            console.done("unchanged, reused")
            yield StageResult(stage, folder, done["seconds"], True, fingerprint)
        parent = folder


def _read_done(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The note of a finished stage, if it is of the same data, settings and parents."""
    path = folder / "stage.json"
    note = json.loads(path.read_text()) if path.is_file() else {}
    return note if note.get("fingerprint") == fingerprint else None


def _run_stage(
    recipe: Recipe,
    stage: StageConfig,
    prepared: Prepared,
    parent: Path,
    folder: Path,
    fingerprint: str,
    console: Console,
) -> float:
    _, world_size = world()
    started = time.monotonic()
    steps = _open_steps(recipe, stage, folder, fingerprint)
    clips = rows_for(stage, prepared)
    order = stage_order(recipe, stage, clips)
    set_seed(recipe.seed)
    model = load_model(parent, recipe, trainable=True)
    freeze(model, stage.freeze)
    log = StageLog(stage.name, console, recipe.output / "log.jsonl", list(stage.rewards))
    previous = signal.signal(signal.SIGINT, log.interrupt)
    try:
        if stage.kind == "sft":
            dataset = StageDataset(clips, order, prepared.reader)
            # Rows of like length share a batch; how many batches a process sees must not change the order.
            dataset.order = batch_by_length(order, dataset.lengths, stage.batch_size, recipe.seed)
            trainer = run_sft(recipe, stage, model, dataset, steps, [log], world_size)
        else:
            from train.grpo import run_grpo  # importing TRL takes seconds

            trainer = run_grpo(recipe, stage, model, clips, order, prepared.reader, steps, [log], world_size)
    finally:
        signal.signal(signal.SIGINT, previous)
    if log.interrupted:
        raise Interrupted
    trainer.save_model(str(folder))
    seconds = round(time.monotonic() - started, 1)
    if trainer.is_world_process_zero():
        prepared.reader.processor.save_pretrained(folder)
        note = {"fingerprint": fingerprint, "seconds": seconds, "steps": stage.steps, "torch": torch.__version__}
        draft = folder / "stage.json.part"
        draft.write_text(json.dumps(note))
        os.replace(draft, folder / "stage.json")
        shutil.rmtree(steps, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()  # the next stage of every rank starts from this checkpoint
    unset_hf_deepspeed_config()  # under ZeRO-3, whatever is loaded from here on would be split over the ranks
    return seconds


def _open_steps(recipe: Recipe, stage: StageConfig, folder: Path, fingerprint: str) -> Path:
    """The folder of a stage's trainer checkpoints, without those of other settings and without later log lines.

    Every process calls this; the first one to come does it.
    """
    steps = folder.with_name(f"{stage.name}.steps")
    mark = steps / "fingerprint"
    with FileLock(recipe.output / ".lock"):
        if not (mark.is_file() and mark.read_text() == fingerprint):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(steps, ignore_errors=True)
            steps.mkdir(parents=True)
            mark.write_text(fingerprint)
        last = newest_checkpoint(steps)
        forget_stage(recipe.output / "log.jsonl", stage.name, int(last.rsplit("-", 1)[1]) if last else 0)
    return steps
