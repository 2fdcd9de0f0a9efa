"""Features of frozen towers: computed once per clip and setting, kept on disk under their content, read ever after.

A key is the hash of the media files' bytes, of the tower weights, and of every setting that matters; so a store serves
many runs, and nothing in it can be out of date. Features are always computed one clip at a time and rounded to half
precision, so that it makes no difference when that happened.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from affectgpt.clip import Clip
from affectgpt.media.bundle import Media, decode
from affectgpt.media.decode import MediaError
from affectgpt.media.sandbox import map_sandboxed
from affectgpt.model.modeling import AffectGPTModel
from affectgpt.model.processing import AffectGPTProcessor

Features = dict[str, Tensor]
"""'video_features' (F, Dv) and 'audio_features' (Ta, Da) of a clip, float32; what it lacks is absent."""


def media_of(clip: Clip) -> Media | None:
    """The media of a row; None for a row of text alone."""
    return Media(clip.video, clip.audio, clip.face, clip.start, clip.end) if clip.has_media else None


@dataclass(frozen=True, slots=True)
class BadSample:
    """A clip that could not be used, why, and the first row that has it."""

    files: tuple[str, ...]
    reason: str
    rows: tuple[str, ...]

    def to_json(self) -> dict[str, object]:
        """As a line of `bad_samples.jsonl`."""
        return {"files": list(self.files), "reason": self.reason, "rows": list(self.rows)}


@dataclass(slots=True)
class FeatureTable:
    """The features of a data set, by media."""

    features: dict[Media, Features] = field(default_factory=dict)
    bad: list[BadSample] = field(default_factory=list)

    def of(self, clip: Clip) -> Features:
        """The features of a row; none for text alone."""
        media = media_of(clip)
        return {} if media is None else self.features[media]

    def usable(self, clips: Iterable[Clip]) -> list[Clip]:
        """The rows whose media could be read."""
        return [clip for clip in clips if (media := media_of(clip)) is None or media in self.features]


class FeatureStore:
    """A folder of features by key. Safe for several processes: an entry appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def get(self, key: str) -> Features | None:
        """The features under a key in float32; None if they are not there or not whole."""
        try:
            return {name: value.float() for name, value in load_file(self._path(key)).items()}
        except (FileNotFoundError, SafetensorError):
            return None

    def put(self, key: str, features: Features) -> None:
        """Keep features under a key, in half precision."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}.part")
        save_file({name: value.half().contiguous() for name, value in features.items()}, draft)
        os.replace(draft, path)


def tower_fingerprint(model: AffectGPTModel, processor: AffectGPTProcessor) -> str:
    """Hash of everything besides the media that features depend on: tower weights, their settings, preprocessing."""
    digest = hashlib.sha256()
    for tower in model.towers():
        digest.update(json.dumps(tower.config.to_diff_dict(), sort_keys=True, default=str).encode())
        for name, value in sorted(tower.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    settings = [processor.num_frames, model.config.num_audio_windows]
    for part in (processor.image_processor, processor.feature_extractor):
        settings.append(part.to_dict() if part is not None else None)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def media_key(media: Media, fingerprint: str) -> str:
    """The key of a clip's features: hash of its files' bytes, its span and the towers' fingerprint."""
    digest = hashlib.sha256(f"{fingerprint} {media.start} {media.end}".encode())
    for name in ("video", "audio", "face"):
        path = getattr(media, name)
        digest.update(f"{name}:{path is not None}".encode())
        if path is not None:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def encode(model: AffectGPTModel, processor: AffectGPTProcessor, pictures: object, sound: object) -> Features:
    """Features of one decoded clip, rounded as the store rounds them."""
    inputs: dict[str, object] = {}
    if pictures is not None and model.vision_tower is not None:
        assert isinstance(pictures, np.ndarray)
        inputs["pixel_values"] = processor.pictures(pictures).to(model.device)
    if sound is not None and model.audio_tower is not None:
        assert isinstance(sound, np.ndarray)
        mel, inputs["num_audio_frames"] = processor.spectrogram(sound)
        inputs["input_features"] = mel.to(model.device)
    return {name: value.half().float().cpu() for name, value in model.encode(**inputs).items()}  # type: ignore[arg-type]


def build_features(
    clips: Iterable[Clip],
    model: AffectGPTModel,
    processor: AffectGPTProcessor,
    store: FeatureStore,
    timeout_s: float = 20.0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureTable:
    """The features of every clip: read from the store, or decoded in sandboxed workers, encoded and kept.

    A clip that cannot be decoded has no features and is listed in the table's `bad`; the caller decides what then.
    """
    rows: dict[Media, list[str]] = {}
    for clip in clips:
        media = media_of(clip)
        if media is not None:
            rows.setdefault(media, []).append(clip.id)
    fingerprint = tower_fingerprint(model, processor)
    keys = {media: media_key(media, fingerprint) for media in rows}
    table = FeatureTable()
    missing = []
    for media, key in keys.items():
        found = store.get(key)
        if found is None:
            missing.append(media)
        else:
            table.features[media] = found
    for done, (media, outcome) in enumerate(_decode_all(missing, model, processor, workers, timeout_s), start=1):
        if isinstance(outcome, MediaError):
            files = tuple(map(str, media.files()))
            table.bad.append(BadSample(files, str(outcome), tuple(rows[media])))
        else:
            table.features[media] = encode(model, processor, *outcome)
            store.put(keys[media], table.features[media])
        if progress:
            progress(done, len(missing))
    return table


def _decode_all(
    missing: list[Media], model: AffectGPTModel, processor: AffectGPTProcessor, workers: int, timeout_s: float
) -> Iterator[tuple[Media, tuple[np.ndarray | None, np.ndarray | None] | MediaError]]:
    if not missing:
        return iter(())
    rate = processor.feature_extractor.sampling_rate if processor.feature_extractor is not None else 16_000
    reader = partial(decode, num_frames=model.config.num_frames, sample_rate=rate)
    return iter(map_sandboxed(reader, missing, workers, timeout_s))
