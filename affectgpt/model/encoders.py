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
    return _positions(output.last_hidden_state).mean(dim=1) if pooled is None else torch.flatten(pooled, 1)


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
        reads_together: whether the images of a clip are read as one video, not each by itself.
    """

    pooled: Callable[[nn.Module, Any], Tensor] = _pooler
    width: str = "hidden_size"
    architecture: type[PreTrainedModel] | None = None
    keys: dict[str, str] | None = None
    reads_together: bool = False


FAMILIES = {
    "clip_vision_model": Family(_projected, "projection_dim", transformers.CLIPVisionModelWithProjection),
    "siglip_vision_model": Family(architecture=transformers.SiglipVisionModel),
    "siglip2_vision_model": Family(architecture=transformers.Siglip2VisionModel),
    "videomae": Family(_tubelets, reads_together=True),
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
    """Return D, the width of the features of a tower, as its configuration tells it: of the last stage, where a tower
    has stages of several widths.

    Raises:
        InputError: the configuration does not tell it.
    """
    own = (family_of(config).width,) if layers is None and pooling == "pooled" else ()
    for name in (*own, "hidden_size", "hidden_sizes"):
        if (width := getattr(config, name, None)) is not None:
            return int(width[-1] if isinstance(width, list | tuple) else width)
    name = own[0] if own else "hidden_size"
    raise InputError(
        f"{config.model_type}: expected {name} in the tower's configuration, got none. Give its family a line in "
        "FAMILIES: docs/adding.md."
    )


@torch.no_grad()
def measured_width(
    tower: nn.Module, inputs: dict[str, Tensor], layers: Sequence[int] | None = None, pooling: str = "pooled"
) -> int:
    """Return D, the width of the features that a tower gives when it is tried on images.

    Args:
        inputs, layers, pooling: see `encode_pictures`.

    Raises:
        InputError: it gives none: no such layer, layers of several shapes, no class token, or an output unlike those of
            the families known.
    """
    kind = getattr(tower.config, "model_type", "the tower")
    names = (name.rpartition(".")[2] for name, _ in tower.named_parameters())
    if pooling == "cls" and not {"cls_token", "class_token", "class_embedding"} & {*names}:
        raise _without_class_token(kind)
    try:
        features = encode_pictures(tower, inputs, layers, pooling)
    except InputError:
        raise
    except Exception as error:  # A tower of a family that nobody has tried can raise any exception.
        reason = (str(error).strip() or type(error).__name__).partition("\n")[0]
        raise InputError(
            f"{kind}: expected features of a picture from the vision tower, got an error ({reason}). Give its family a "
            "line in FAMILIES (docs/adding.md), or name another tower."
        ) from error
    if features.ndim != 2:
        raise InputError(
            f"{kind}: expected one vector for each picture from the vision tower, got shape {tuple(features.shape)}. "
            "Give its family a line in FAMILIES (docs/adding.md), or name another tower."
        )
    return features.shape[1]


def encode_pictures(
    tower: nn.Module, inputs: dict[str, Tensor], layers: Sequence[int] | None = None, pooling: str = "pooled"
) -> Tensor:
    """Encode the images of one clip as features (F, D); VideoMAE gives one for each pair of images.

    Args:
        inputs: output of the tower's image processor for F images.
        layers: hidden layers to average; the last when None.
        pooling: 'pooled', 'cls' or 'mean', see `AffectGPTConfig.vision_pooling`. With `layers`, 'pooled' means 'mean'.

    Raises:
        InputError: no such layer, layers of several shapes, or 'cls' of a tower whose positions are a map.
    """
    output = tower(**inputs, output_hidden_states=layers is not None)
    if layers is None and pooling == "pooled":
        return family_of(tower.config).pooled(tower, output)  # type: ignore[arg-type]
    hidden = _layers(tower, output, layers)
    if pooling == "cls":
        if hidden.ndim == 4:
            raise _without_class_token(getattr(tower.config, "model_type", "the tower"))
        return hidden[:, 0]
    return _positions(hidden).mean(dim=1)


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
    hidden = _layers(tower, tower(**inputs, output_hidden_states=layers is not None), layers)  # (W, P, D)
    parts = [row[: max(1, round(share * len(row)))] for row, share in zip(hidden, shares, strict=True)]
    if num_features is None:
        return torch.stack([part.mean(dim=0) for part in parts])
    track = torch.cat(parts)  # (positions that are audio, D)
    return functional.adaptive_avg_pool1d(track.T[None], num_features)[0].T


def _layers(tower: nn.Module, output: Any, layers: Sequence[int] | None) -> Tensor:
    """Return the last hidden layer, or the mean of those that are named."""
    if layers is None:
        return torch.as_tensor(output.last_hidden_state)
    states = getattr(output, "hidden_states", None) or ()
    wrong = [index for index in layers if not -len(states) <= index < len(states)]
    chosen = [] if wrong else [states[index] for index in layers]
    shapes = sorted({tuple(state.shape[1:]) for state in chosen})
    if wrong or len(shapes) > 1:
        got = f"{len(states)} layers" if wrong else f"layers of the shapes {', '.join(map(str, shapes))}"
        raise InputError(
            f"{getattr(tower.config, 'model_type', 'the tower')}: expected layers of one shape at {list(layers)}, got "
            f"{got}. Name others in vision_layers or audio_layers, or leave them unset."
        )
    return torch.stack(chosen).mean(dim=0)


def _positions(hidden: Tensor) -> Tensor:
    """Return hidden states as (F, P, D); those of a convolutional tower are maps (F, D, h, w)."""
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


def _without_class_token(kind: str) -> InputError:
    return InputError(
        f"{kind}: expected a tower with a class token for vision_pooling: cls, got one without. Set vision_pooling to "
        "mean or pooled."
    )
