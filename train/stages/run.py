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
from torch import nn
from transformers import PreTrainedModel, set_seed
from transformers.integrations import unset_hf_deepspeed_config

from affectgpt.clip import Clip
from affectgpt.inputs.reader import Reader
from affectgpt.model.loading import ADAPTER, load_model
from train.config.sections import LoraSettings, Recipe, StageConfig
from train.fault_tolerance import watchdog
from train.fault_tolerance.checkpoint import drafting, flaw_of, publish
from train.monitor import Console, StageLog
from train.prepare import Prepared, digest
from train.stages.curriculum import batch_by_length, draw_rows
from train.stages.dataset import StageDataset
from train.stages.empathy import rows_with_evidence
from train.stages.packing import draw_packs
from train.stages.sft import run_sft


@dataclass(frozen=True, slots=True)
class StageResult:
    """A finished stage: its checkpoint, how long it took, whether it was found done."""

    stage: StageConfig
    folder: Path
    seconds: float
    reused: bool
    fingerprint: str


class Interrupted(KeyboardInterrupt):
    """A signal, whose number it carries, stopped a stage; its checkpoint is kept."""


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
    per_step = stage.batch_size // stage.generations if stage.kind == "grpo" else stage.batch_size
    return draw_rows(clips, stage.mixture, per_step * stage.steps, seed)


def supervised_items(recipe: Recipe, stage: StageConfig, clips: Sequence[Clip], reader: Reader) -> list[list[int]]:
    """What a supervised stage reads, item by item: rows, or packs of them; indices into `clips`."""
    if stage.packing is not None:
        return draw_packs(stage, clips, reader, int(stream_of(recipe.seed, stage.name).integers(2**31)))
    order = stage_order(recipe, stage, clips)
    distinct = list(dict.fromkeys(order))
    lengths = dict(zip(distinct, reader.lengths([clips[row] for row in distinct]), strict=True))
    # Rows of like length share a batch; how many batches a process sees must not change the order.
    return [[row] for row in batch_by_length(order, lengths, stage.batch_size, recipe.seed)]


def rows_for(recipe: Recipe, stage: StageConfig, prepared: Prepared) -> list[Clip]:
    """The rows that a stage draws from: supervised ones from 'train' and 'text', GRPO from 'rl' where there is one."""
    if stage.kind == "grpo":
        return prepared.clips.get("rl") or prepared.clips["train"]
    rows = [*prepared.clips["train"], *prepared.clips.get("text", [])]
    return rows_with_evidence(recipe, stage, rows) if stage.kind == "empathy" else rows


def load_stage_model(folder: Path, recipe: Recipe, trainable: bool = False) -> PreTrainedModel:
    """The model of a checkpoint as the recipe wants it loaded.

    A language model that is trained in full is trained in float32; under an adapter it is loaded in `model.dtype`.
    """
    lora = recipe.model.lora
    dtype = "float32" if trainable and lora is None else recipe.model.dtype
    model = load_model(folder, dtype, recipe.model.attention, lora.bits if lora else None, trainable)
    if not trainable:
        return model
    if lora is not None and not (folder / ADAPTER).is_file():
        model = add_adapter(model, lora)
    freeze_encoders(model)
    return model


def add_adapter(model: PreTrainedModel, settings: LoraSettings) -> PreTrainedModel:
    """LoRA on every linear layer of the language model alone; what joins the modalities is trained in full."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if settings.bits is not None:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    decoder = decoder_name(model)
    inside = model.get_submodule(decoder).named_modules()
    targets = [f"{decoder}.{name}" for name, module in inside if isinstance(module, nn.Linear)]
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.dora,
        target_modules=targets,
        modules_to_save=getattr(model, "adapter_modules_to_save", None),
        task_type="CAUSAL_LM",
    )
    return cast(PreTrainedModel, get_peft_model(model, config))


def decoder_name(model: Any) -> str:
    """The name under which a model holds its language model."""
    decoder = model.get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder)


def without_adapter(model: Any) -> Any:
    """The model under a LoRA adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def freeze_encoders(model: PreTrainedModel) -> None:
    """Take everything out of training but the language model, its head and what joins the modalities."""
    whole = without_adapter(model)
    joined = tuple(getattr(whole, "adapter_modules_to_save", ()))
    kept = (decoder_name(whole), "lm_head", *joined)
    for name, parameter in whole.named_parameters():
        if not any(f".{part}." in f".{name}" for part in kept):
            parameter.requires_grad_(False)


def freeze(model: PreTrainedModel, parts: Sequence[str]) -> None:
    """Take parts of the model out of training: 'language_model', 'soft_tokens'."""
    whole = without_adapter(model)
    names = {"language_model": (decoder_name(whole), "lm_head"), "soft_tokens": ("soft_tokens",)}
    for name, parameter in whole.named_parameters():
        if any(f".{frozen}." in f".{name}" for part in parts for frozen in names[part]):
            parameter.requires_grad_(False)


def stream_of(seed: int, name: str) -> np.random.Generator:
    """A random stream of its own for every use of a recipe's seed."""
    return np.random.default_rng([seed, int(digest(name), 16) % 2**32])


def run_stages(recipe: Recipe, prepared: Prepared, console: Console) -> Iterator[StageResult]:
    """Run every stage that is not done yet; yields each when its checkpoint is complete.

    Raises:
        Interrupted: Ctrl-C or SIGTERM; calling again goes on from the kept checkpoint.
    """
    parent, fingerprint = prepared.base, prepared.fingerprint
    for stage in planned_stages(recipe):
        console.begin(f"{stage.kind} {stage.name}")
        rewards = [path.read_text(encoding="utf-8") for path in stage.reward_files]
        fingerprint = digest(fingerprint, stage.model_dump(mode="json"), rewards, recipe.curriculum)
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
    """The note of a finished stage, if it is whole, and of the same data, settings and parents."""
    path = folder / "stage.json"
    note = json.loads(path.read_text()) if path.is_file() else {}
    return note if note.get("fingerprint") == fingerprint and flaw_of(folder, read=False) is None else None


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
    clips = rows_for(recipe, stage, prepared)
    set_seed(recipe.seed)
    model = load_stage_model(parent, recipe, trainable=True)
    freeze(model, stage.freeze)
    log = StageLog(stage.name, console, recipe.output / "log.jsonl", list(stage.rewards))
    previous = {number: signal.signal(number, log.interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    trainer: Any
    try:
        if stage.kind != "grpo":
            items = supervised_items(recipe, stage, clips, prepared.reader)
            seed = int(stream_of(recipe.seed, f"{stage.name} dropout").integers(2**31))
            doubt = stage.evidence_dropout, stage.evidence_corruption
            dataset = StageDataset(clips, items, prepared.reader, stage.modality_dropout, seed, doubt)
            trainer = run_sft(recipe, stage, model, dataset, steps, [log], world_size)
        else:
            from train.stages.grpo import run_grpo  # importing TRL takes seconds

            order = stage_order(recipe, stage, clips)
            trainer = run_grpo(recipe, stage, model, clips, order, prepared.reader, steps, [log], world_size)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    trainer.finish_saving()
    if log.signal and trainer.state.global_step < stage.steps:
        raise Interrupted(log.signal)
    seconds = round(time.monotonic() - started, 1)
    watchdog.doing("saving its model")
    with drafting(folder) as draft:
        trainer.on_first(lambda: shutil.rmtree(draft, ignore_errors=True))
        trainer.save_model(str(draft))
        trainer.accelerator.wait_for_everyone()

        def finish() -> None:
            prepared.reader.processor.save_pretrained(draft)
            note = {"fingerprint": fingerprint, "seconds": seconds, "steps": stage.steps, "torch": torch.__version__}
            (draft / "stage.json").write_text(json.dumps(note), encoding="utf-8")
            publish(draft, folder)
            shutil.rmtree(steps, ignore_errors=True)

        trainer.on_first(finish)  # the next stage of every rank starts from this checkpoint
    unset_hf_deepspeed_config()  # under ZeRO-3, whatever is loaded from here on would be split over the ranks
    if log.signal:
        raise Interrupted(log.signal)
    return seconds


def _open_steps(recipe: Recipe, stage: StageConfig, folder: Path, fingerprint: str) -> Path:
    """The folder of a stage's trainer checkpoints, without those of other settings.

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
    return steps
