"""Rollouts between generation and loss: cut, grouped, split into micro-batches, joined with their inputs for scoring.

Shapes: B completions of a batch, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from affectgpt.inputs.batch import Batch, join_inputs, pad
from affectgpt.inputs.reader import EncodedRow


def split_groups(rollouts: dict[str, Any], generations: int, parts: int) -> list[dict[str, Any]]:
    """Split rollouts into `parts` micro-batches; groups are shuffled, and kept together as far as a micro-batch allows.

    Args:
        rollouts: tensors whose first dimension is the rollouts, those of a group one after another; anything else is
            copied into every micro-batch.
        generations: rollouts of a group.
    """
    count = len(rollouts["completion_ids"])
    order = torch.arange(count).view(-1, generations)[torch.randperm(count // generations)].flatten()
    size = count // parts
    return [
        {
            name: value[order[part * size : (part + 1) * size].to(value.device)]
            if isinstance(value, Tensor) and value.ndim and len(value) == count
            else value
            for name, value in rollouts.items()
        }
        for part in range(parts)
    ]


def are_equal(rewards: Tensor) -> Tensor:
    """Tell for each group, (groups,), whether its rewards are equal up to rounding: such a group teaches nothing.

    TRL's own count mistakes the rounding of the mean for a difference.

    Args:
        rewards: (groups, rollouts of a group).
    """
    return rewards.amax(1) - rewards.amin(1) < 1e-6


def to_exchange(equal: Tensor) -> Tensor:
    """Choose the groups that each process draws anew, (processes, n): equal ones first, then others up to n.

    All processes draw the same number n, the largest count of equal groups, so that they can gather; 0 without any.

    Args:
        equal: (processes, groups) which groups of each process are equal.
    """
    most = int(equal.sum(1).max())
    return torch.argsort(equal.long(), dim=1, descending=True, stable=True)[:, :most]


def scoring_inputs(rows: Sequence[EncodedRow], prompt_width: int, width: int) -> Batch:
    """Return the inputs besides ids to score completions behind prompts padded on the left to `prompt_width`.

    Inputs of every token, such as its type, are (B, width) and 0 for completions.
    """
    batch = join_inputs(rows)
    for name in dict.fromkeys(name for row in rows for name in row.per_token):
        prompts = pad([row.per_token.get(name, [0] * len(row.prompt_ids)) for row in rows], 0, "left", prompt_width)
        batch[name] = functional.pad(prompts, (0, width - prompt_width))
    return batch


def cut_after(ids: list[int], ends: Sequence[int]) -> list[int]:
    """Return the ids up to and including the first of `ends`."""
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: stop + 1]
