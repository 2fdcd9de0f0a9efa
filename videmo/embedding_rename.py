"""Rename costs by a sentence encoder: labels that mean nearly the same cost less to rename."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from affectgpt.llm.sentence_encoder import load_sentence_encoder


class EmbeddingRename:
    """Rename cost for `videmo.distance.Costs`: 1 - cosine of two labels, at most 1.

    Args:
        model: folder or Hub id of a sentence encoder.

    Raises:
        InputError: the encoder cannot be loaded.
    """

    def __init__(self, model: str) -> None:
        self.encoder = load_sentence_encoder(model)
        self.vectors: dict[str, np.ndarray] = {}

    def prepare(self, labels: Collection[str]) -> None:
        """Encode the labels that are about to be compared, in one batch."""
        names = sorted(labels)
        self.vectors = dict(zip(names, self.encoder.encode(names).numpy(), strict=True)) if names else {}

    def __call__(self, label: str, other: str) -> float:
        """Return the share of a rename that two labels cost."""
        if not {label, other} <= self.vectors.keys():
            self.prepare((label, other))
        return float(1 - min(1.0, max(0.0, self.vectors[label] @ self.vectors[other])))
