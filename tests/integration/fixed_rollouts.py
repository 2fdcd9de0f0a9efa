"""Answers that the prompt fixes, whatever the model says, in stages of `max_new_tokens` 13.

So that what several processes learn can be compared with what one does: sampling differs between them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from train.stages import grpo_trainer

TOKENS = 13
_generate = grpo_trainer.generate_groups


def generate(model: Any, prompt: dict[str, Tensor], group: Tensor, **kwargs: Any) -> Tensor:
    """As `generate_groups`."""
    output = _generate(model, prompt, group, **kwargs)  # every process takes part, as ever
    if kwargs["generation_config"].max_new_tokens != TOKENS:
        return output
    answers = torch.full((len(group), TOKENS), kwargs["tokenizer"].pad_token_id)
    for place, number in enumerate(group.tolist()):
        turn = group[:place].tolist().count(number)
        ids = prompt["input_ids"][number][prompt["attention_mask"][number].bool()]
        rng = torch.Generator().manual_seed(int(ids.sum()) + turn)
        length = int(torch.randint(3, TOKENS, (1,), generator=rng))
        answers[place, :length] = torch.randint(10, 250, (length,), generator=rng)
        answers[place, length] = kwargs["tokenizer"].eos_token_id
    return answers
