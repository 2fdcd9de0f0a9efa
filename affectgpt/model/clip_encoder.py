"""The frozen half of a model: pictures and sound of one clip to the features that the trained half takes.

It is no part of the trained model, so that training, checkpoints and the ranks of a launcher never carry towers, and
nothing that trains can put them into training mode.

Shapes: F pictures, W features of sound, D feature width.
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
from affectgpt.model.encoders import encode_pictures, encode_sound, load_tower
from affectgpt.model.processing import AffectGPTProcessor
from affectgpt.model.refusals import explains_refusals
from affectgpt.model.sound import prepare_sound
from affectgpt.problems import InputError

Features = dict[str, Tensor]
"""'face_features', 'frame_features' (F, Dv) and 'audio_features' (W, Da) of a clip; what it lacks is absent."""

PARTS = ("vision", "audio")
DECODING = 1
"""Of what decoding and the search for faces give; raised when that changes, so that kept features are made again."""
STORED = torch.float16
"""Features are rounded to this wherever they are made, so that it makes no difference whether they were kept."""


class ClipEncoder:
    """Towers and their preprocessing. Towers run in float32 and always see one clip at a time.

    Args:
        config: of the model that takes the features.
        processor: with the towers' image processor and feature extractor.
        towers: 'vision', 'audio' or both.
    """

    def __init__(
        self, config: AffectGPTConfig, processor: AffectGPTProcessor, towers: dict[str, PreTrainedModel]
    ) -> None:
        self.config, self.processor, self.towers = config, processor, towers

    @classmethod
    @explains_refusals
    def from_pretrained(cls, folder: str | Path, device: str | torch.device = "cpu") -> ClipEncoder:
        """The encoder of a saved model: its towers from the folder's `vision` and `audio`, or from where they came.

        Raises:
            InputError: a tower is not there, or is not the one that the model was trained with.
        """
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        assert isinstance(config, AffectGPTConfig)
        towers = {}
        for part in PARTS:
            if getattr(config, f"{part}_config") is None:
                continue
            source = config.sources.get(part, {})
            beside = Path(folder, part)
            place = str(beside) if beside.is_dir() else source.get("id")
            if place is None:
                raise InputError(
                    f"{folder}: expected its {part} tower in {beside} or named in config.json (sources.{part}.id), "
                    "found neither. Export the model again with: affectgpt export RUN --out DIR"
                )
            towers[part] = load_tower(place, None if beside.is_dir() else source.get("revision")).to(device)  # type: ignore[arg-type]
            if (expected := source.get("hash")) and (found := weights_hash(towers[part])) != expected:
                raise InputError(
                    f"{place}: expected the {part} tower that the model was trained with (weights {expected[:12]}), "
                    f"got another (weights {found[:12]}). Name the right one in sources.{part} of {folder}/config.json."
                )
        return cls(config, AutoProcessor.from_pretrained(folder, trust_remote_code=False), towers)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save the towers beside a model."""
        for part, tower in self.towers.items():
            tower.save_pretrained(Path(folder, part))

    @torch.no_grad()
    def encode(self, media: dict[str, np.ndarray]) -> Features:
        """Features of one clip, rounded as the store rounds them, in float32.

        Args:
            media: 'face', 'frame' (F, H, W, 3) uint8 and 'audio' (samples,) float32; what the clip lacks is absent, and
                what the model does not take is left out. One picture, a still, stands for `num_frames` of them.
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
                pictures = media[stream]
                if len(pictures) == 1:  # a still: what it shows is shown all the time
                    pictures = np.broadcast_to(pictures, (config.num_frames, *pictures.shape[1:]))
                inputs = _moved(self.processor.pictures(pictures), tower)
                value = encode_pictures(tower, inputs, config.vision_layers, config.vision_pooling)
            features[f"{stream}_features"] = value.to(STORED).float().cpu()
        return features


def encoding_settings(config: AffectGPTConfig, processor: AffectGPTProcessor) -> dict[str, Any]:
    """Everything besides the media that features depend on: towers by the hash of their weights, and preprocessing.

    Raises:
        InputError: a tower whose weights the configuration does not tell; its features could not be told apart.
    """
    towers = [part for part in PARTS if getattr(config, f"{part}_config") is not None]
    if unknown := [part for part in towers if not config.sources.get(part, {}).get("hash")]:
        raise InputError(
            f"{config.name_or_path or 'the model'}: expected the hash of its tower's weights in config.json "
            f"(sources.{unknown[0]}.hash), found none. Models that are made of parts, trained or exported here have it."
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
    """Hash of `encoding_settings`."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def weights_hash(tower: PreTrainedModel) -> str:
    """Hash of a tower's weights and buffers."""
    digest = hashlib.sha256()
    for name, value in sorted(tower.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _plain(part: Any) -> Any:
    return json.loads(json.dumps(part.to_dict(), default=str)) if part is not None else None


def _moved(inputs: dict[str, Tensor], tower: PreTrainedModel) -> dict[str, Tensor]:
    """Inputs on the tower's device, floats in its dtype."""
    return {
        name: value.to(tower.device, tower.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
