"""Labels that mean nearly the same cost less to rename: by their distance to a sentence encoder."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from affectgpt.llm.sentence_encoder import load_sentence_encoder


class EmbeddingRename:
    """1 - cosine of two labels, at most 1: a rename cost for `videmo.distance.Costs`.

    Args:
        model: folder or Hub id of a sentence encoder.

    Raises:
        InputError: it cannot be loaded.
    """

    def __init__(self, model: str) -> None:
        self.encoder = load_sentence_encoder(model)
        self.vectors: dict[str, np.ndarray] = {}

    def prepare(self, labels: Collection[str]) -> None:
        """Encode what is about to be compared, all at once."""
        names = sorted(labels)
        self.vectors = dict(zip(names, self.encoder.encode(names).numpy(), strict=True)) if names else {}

    def __call__(self, label: str, other: str) -> float:
        """The share of a rename from one label to the other."""
        if not {label, other} <= self.vectors.keys():
            self.prepare((label, other))
        return float(1 - min(1.0, max(0.0, self.vectors[label] @ self.vectors[other])))
