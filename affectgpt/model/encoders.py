"""The frozen towers: compute features of one clip with a checkpoint of any family.

Towers are built through the Auto classes by `model_type`. A family whose class, output or width differs from the
others has an entry in `FAMILIES`, made of one small function; nothing else in the project knows a family.

Shapes: F images, W windows of audio, P positions (patches of an image, steps of a window), D feature width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from affectgpt.model.refusals import explains_refusals
from affectgpt.problems import InputError


def _pooler(tower: nn.Module, output: Any) -> Tensor:
    """Return what most towers call their pooled output, or else the mean over positions."""
    pooled = getattr(output, "pooler_output", None)
    return output.last_hidden_state.mean(dim=1) if pooled is None else torch.flatten(pooled, 1)


def _projected(tower: nn.Module, output: Any) -> Tensor:
    """Return CLIP's projected vector, as AffectGPT takes it."""
    return torch.as_tensor(output.image_embeds)


def _tubelets(tower: nn.Module, output: Any) -> Tensor:
    """Average the patches of each pair of images: VideoMAE reads all images as one video."""
    config: Any = tower.config
    patches = (config.image_size // config.patch_size) ** 2
    return torch.as_tensor(output.last_hidden_state).unflatten(1, (-1, patches))[0].mean(dim=1)


@dataclass(frozen=True, slots=True)
class Family:
    """Peculiarities of a family of towers.

    Args:
        pooled: (tower, its output) -> (F, D), the tower's own pooled features of the images of a clip.
        width: attribute of its configuration that holds their D.
        architecture: class that loads and builds it, if AutoModel gives another.
        keys: patterns of weight names in a checkpoint of a whole model -> names in the tower.
    """

    pooled: Callable[[nn.Module, Any], Tensor] = _pooler
    width: str = "hidden_size"
    architecture: type[PreTrainedModel] | None = None
    keys: dict[str, str] | None = None


FAMILIES = {
    "clip_vision_model": Family(_projected, "projection_dim", transformers.CLIPVisionModelWithProjection),
    "siglip_vision_model": Family(architecture=transformers.SiglipVisionModel),
    "siglip2_vision_model": Family(architecture=transformers.Siglip2VisionModel),
    "videomae": Family(_tubelets),
    "resnet": Family(width="hidden_sizes"),
    "convnextv2": Family(width="hidden_sizes"),
    "whisper": Family(architecture=WhisperEncoder, keys={r"^(model\.)?encoder\.": ""}),
}
"""Families by `model_type`; every other tower is a plain `Family()`."""


def family_of(config: PreTrainedConfig) -> Family:
    """Return the entry of a tower's family."""
    return FAMILIES.get(config.model_type, Family())


def tower_config(config: PreTrainedConfig) -> PreTrainedConfig:
    """Return the tower's configuration in a checkpoint's: the vision or audio part of a model of several parts."""
    for part in ("vision_config", "audio_config"):
        if isinstance(sub_config := getattr(config, part, None), PreTrainedConfig):
            if hasattr(sub_config, "projection_dim"):  # CLIP projects to a width that the whole model decides
                sub_config.projection_dim = config.projection_dim
            return sub_config
    return config


@explains_refusals
def load_tower(source: str, revision: str | None = None, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Load a trained tower from a folder or Hub id: Whisper's encoder alone, the vision part alone of CLIP and SigLIP.

    Raises:
        InputError: the checkpoint lacks weights of the tower; the message names them.
    """
    config = tower_config(AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False))
    family = family_of(config)
    architecture: Any = family.architecture or AutoModel
    tower, info = architecture.from_pretrained(
        source,
        config=config,
        revision=revision,
        dtype=dtype,
        key_mapping=family.keys,
        output_loading_info=True,
        trust_remote_code=False,
    )
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{source}: expected all weights of a {config.model_type} tower, {len(missing)} are missing, such as "
            f"{missing[0]}. Download the checkpoint again, or name another."
        )
    tower.requires_grad_(False)
    tower.eval()
    return tower


def feature_width(config: PreTrainedConfig, layers: Sequence[int] | None = None, pooling: str = "pooled") -> int:
    """Return D, the width of the features of a tower with that configuration.

    Raises:
        InputError: its family needs a line in `FAMILIES`, or has no positions and is asked to average some.
    """
    own = layers is None and pooling == "pooled"
    name = family_of(config).width if own else "hidden_size"
    if (width := getattr(config, name, None)) is None:
        expected = "hidden_size in the tower's configuration, as towers have whose positions can be averaged"
        fix = "As a vision tower, leave vision_pooling at pooled and vision_layers unset"
        if own:
            expected = f"{name} in the tower's configuration"
            fix = "Give its family a line in FAMILIES: docs/adding.md"
        raise InputError(f"{config.model_type}: expected {expected}, got none. {fix}.")
    return int(width[-1] if isinstance(width, list | tuple) else width)


def encode_pictures(
    tower: nn.Module, inputs: dict[str, Tensor], layers: Sequence[int] | None = None, pooling: str = "pooled"
) -> Tensor:
    """Encode the images of one clip as features (F, D); VideoMAE gives one for each pair of images.

    Args:
        inputs: output of the tower's image processor for F images.
        layers: hidden layers to average; the last when None.
        pooling: 'pooled', 'cls' or 'mean', see `AffectGPTConfig.vision_pooling`. With `layers`, 'pooled' means 'mean'.
    """
    output = tower(**inputs, output_hidden_states=layers is not None)
    if layers is None and pooling == "pooled":
        return family_of(tower.config).pooled(tower, output)  # type: ignore[arg-type]
    hidden = _layers(output, layers)  # (F, P, D)
    return hidden[:, 0] if pooling == "cls" else hidden.mean(dim=1)


def encode_sound(
    tower: nn.Module,
    inputs: dict[str, Tensor],
    shares: Sequence[float],
    layers: Sequence[int] | None = None,
    num_features: int | None = None,
) -> Tensor:
    """Encode the audio of one clip as features.

    Args:
        inputs: W windows of audio as the tower takes them, padded to one length.
        shares: share of each window that is audio and not padding.
        layers: hidden layers to average; the last when None.
        num_features: None for one feature for each window, (W, D); else the number of equal spans over which the
            windows, laid end to end, are averaged: (num_features, D).
    """
    hidden = _layers(tower(**inputs, output_hidden_states=layers is not None), layers)  # (W, P, D)
    parts = [row[: max(1, round(share * len(row)))] for row, share in zip(hidden, shares, strict=True)]
    if num_features is None:
        return torch.stack([part.mean(dim=0) for part in parts])
    track = torch.cat(parts)  # (positions that are audio, D)
    return functional.adaptive_avg_pool1d(track.T[None], num_features)[0].T


def _layers(output: Any, layers: Sequence[int] | None) -> Tensor:
    if layers is None:
        return torch.as_tensor(output.last_hidden_state)
    return torch.stack([output.hidden_states[index] for index in layers]).mean(dim=0)
