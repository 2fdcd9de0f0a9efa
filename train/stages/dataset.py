"""Supervised batches: the rows of a stage in order, single or packed, read on demand.

Shapes: B rows or packs, L tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from torch.utils.data import Dataset

from affectgpt.clip import Clip
from affectgpt.evidence.controls import corrupted, without_evidence
from affectgpt.inputs.batch import Batch, packed_batch, supervised_batch
from affectgpt.inputs.reader import EncodedRow, Reader, read_ahead

MODALITIES = ("video", "audio", "text")


class StageDataset(Dataset[list[EncodedRow]]):
    """Data set of a supervised stage; an item is a row, or the rows of a pack.

    Args:
        clips: the rows that the stage draws from.
        items: indices into `clips`.
        reader: reader of rows for the model.
        dropout: probability that one modality, drawn anew for every row of every item, is kept from the model.
        evidence: probabilities that a row's evidence is kept from the model, and that it is made false, so that the
            model learns to do without it and not to over-trust it.
        seed: seed of those draws, which depend on the index of a row, not on the process that reads it.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        items: Sequence[Sequence[int]],
        reader: Reader,
        dropout: float = 0.0,
        seed: int = 0,
        evidence: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.clips, self.items, self.reader, self.dropout, self.seed = clips, items, reader, dropout, seed
        self.evidence = evidence
        self._before: list[int] = []
        """Items of the batch read before."""

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, place: int) -> list[EncodedRow]:
        return self.__getitems__([place])[0]

    def __getitems__(self, places: Sequence[int]) -> list[list[EncodedRow]]:
        """Return several items at once: their media are read together."""
        clips = [clip for place in places for clip in self._rows(place)]
        hidden = [hide for place in places for hide in self._hidden(place)]
        rows = iter(self.reader.read(clips, hidden))
        read_ahead(self.reader, [clip for place in self._next(places) for clip in self._rows(place)])
        return [[next(rows) for _ in self.items[place]] for place in places]

    def _next(self, places: Sequence[int]) -> list[int]:
        """Guess the items of the next batch: batches of a process follow each other at an even distance."""
        step = places[0] - self._before[0] if self._before else len(places)
        self._before = list(places)
        return [place + step for place in places if 0 <= place + step < len(self)]

    def _rows(self, place: int) -> list[Clip]:
        """Return the rows of an item, each with its evidence, without, or with false evidence."""
        rows = [self.clips[index] for index in self.items[place]]
        if not any(self.evidence):
            return rows
        dropped, false = self.evidence
        rng = np.random.default_rng([self.seed, place, 1])
        draws = rng.random(len(rows))
        return [
            without_evidence(row) if draw < dropped else corrupted(row, rng) if draw < dropped + false else row
            for row, draw in zip(rows, draws, strict=True)
        ]

    def _hidden(self, place: int) -> list[Collection[str]]:
        count = len(self.items[place])
        if not self.dropout:
            return [()] * count
        rng = np.random.default_rng([self.seed, place])
        drops, chosen = rng.random(count) < self.dropout, rng.integers(len(MODALITIES), size=count)
        return [(MODALITIES[index],) if drop else () for drop, index in zip(drops, chosen, strict=True)]


class SupervisedCollator:
    """Collator of the items of a `StageDataset`."""

    def __init__(self, reader: Reader, packing: bool = False) -> None:
        self.pad_id, self.packing = int(reader.tokenizer.pad_token_id), packing

    def __call__(self, items: Sequence[Sequence[EncodedRow]]) -> Batch:
        """Return 'input_ids' and 'labels' (B, L), 'attention_mask' or 'position_ids', and the model's other inputs."""
        rows = [row for item in items for row in item]
        return packed_batch(items, self.pad_id) if self.packing else supervised_batch(rows, self.pad_id)
