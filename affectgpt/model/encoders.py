"""The frozen towers: how a checkpoint of any family becomes features of one clip.

Towers are built through the Auto classes by `model_type`. A family whose output is unlike the others' gets its line in
one of the functions below; nothing else in the project knows a family.

Shapes: F frames, D feature width, M mel bands, T spectrogram frames, W windows of the audio tower's length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def build_tower(config: PreTrainedConfig) -> PreTrainedModel:
    """An untrained tower of that configuration; of Whisper only the encoder."""
    # What is asked of the whole model means its language model; a convolutional tower would refuse it.
    config._attn_implementation = None
    return WhisperEncoder(config) if isinstance(config, WhisperConfig) else AutoModel.from_config(config)


def load_tower(folder: str) -> PreTrainedModel:
    """A trained tower in float32 from a folder or Hub id; of Whisper only the encoder."""
    config = AutoConfig.from_pretrained(folder)
    family: Any = WhisperEncoder if isinstance(config, WhisperConfig) else AutoModel
    tower: PreTrainedModel = family.from_pretrained(folder, dtype=torch.float32)
    return tower


def feature_width(config: PreTrainedConfig) -> int:
    """D: the width of the features that a tower of that configuration gives."""
    if config.model_type == "resnet":
        return int(config.hidden_sizes[-1])
    return int(config.hidden_size)


def encode_frames(tower: nn.Module, pixel_values: Tensor) -> Tensor:
    """Pictures of one clip (F, 3, H, W) to features (F, D): the tower's pooled output, or its mean over positions."""
    output = tower(pixel_values=pixel_values)
    if getattr(output, "pooler_output", None) is not None:
        return torch.flatten(output.pooler_output, 1)
    return output.last_hidden_state.mean(dim=1)


def encode_voice(tower: nn.Module, input_features: Tensor, num_frames: int, num_windows: int) -> Tensor:
    """Sound of one clip to features (num_windows, D).

    Args:
        input_features: (W, M, T) log-mel windows that follow each other, the last one padded.
        num_frames: spectrogram frames that are sound and not padding, of W * T.
    """
    hidden = tower(input_features).last_hidden_state
    stride = input_features.shape[-1] / hidden.shape[1]
    track = hidden.flatten(0, 1)[: max(1, round(num_frames / stride))]  # (positions that are sound, D)
    return functional.adaptive_avg_pool1d(track.T[None], num_windows)[0].T
