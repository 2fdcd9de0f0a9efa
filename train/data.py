"""Supervised batches: the rows of a stage in their order, tokenised once, padded batch by batch.

Shapes: B rows, L tokens, T features over time, D their width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from affectgpt.clip import Clip
from affectgpt.model.processing import AffectGPTProcessor, Tokenised
from affectgpt.reader import ClipReader, stack_features


class StageDataset(Dataset[dict[str, Any]]):
    """The rows of a supervised stage, in the order in which they are read."""

    def __init__(self, clips: Sequence[Clip], order: Sequence[int], reader: ClipReader) -> None:
        self.clips, self.order, self.reader = clips, order, reader
        self.ids: dict[int, Tokenised] = {row: reader.tokenise(clips[row]) for row in dict.fromkeys(order)}

    @property
    def lengths(self) -> Mapping[int, int]:
        """Tokens of each row in use."""
        return {row: len(ids.prompt_ids) + len(ids.target_ids) for row, ids in self.ids.items()}

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, position: int) -> dict[str, Any]:
        row = self.order[position]
        return {"ids": self.ids[row], "features": self.reader.features(self.clips[row])}


class SupervisedCollator:
    """Rows of a `StageDataset` to a batch, padded on the right; the loss sees targets only."""

    def __init__(self, processor: AffectGPTProcessor) -> None:
        self.processor = processor

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """'input_ids', 'attention_mask' and 'labels' (B, L), and features (B, T, D)."""
        ids: list[Tokenised] = [row["ids"] for row in rows]
        batch = self.processor.pad([[*row.prompt_ids, *row.target_ids] for row in ids], side="right")
        labels = torch.full_like(batch["input_ids"], -100)
        for index, row in enumerate(ids):
            start = len(row.prompt_ids)
            labels[index, start : start + len(row.target_ids)] = torch.tensor(row.target_ids)
        return {**batch, "labels": labels, **stack_features([row["features"] for row in rows])}
