"""Rows as a model reads them: prompt, ids and features, the same in training, rollout and prediction.

Shapes: B rows, T features over time, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from affectgpt.clip import Clip
from affectgpt.features import Features, FeatureTable
from affectgpt.model.processing import AffectGPTProcessor, Tokenised
from affectgpt.prompts import with_subtitle

FEATURE_NAMES = {"video": "video_features", "audio": "audio_features"}


class ClipReader:
    """Rows as ids and features, for one processor, one table of features and one set of inputs.

    Training, rollouts and prediction all read rows through this class, so that they see the same prompt.
    """

    def __init__(self, processor: AffectGPTProcessor, table: FeatureTable, inputs: Sequence[str]) -> None:
        self.processor, self.table, self.inputs = processor, table, tuple(inputs)

    def features(self, clip: Clip) -> Features:
        """What the model may see and hear of a row."""
        features = self.table.of(clip)
        return {key: features[key] for name, key in FEATURE_NAMES.items() if name in self.inputs and key in features}

    def prompt(self, clip: Clip) -> list[dict[str, str]]:
        """The conversation up to the answer, the clip's words put before the first question."""
        subtitle = clip.subtitle if "text" in self.inputs else None
        turns = [dict(turn) for turn in clip.prompt]
        for turn in turns:
            if turn["role"] == "user":
                turn["content"] = with_subtitle(turn["content"], subtitle)
                break
        return turns

    def tokenise(self, clip: Clip) -> Tokenised:
        """The ids of a row."""
        features = self.features(clip)
        return self.processor.tokenise(
            self.prompt(clip), clip.target, video="video_features" in features, audio="audio_features" in features
        )


def stack_features(rows: Sequence[Features]) -> dict[str, Tensor]:
    """Features of several rows to (B, T, D) each; rows that lack a modality carry zeros, one that all lack is absent.

    Raises:
        ValueError: rows whose features differ in shape.
    """
    batch = {}
    for name in FEATURE_NAMES.values():
        shape = next((row[name].shape for row in rows if name in row), None)
        if shape is None:
            continue
        for index, row in enumerate(rows):
            if name in row and row[name].shape != shape:
                raise ValueError(f"row {index}: {name} of shape {tuple(row[name].shape)}, others {tuple(shape)}")
        batch[name] = torch.stack([row.get(name, torch.zeros(shape)) for row in rows])
    return batch
