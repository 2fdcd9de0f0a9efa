"""Comparing trainings whose sums have another order: on several processes, in other batches, with a shared prompt.

SGD is linear in the gradients: rounding stays as small in the weights as it is there. Adam divides a gradient by its
own size, and makes whole steps of rounding where there is no gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import TrainingArguments


def sgd_with_momentum(
    arguments: TrainingArguments, _: Any = None
) -> tuple[type[torch.optim.Optimizer], dict[str, float]]:
    """Stand for `Trainer.get_optimizer_cls_and_kwargs`: an optimiser that has a state, as Adam does."""
    return torch.optim.SGD, {"lr": arguments.learning_rate, "momentum": 0.9}


def assert_same_but_for_rounding(
    found: Mapping[str, Tensor], expected: Mapping[str, Tensor], before: Mapping[str, Tensor]
) -> None:
    """Compare weights after steps of SGD.

    Sums of another order are off by some millionths of what they are sums of. Half a batch that is lost, or counted
    twice, is far more than the thousandth that is allowed of what a tensor changed by.

    Args:
        before: the weights that training began with; of a tensor that is not among them, all that it is counts as
            change.

    Raises:
        AssertionError: they differ, or there was next to nothing to compare.
    """
    assert found.keys() >= expected.keys()
    furthest = 0.0
    for name, value in expected.items():
        change = float((value - before.get(name, torch.zeros_like(value))).abs().max())
        furthest = max(furthest, change)
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-6 + 1e-3 * change, msg=f"{name} {change}")
    assert furthest > 1e-3, f"nothing changed by more than {furthest}"
