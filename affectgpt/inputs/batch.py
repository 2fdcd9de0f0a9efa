"""Tensors of a batch of rows: padded for a forward pass or for generation, or packed without padding.

Shapes: B rows, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from affectgpt.inputs.reader import EncodedRow

IGNORED = -100
"""Label of a token that the loss ignores."""

Batch = dict[str, Tensor]


def pad(rows: Sequence[Sequence[int]], value: int, side: Literal["left", "right"], width: int | None = None) -> Tensor:
    """Pad rows of integers with `value` to a (B, L) tensor; L is the longest row's length unless `width` is given."""
    width = width or max(len(row) for row in rows)
    padded = torch.full((len(rows), width), value)
    for index, row in enumerate(rows):
        columns = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        padded[index, columns] = torch.tensor(row, dtype=torch.long)
    return padded


def join_inputs(rows: Sequence[EncodedRow]) -> Batch:
    """Concatenate the inputs that a model takes besides ids, over all rows along the first dimension.

    Raises:
        ValueError: the inputs of two rows have incompatible shapes; names both.
    """
    joined = {}
    for name in dict.fromkeys(name for row in rows for name in row.inputs):
        having = [row for row in rows if name in row.inputs]
        shapes = {tuple(row.inputs[name].shape[1:]): row.id for row in having}
        if len(shapes) > 1:
            (one, first), (other, second) = list(shapes.items())[:2]
            raise ValueError(f"{name}: row {first} has shape {one}, row {second} {other}; they share a batch")
        joined[name] = torch.cat([row.inputs[name] for row in having])
    return joined


def prompt_batch(rows: Sequence[EncodedRow], pad_id: int) -> Batch:
    """Make a batch for generation, prompts padded on the left: 'input_ids', 'attention_mask' (B, L), and the inputs."""
    return _padded(rows, [row.prompt_ids for row in rows], pad_id, "left")


def supervised_batch(rows: Sequence[EncodedRow], pad_id: int) -> Batch:
    """Make a batch padded on the right: 'input_ids', 'attention_mask', 'labels' (B, L), and the inputs."""
    batch = _padded(rows, [[*row.prompt_ids, *row.target_ids] for row in rows], pad_id, "right")
    return {**batch, "labels": pad([_labels(row) for row in rows], IGNORED, "right")}


def packed_batch(packs: Sequence[Sequence[EncodedRow]], pad_id: int) -> Batch:
    """Make a (B, L) batch of packs of rows: in each, prompts and targets follow one another with hardly any padding.

    'position_ids' restart with every row. Given those, no attention mask and no cache, transformers keeps attention
    within each row. 'labels' cover targets only; a row begins with its prompt, so that no token is predicted across
    rows.
    """
    ids = [[token for row in pack for token in (*row.prompt_ids, *row.target_ids)] for pack in packs]
    labels = [[label for row in pack for label in _labels(row)] for pack in packs]
    width = max(map(len, ids))
    lengths = [[*map(len, pack), width - len(row)] for pack, row in zip(packs, ids, strict=True)]
    return {
        "input_ids": pad(ids, pad_id, "right"),
        "position_ids": torch.tensor([[position for length in row for position in range(length)] for row in lengths]),
        "labels": pad(labels, IGNORED, "right"),
        "use_cache": False,  # type: ignore[dict-item]
        **join_inputs([row for pack in packs for row in pack]),
    }


def _labels(row: EncodedRow) -> list[int]:
    return [IGNORED] * len(row.prompt_ids) + row.target_ids


def _padded(rows: Sequence[EncodedRow], ids: list[list[int]], pad_id: int, side: Literal["left", "right"]) -> Batch:
    batch = {
        "input_ids": pad(ids, pad_id, side),
        "attention_mask": pad([[1] * len(row) for row in ids], 0, side),
    }
    for name in dict.fromkeys(name for row in rows for name in row.per_token):
        values = [row.per_token.get(name, []) for row in rows]
        rest = [len(row) - len(value) for row, value in zip(ids, values, strict=True)]
        batch[name] = pad([[*value, *[0] * count] for value, count in zip(values, rest, strict=True)], 0, side)
    return batch | join_inputs(rows)
