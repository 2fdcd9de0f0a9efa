"""Check of the loss: a NaN or infinite one stops the run before it reaches the weights; its rows are named."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from affectgpt.inputs.reader import EncodedRow
from affectgpt.problems import RunError

ROW_IDS = "row_ids"
ROW_TOKENS = "row_tokens"
"""Keys of a supervised batch for the ids of its rows and the sum of their lengths; no model sees them."""


class NamedRows:
    """Collator whose batches also carry the ids of their rows and the number of their tokens.

    Args:
        collate: makes a batch of items, each a list of rows.
    """

    def __init__(self, collate: Callable[[Sequence[Sequence[EncodedRow]]], Mapping[str, Any]]) -> None:
        self.collate = collate

    def __call__(self, items: Sequence[Sequence[EncodedRow]]) -> dict[str, Any]:
        """Return the batch with 'row_ids' and 'row_tokens'."""
        rows = [row for item in items for row in item]
        return {**self.collate(items), ROW_IDS: [row.id for row in rows], ROW_TOKENS: sum(map(len, rows))}


class FiniteLossMixin:
    """Mixin for `transformers.Trainer`; list it before the trainer class.

    All processes stop if one of them has a NaN or infinite loss.
    """

    accelerator: Any
    state: Any

    def rows_of(self, inputs: Mapping[str, Any]) -> list[str]:
        """Return the ids of the rows of a micro-batch."""
        return list(inputs.get(ROW_IDS, []))

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Compute the trainer's loss, and check that it is finite.

        Raises:
            RunError: the loss of any process is NaN or infinite; raised on all of them.
        """
        rows = self.rows_of(inputs)
        given = {name: value for name, value in inputs.items() if name not in (ROW_IDS, ROW_TOKENS)}
        found = super().compute_loss(model, given, *args, **kwargs)  # type: ignore[misc]
        loss: Tensor = found[0] if isinstance(found, tuple) else found
        finite = torch.isfinite(loss.detach()).all().to(torch.int32).reshape(1)
        if int(self.accelerator.gather(finite).min()):
            return found
        value = float(loss.detach())
        mine = None if math.isfinite(value) else f"{value} in rows {', '.join(rows)}"
        told = [mine]
        if self.accelerator.num_processes > 1:
            told = [None] * self.accelerator.num_processes
            torch.distributed.all_gather_object(told, mine)
        said = "; ".join(text for text in told if text)
        raise RunError(
            f"step {self.state.global_step + 1}: the loss is {said}. The step was not taken. Look at these rows; if "
            "they are right, a lower learning_rate or max_grad_norm may help."
        )
