"""What stands for encoded or decoded media where a reader asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from affectgpt.clip import Clip
from affectgpt.model.clip_encoder import Features


class NoMedia:
    """Rows of text alone."""

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        return [{} for _ in clips]


class Table:
    """Features by the row's id; none of other rows."""

    def __init__(self, features: Mapping[str, Features]) -> None:
        self.features = features

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        return [self.features.get(clip.id, {}) for clip in clips]


class Decoded:
    """Stands for decoded media: noise that depends on the clip's name."""

    def of(self, clips: Sequence[Clip]) -> list[dict[str, np.ndarray]]:
        found = []
        for clip in clips:
            rng = np.random.default_rng([ord(letter) for letter in clip.id])
            frames = rng.integers(0, 255, (4 if clip.id < "b" else 6, 24, 40, 3), np.uint8)
            media = {"frame": frames, "times": np.arange(len(frames)) / 2, "audio": rng.normal(size=24000)}
            found.append({name: value for name, value in media.items() if clip.video is not None})
        return found
