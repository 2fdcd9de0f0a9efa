"""Cost of a recipe before it runs: parameters, tokens, and the memory of every stage on each GPU."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    PreTrainedConfig,
)

from affectgpt.model import AffectGPTConfig
from affectgpt.model.clip_encoder import PARTS
from affectgpt.model.encoders import family_of, tower_config
from affectgpt.model.gguf import located
from affectgpt.model.loading import reads_text_alone
from affectgpt.problems import InputError, nearest
from data_recipes.synthetic.towers import WEIGHTS
from train.config.model import ModelConfig
from train.model_setup import add_adapter, decoder_name, freeze, freeze_encoders, without_adapter
from train.plan.memory import GB, STRATEGIES, Batch, Decoder, Training, Weights, host_memory, memory_of
from train.recipe import Recipe
from train.stages.kind import StageKind
from train.tiny_model import tiny_config

MARGIN = 0.1
"""Share of a GPU that is kept free: CUDA's own memory, fragmentation, and the passes of a vision tower."""
TEXT_TOKENS = 256
"""Default tokens of a row's prompt and answer, without its media."""
FRAME_PIXELS = 768 * 28 * 28
"""Pixels of a frame if a recipe sets no `max_pixels`: the limit of Qwen2.5-VL's video processor."""
GROUPS = ("language_model", "head", "soft_tokens", "lora", "encoders")


@dataclass(frozen=True, slots=True)
class Machine:
    """Machine of a run: number of nodes, GPUs per node, bytes per GPU."""

    gpus: int = 1
    nodes: int = 1
    gpu_bytes: float = 80 * GB

    @property
    def processes(self) -> int:
        """Number of processes, one for each GPU."""
        return self.gpus * self.nodes


def make_plan(recipe: Recipe, machine: Machine, tokens_per_row: int | None = None) -> dict[str, Any]:
    """Return the plan of a recipe, ready for JSON: numbers of parameters and tokens, memory in MB.

    Args:
        tokens_per_row: prompt and answer of a supervised row that is not packed, prompt of one of GRPO; estimated when
            None.

    Raises:
        InputError: batches do not split over the processes (every stage is named), or a configuration is not
            available.
    """
    stages = recipe.planned
    shares = split_batches(stages, machine.processes)
    config = config_of(recipe.model)
    towers = tower_parameters(config)
    loaded = recipe.data.features == "online"
    return {
        "title": recipe.title,
        "machine": {
            "gpus": machine.gpus,
            "nodes": machine.nodes,
            "gpu_memory_mb": machine.gpu_bytes / 1e6,
            "margin": MARGIN,
        },
        "towers": {"parameters": towers, "loaded": loaded},
        "assumed_text_tokens": None if tokens_per_row else TEXT_TOKENS,
        "stages": [
            plan_stage(recipe, stage, share, config, machine, tokens_per_row, 4.0 * sum(towers.values()) * loaded)
            for stage, share in zip(stages, shares, strict=True)
        ],
    }


def split_batches(stages: Sequence[StageKind], processes: int) -> list[int]:
    """Return the rows of a micro-batch of every stage, split as in training.

    Raises:
        InputError: batches do not split over the processes; every stage is named.
    """
    shares, problems = [], []
    for stage in stages:
        try:
            shares.append(stage.rows_per_process(processes))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return shares


def plan_stage(
    recipe: Recipe,
    stage: StageKind,
    rows: int,
    config: PreTrainedConfig,
    machine: Machine,
    tokens_per_row: int | None,
    towers: float,
) -> dict[str, Any]:
    """Return the plan of one stage."""
    model = build_model(config, recipe.model, stage)
    parameters = count_parameters(model)
    job = training_of(model, recipe.model, stage)
    needs = stage.memory_needs
    prompt = needs.row_tokens or tokens_per_row or TEXT_TOKENS + media_tokens(config, recipe.model)
    batch = Batch(rows, prompt, needs.completion_tokens, rows * stage.accumulation if needs.generates else 0)
    options = []
    for strategy in STRATEGIES:
        items = memory_of(job, batch, strategy, machine.processes, towers)
        options.append(
            {
                "strategy": strategy.title,
                "deepspeed": strategy.config,
                "memory_mb": {name: round(value / 1e6, 1) for name, value in items.items()},
                "host_mb": round(host_memory(job, strategy, machine.processes, machine.gpus) / 1e6, 1),
                "fits": items["peak"] <= (1 - MARGIN) * machine.gpu_bytes,
            }
        )
    return {
        "name": stage.name,
        "kind": stage.kind,
        "steps": stage.steps,
        "parameters": parameters,
        "rows_per_process": rows,
        "accumulation": stage.accumulation,
        "tokens_per_row": prompt + batch.completion,
        "tokens_per_step": stage.batch_size * (prompt + batch.completion),
        "options": options,
        "advice": advise(recipe, stage, options, rows),
    }


def config_of(settings: ModelConfig) -> PreTrainedConfig:
    """Return the configuration of a recipe's model: from the recipe, a local folder, or the cache of the Hub.

    Raises:
        InputError: it is in none of them; the message says what to add to the recipe.
    """
    if settings.parts is not None:
        given = settings.parts
        sources = {"llm": given.llm, "vision": given.vision, "audio": given.audio}
        found: dict[str, Any] = {
            part: _config(source, given.configs.get(part), given.revisions.get(part), f"model.parts.configs.{part}")  # type: ignore[call-overload]
            for part, source in sources.items()
            if source is not None
        }
        towers: dict[str, Any] = {f"{part}_config": tower_config(found[part]) for part in PARTS if part in found}
        return AffectGPTConfig(text_config=found["llm"], **towers, **settings.fusion_settings())
    if settings.path is not None:
        config = _config(settings.path, settings.config, None, "model.config")
        return getattr(config, "thinker_config", config)
    assert settings.tiny is not None
    # Its vocabulary comes from its rows: the recipe's size is the most that it can be.
    embedded: dict[str, PreTrainedConfig] = {
        part: tower_config(_config(str(WEIGHTS / part), None, None, "model.tiny")) for part in PARTS
    }
    return tiny_config(settings, settings.tiny.vocab_size, embedded)


def _config(source: str, facts: dict[str, Any] | None, revision: str | None, place: str) -> PreTrainedConfig:
    if facts is not None:
        kind = str(facts.get("model_type"))
        if kind not in CONFIG_MAPPING:
            raise InputError(
                f"{place}.model_type: expected one of transformers', got {kind!r}. {nearest(kind, CONFIG_MAPPING)}"
            )
        return CONFIG_MAPPING[kind](**facts)
    where, file = located(source)
    try:
        return cast(
            PreTrainedConfig,
            AutoConfig.from_pretrained(
                where, revision=revision, local_files_only=True, trust_remote_code=False, **file
            ),
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"{source}: expected its configuration in the recipe ({place}), a folder or the Hub cache, found none "
            f"({reason}). Add it to the recipe, or fetch it once: hf download {source} config.json"
        ) from None


def build_model(config: PreTrainedConfig, settings: ModelConfig, stage: StageKind) -> Any:
    """Build the model of a stage without weights (on the meta device), adapted and frozen as in training."""
    with torch.device("meta"):
        kind: Any = AutoModelForCausalLM if reads_text_alone(config) else AutoModelForMultimodalLM
        model: Any = kind.from_config(config, trust_remote_code=False)
        if settings.lora is not None:
            model = add_adapter(model, settings.lora.model_copy(update={"bits": None}))
    freeze_encoders(model)
    freeze(model, stage.freeze)
    return model


def tower_parameters(config: PreTrainedConfig) -> dict[str, int]:
    """Count the parameters of the frozen towers of an AffectGPT; a video-language model holds its own."""
    counts = {}
    for part in PARTS if isinstance(config, AffectGPTConfig) else ():
        tower = getattr(config, f"{part}_config")
        if tower is not None:
            build: Any = family_of(tower).architecture or AutoModel.from_config
            with torch.device("meta"):
                counts[part] = sum(parameter.numel() for parameter in build(tower).parameters())
    return counts


def count_parameters(model: Any) -> dict[str, Any]:
    """Count parameters: 'total', 'trained', and both of every part; an adapter's untrained originals are left out."""
    whole = without_adapter(model)
    decoder = decoder_name(whole)
    parts = {group: {"total": 0, "trained": 0} for group in GROUPS}
    for name, parameter in whole.named_parameters():
        if ".original_module." in name:
            continue
        if "lora_" in name:
            group = "lora"
        elif ".soft_tokens." in f".{name}":
            group = "soft_tokens"
        elif name.startswith("lm_head."):
            group = "head"
        else:
            group = "language_model" if name.startswith(f"{decoder}.") else "encoders"
        parts[group]["total"] += parameter.numel()
        parts[group]["trained"] += parameter.numel() * parameter.requires_grad
    return {
        "total": sum(part["total"] for part in parts.values()),
        "trained": sum(part["trained"] for part in parts.values()),
        "parts": {group: part for group, part in parts.items() if part["total"]},
    }


def training_of(model: Any, settings: ModelConfig, stage: StageKind) -> Training:
    """Return the properties of a stage's model that the formulas need."""
    lora, whole = settings.lora, without_adapter(model)
    frozen_size = 4.0 if lora is None or settings.dtype == "float32" else 2.0
    packed = 0.0
    if lora is not None and lora.bits is not None:
        frozen_size, packed = 4.0, lora.bits / 8  # what is not quantised is cast to float32
    parts = count_parameters(model)["parts"]
    embedding, head = whole.get_input_embeddings(), whole.get_output_embeddings()
    tied = head.weight is embedding.weight
    weights = Weights.of(whole.named_parameters(), frozen_size, packed)
    if lora is not None:
        kept = weights.trained
    else:
        kept = sum(part["total"] for group, part in parts.items() if group != "encoders")
        kept -= 0 if tied else embedding.weight.numel()  # which is looked up, not multiplied with
    return Training(
        decoder=Decoder.of(whole.config.get_text_config()),
        weights=weights,
        lora=lora,
        in_full=parts["language_model"]["trained"] > 0,
        trained_head=sum(item.numel() for item in head.parameters() if item.requires_grad),
        cast=kept,
        checkpointing=stage.gradient_checkpointing,
        eager=settings.attention == "eager",
        reference=stage.memory_needs.reference,
    )


def media_tokens(config: PreTrainedConfig, settings: ModelConfig) -> int:
    """Return the tokens of a clip's pictures and sound: soft tokens, or the merged patches of frames of maximum size;
    0 for a language model that reads text only.

    Raises:
        InputError: a video-language model that is not one of Qwen's.
    """
    if isinstance(config, AffectGPTConfig):
        named = {"video": ("face", "frame"), "audio": ("audio",), "text": ()}
        streams = {stream for name in settings.inputs for stream in named[name]}
        both = "video" in settings.inputs and "audio" in settings.inputs
        return sum(count for name, count in config.num_tokens.items() if name in streams or (name == "multi" and both))
    if "video" not in settings.inputs or reads_text_alone(config):
        return 0
    vision: Any = getattr(config, "vision_config", None)
    if not all(hasattr(vision, name) for name in ("patch_size", "spatial_merge_size", "temporal_patch_size")):
        raise InputError(
            f"{settings.path}: expected patch sizes in the vision part of its configuration, a {config.model_type} has "
            "none. Say how many tokens a row has: --tokens-per-row N"
        )
    pixels = (vision.patch_size * vision.spatial_merge_size) ** 2
    pictures = math.ceil(settings.num_frames / vision.temporal_patch_size)
    return pictures * ((settings.max_pixels or FRAME_PIXELS) // pixels)


def advise(recipe: Recipe, stage: StageKind, options: list[dict[str, Any]], rows: int) -> str:
    """Return a sentence: how the stage fits, or what takes the most memory and what would help."""
    own = own_option(recipe, options)
    if own["fits"]:
        return f"fits as it stands ({own['strategy']})"
    item, remedy = _remedy(recipe, stage, own, rows)
    short = f"{own['strategy']} needs {own['memory_mb']['peak'] / 1e3:.0f} GB, most of it for {item}"
    if fitting := [option for option in options if option["fits"]]:
        better = f"deepspeed={fitting[0]['deepspeed']}" if fitting[0]["deepspeed"] else "leave 'deepspeed' out"
        return f"{short}; {fitting[0]['strategy']} fits: {better}. Or: {remedy}"
    least = min(options, key=lambda option: option["memory_mb"]["peak"])
    item, remedy = _remedy(recipe, stage, least, rows)
    peak = least["memory_mb"]["peak"] / 1e3
    needs = f"{least['strategy']} needs the least memory, {peak:.0f} GB"
    return f"does not fit on this machine; {needs}, most of it for {item}; {remedy}"


def own_option(recipe: Recipe, options: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the option that the recipe's `deepspeed` asks for."""
    named = {Path(option["deepspeed"]).name: option for option in options if option["deepspeed"]}
    return named.get(recipe.deepspeed.name, options[0]) if recipe.deepspeed else options[0]


def _remedy(recipe: Recipe, stage: StageKind, option: dict[str, Any], rows: int) -> tuple[str, str]:
    memory = option["memory_mb"]
    item = max((name for name in memory if name != "peak"), key=lambda name: memory[name])
    setting = f"stages.{stage.name}"
    fewer = f"{setting}.accumulation={2 * stage.accumulation}" if rows > 1 else "shorter rows"
    smaller = "model.lora.r=16" if recipe.model.lora is None else "model.lora.bits=4, or more GPUs"
    remedies = {
        "activations": fewer if stage.gradient_checkpointing else f"{setting}.gradient_checkpointing=true",
        "logits": fewer,
        "rollout": f"{setting}.batch_size={stage.batch_size // 2}, or more GPUs",
        "towers": "data.features=stored",
        "reference": f"{setting}.beta=0",
    }
    return item, remedies.get(item, smaller)
