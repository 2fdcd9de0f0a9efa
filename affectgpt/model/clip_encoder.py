"""The frozen half of a model: encodes images and audio of a clip as the features that the trained half takes.

It is no part of the trained model, so that training, checkpoints and the ranks of a launcher never carry towers, and
nothing can set them to training mode.

Shapes: F images, W audio features, D feature width.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, AutoProcessor, PreTrainedModel

from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.encoders import encode_pictures, encode_sound, family_of, load_tower
from affectgpt.model.processing import AffectGPTProcessor
from affectgpt.model.refusals import explains_refusals
from affectgpt.model.sound import prepare_sound
from affectgpt.problems import InputError

Features = dict[str, Tensor]
"""Features of a clip: 'face_features', 'frame_features' (F, Dv), 'audio_features' (W, Da), as far as it has them."""

PARTS = ("vision", "audio")
DECODING = 2
"""Version of decoding and face detection; raised when their output changes, so that stored features are recomputed."""
STORED = torch.float16
"""Dtype to which features are rounded wherever they are computed, so that storing them makes no difference."""


class ClipEncoder:
    """Frozen towers with their preprocessing. They run in float32 and always see one clip at a time.

    Args:
        config: configuration of the model that takes the features.
        processor: processor with the towers' image processor and feature extractor.
        towers: towers by name, 'vision', 'audio' or both.
    """

    def __init__(
        self, config: AffectGPTConfig, processor: AffectGPTProcessor, towers: dict[str, PreTrainedModel]
    ) -> None:
        self.config, self.processor, self.towers = config, processor, towers

    @classmethod
    @explains_refusals
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> ClipEncoder:
        """Load the encoder of a saved model: its towers from the folder's `vision` and `audio`, or from their sources.

        Raises:
            InputError: a tower is missing, or is not the one that the model was trained with.
        """
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        assert isinstance(config, AffectGPTConfig)
        towers = {}
        for part in PARTS:
            if getattr(config, f"{part}_config") is None:
                continue
            source = config.sources.get(part, {})
            beside = Path(folder, part)
            location = str(beside) if beside.is_dir() else source.get("id")
            if location is None:
                raise InputError(
                    f"{folder}: expected its {part} tower in {beside} or named in config.json (sources.{part}.id), "
                    "found neither. Export the model again with: affectgpt export RUN --out DIR"
                )
            towers[part] = load_tower(location, None if beside.is_dir() else source.get("revision")).to(device)  # type: ignore[arg-type]
            if (expected := source.get("hash")) and (loaded := weights_hash(towers[part])) != expected:
                raise InputError(
                    f"{location}: expected the {part} tower that the model was trained with (weights {expected[:12]}), "
                    f"got another (weights {loaded[:12]}). Name the right one in sources.{part} of "
                    f"{folder}/config.json."
                )
        return cls(config, AutoProcessor.from_pretrained(folder, trust_remote_code=False), towers)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the towers beside a model."""
        for part, tower in self.towers.items():
            tower.save_pretrained(Path(folder, part))

    @torch.no_grad()
    def encode(self, media: dict[str, np.ndarray]) -> Features:
        """Compute the features of one clip in float32, rounded as the store rounds them.

        Args:
            media: 'face', 'frame' (F, H, W, 3) uint8 and 'audio' (samples,) float32; what the clip lacks is absent, and
                what the model does not take is ignored. One picture, a still, stands for `num_frames` of them.
        """
        config, features = self.config, {}
        for stream in config.streams:
            if stream not in media:
                continue
            if stream == "audio":
                tower = self.towers["audio"]
                extractor = self.processor.feature_extractor
                sampling = config.audio_sampling
                sound = prepare_sound(
                    media[stream], extractor, sampling, config.num_audio_windows, config.audio_window_s
                )
                spans = config.num_audio_windows if sampling == "spans" else None
                inputs = _moved(sound.inputs, tower)
                value = encode_sound(tower, inputs, sound.shares, config.audio_layers, spans)
            else:
                tower = self.towers["vision"]
                pictures, times = media[stream], 1
                if len(pictures) == 1:  # a still: what it shows is shown all the time
                    times = config.num_frames
                if family_of(tower.config).reads_together:
                    pictures, times = pictures.repeat(times, axis=0), 1
                inputs = _moved(self.processor.pictures(pictures), tower)
                value = encode_pictures(tower, inputs, config.vision_layers, config.vision_pooling).repeat(times, 1)
            features[f"{stream}_features"] = value.to(STORED).float().cpu()
        return features


def encoding_settings(config: AffectGPTConfig, processor: AffectGPTProcessor) -> dict[str, Any]:
    """Return all that features depend on besides media: preprocessing, and the towers by the hash of their weights.

    Raises:
        InputError: the configuration lacks the hash of a tower's weights, so its features could not be identified.
    """
    towers = [part for part in PARTS if getattr(config, f"{part}_config") is not None]
    if unknown := [part for part in towers if not config.sources.get(part, {}).get("hash")]:
        raise InputError(
            f"{config.name_or_path or 'the model'}: expected the hash of its tower's weights in config.json "
            f"(sources.{unknown[0]}.hash), found none. Models that this project assembled, trained or exported have it."
        )
    settings: dict[str, Any] = {
        "streams": list(config.streams),
        "dtype": str(STORED).removeprefix("torch."),
        "decoding": DECODING,
    }
    if config.vision_config is not None:
        settings["vision"] = {
            "model_type": config.vision_config.model_type,
            "weights": config.sources["vision"]["hash"],
            "layers": config.vision_layers,
            "pooling": config.vision_pooling,
            "num_frames": config.num_frames,
            "image_processor": _plain(processor.image_processor),
        }
    if config.audio_config is not None:
        settings["audio"] = {
            "model_type": config.audio_config.model_type,
            "weights": config.sources["audio"]["hash"],
            "layers": config.audio_layers,
            "sampling": config.audio_sampling,
            "num_windows": config.num_audio_windows,
            "window_s": config.audio_window_s if config.audio_sampling == "windows" else None,
            "feature_extractor": _plain(processor.feature_extractor),
        }
    return settings


def fingerprint(settings: dict[str, Any]) -> str:
    """Hash `encoding_settings`."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def weights_hash(tower: PreTrainedModel) -> str:
    """Hash a tower's weights and buffers."""
    sha256 = hashlib.sha256()
    for name, value in sorted(tower.state_dict().items()):
        sha256.update(name.encode())
        sha256.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return sha256.hexdigest()


def _plain(part: Any) -> Any:
    return json.loads(json.dumps(part.to_dict(), default=str)) if part is not None else None


def _moved(inputs: dict[str, Tensor], tower: PreTrainedModel) -> dict[str, Tensor]:
    """Move inputs to the tower's device, floats to its dtype as well."""
    return {
        name: value.to(tower.device, tower.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
