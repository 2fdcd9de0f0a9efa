"""How likely a language model finds each label of a closed set as its answer: exact, parsed from nothing.

Every row's prompt, media included, is read once for all labels.

Shapes: U rows, E labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from affectgpt.batch import prompt_batch
from affectgpt.prompt_cache import PromptCache
from affectgpt.reader import Reader, Row


@torch.no_grad()
def score_labels(
    model: Any, reader: Reader, rows: Sequence[Row], labels: Sequence[str], batch_size: int = 16
) -> Tensor:
    """(U, E) mean log-probability by token of each label as the whole answer, its end not counted; on the CPU.

    Args:
        rows: prompts; what they answer is not looked at.
        labels: as the answer would begin, such as 'Emotion: joyful'; none of them empty.
        batch_size: rows read together.
    """
    tokenizer = reader.tokenizer
    ids = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in labels]
    assert all(ids), "a label without a token"
    was_training = model.training
    model.eval()
    found = []
    for start in range(0, len(rows), batch_size):
        part = rows[start : start + batch_size]
        batch = prompt_batch(part, tokenizer.pad_token_id)
        prompts = PromptCache(model, {name: value.to(model.device) for name, value in batch.items()})
        group = torch.arange(len(part), device=model.device).repeat_interleave(len(ids))
        scores = prompts.log_probs(group, ids * len(part))
        found.append(torch.stack([score.mean() for score in scores]).view(len(part), len(ids)).cpu())
    model.train(was_training)
    return torch.cat(found) if found else torch.zeros(0, len(ids))
