"""The weights that AffectGPT's authors released, mapped to the names and shapes of our modules.

Shapes: K soft tokens, H width of a Q-Former, r rank of LoRA.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.modeling import build_soft_tokens
from affectgpt.problems import InputError, Problem

State = Mapping[str, Tensor]

SETTINGS: dict[str, Any] = {
    "visual": "face",
    "share_visual": True,
    "num_frames": 8,
    "vision_pooling": "pooled",
    "num_audio_windows": 8,
    "audio_layers": [-4, -3, -2, -1],
    "audio_sampling": "windows",
    "audio_window_s": 2.0,
}
"""Settings of `AffectGPTConfig` that all released models share."""

_MODULES = {
    "video_attention_mlp": "pool.visual.score",
    "audio_attention_mlp": "pool.audio.score",
    "affectgpt_proj": "project.visual",
    "audio_llama_proj": "project.audio",
    "multi_llama_proj": "project.multi",
    "multi_video_embs": "fuse.project_video",
    "multi_audio_embs": "fuse.project_audio",
    "attention_mlp": "fuse.mix",
    "fc_att": "fuse.weigh",
    "video_query_tokens": "pool.visual.queries",
    "audio_query_tokens": "pool.audio.queries",
    "multi_query_tokens": "fuse.pool.queries",
    "video_frame_position_embedding": "pool.visual.position",
    "audio_position_embedding": "pool.audio.position",
    "multi_position_embedding": "fuse.pool.position",
    "video_Qformer": "pool.visual.qformer",
    "audio_Qformer": "pool.audio.qformer",
    "multi_Qformer": "fuse.pool.qformer",
}
"""Modules of `SoftTokens` by their name in the released weights."""
_INSIDE_QFORMER = (
    (re.compile(r"^bert\.embeddings\.LayerNorm\."), "layernorm."),
    (re.compile(r"^bert\.(encoder\.layer\.\d+\.(?:cross)?attention)\.self\."), r"\1.attention."),
    (re.compile(r"^bert\."), ""),
)
_LORA = re.compile(r"^llama_model\.base_model\.model\.model\.(layers\.\d+\..+)\.lora_([AB])\.(?:default\.)?weight$")
_UNUSED = re.compile(r"^(?:visual_encoder|acoustic_encoder)\.|^image_|_Qformer\.bert\.embeddings\.position_ids$")
"""Pattern of unused weights: frozen towers, which are loaded from their own releases; single images; position ids."""


@dataclass(slots=True)
class Converted:
    """Released weights under the names of our modules."""

    soft_tokens: dict[str, Tensor] = field(default_factory=dict)
    lora: dict[str, Tensor] = field(default_factory=dict)
    """LoRA weights, (r, in) or (out, r), by module of the language model and '.lora_A' or '.lora_B'."""
    dropped: list[str] = field(default_factory=list)
    """Released names of unused weights."""
    unknown: list[str] = field(default_factory=list)
    """Released names of unexpected weights."""
    theirs: dict[str, str] = field(default_factory=dict)
    """Released name of each weight, by our name."""

    @property
    def rank(self) -> int:
        """Rank r of LoRA."""
        return len(next(value for name, value in self.lora.items() if name.endswith("lora_A")))

    @property
    def targets(self) -> list[str]:
        """Modules of the language model that LoRA adapts."""
        return list(dict.fromkeys(name.rpartition(".")[0] for name in self.lora))


def settings_of(state: State) -> dict[str, Any]:
    """Return the configuration settings of a released model: `SETTINGS`, and its variant, read off the weights' names.

    Raises:
        InputError: a variant that this model does not have.
    """
    modules = {name.partition(".")[0] for name in state}

    def kind(stream: str, scores: str) -> str | None:
        if f"{stream}_query_tokens" in modules:
            return "qformer"
        return "attention_paper" if scores in modules else None

    pooling = {stream: kind(stream, f"{stream}_attention_mlp") or "mean" for stream in ("video", "audio")}
    if len(set(pooling.values())) > 1:
        raise InputError(
            f"the checkpoint pools video by {pooling['video']} and audio by {pooling['audio']}; expected the same "
            "pooling for both, which is all that this model supports."
        )
    queries = {
        ours: state[f"{theirs}_query_tokens"].shape
        for ours, theirs in (("face", "video"), ("audio", "audio"), ("multi", "multi"))
        if f"{theirs}_query_tokens" in state
    }
    settings = SETTINGS | {"pooling": pooling["video"], "fusion": kind("multi", "attention_mlp") or "none"}
    if queries:
        settings["num_tokens"] = {name: int(shape[1]) for name, shape in queries.items()}
        settings["qformer_hidden_size"] = int(next(iter(queries.values()))[-1])
    return settings


def rename(state: State) -> Converted:
    """Sort released weights by type, under our names."""
    result = Converted()
    for name, value in state.items():
        if _UNUSED.search(name):
            result.dropped.append(name)
        elif lora := _LORA.match(name):
            ours = f"{lora[1]}.lora_{lora[2]}"
            result.lora[ours], result.theirs[ours] = value, name
        else:
            module, _, rest = name.partition(".")
            if module not in _MODULES:
                result.unknown.append(name)
                continue
            if module.endswith("_Qformer"):
                for pattern, replacement in _INSIDE_QFORMER:
                    rest = pattern.sub(replacement, rest)
            ours = ".".join(filter(None, (_MODULES[module], rest)))
            result.soft_tokens[ours], result.theirs[ours] = value, name
    return result


def convert(state: State, config: AffectGPTConfig) -> Converted:
    """Convert released weights to those of a model's modules.

    Args:
        config: configuration of the target model.

    Raises:
        InputError: lists all weights that are missing, unexpected, or of another shape than the model's.
    """
    result = rename(state)
    with torch.device("meta"):
        soft_tokens = {name: value.shape for name, value in build_soft_tokens(config).state_dict().items()}
        language_model = AutoModel.from_config(config.text_config, trust_remote_code=False)
    problems = [Problem("the checkpoint", name, "only known weights", "one more") for name in result.unknown]
    if not result.lora:
        problems.append(Problem("the checkpoint", "llama_model", "LoRA weights of the language model", "none"))
    for weights, expected in (
        (result.soft_tokens, soft_tokens),
        (result.lora, _lora_shapes(result, language_model) if result.lora else {}),
    ):
        for name in expected.keys() - weights.keys():
            problems.append(Problem("the checkpoint", f"weights for {name}", f"shape {tuple(expected[name])}", "none"))
        for name, value in weights.items():
            shape = tuple(expected[name]) if name in expected else None
            if shape != tuple(value.shape):
                wanted = f"shape {shape}" if shape else "nothing: this model has no such part"
                where = f"{result.theirs[name]} (ours: {name})"
                problems.append(Problem("the checkpoint", where, wanted, f"shape {tuple(value.shape)}"))
    if problems:
        advice = "Name the language model and towers that the checkpoint was made with (--llm, --vision, --audio)."
        raise InputError(sorted(problems, key=str), advice)
    return result


def _lora_shapes(converted: Converted, language_model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the expected shapes of LoRA weights by name: in every layer, the kinds of module that have any."""
    kinds = {target.rpartition(".")[2] for target in converted.targets}
    ranks = [len(value) for name, value in converted.lora.items() if name.endswith("lora_A")]
    rank = max(ranks, key=ranks.count, default=0)
    shapes: dict[str, tuple[int, ...]] = {}
    for name, module in language_model.named_modules():
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in kinds:
            shapes[f"{name}.lora_A"] = (rank, module.in_features)
            shapes[f"{name}.lora_B"] = (module.out_features, rank)
    return shapes
