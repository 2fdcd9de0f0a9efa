"""Log-likelihood of each label of a closed set as a language model's answer; no generated text is parsed.

Every row's prompt, media included, and the tokens that all labels begin with are read only once for all labels, if the
model keeps a cache of keys and values.

Shapes: U rows, E labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from affectgpt.inference.prompt_cache import NoPromptCache, PromptCache
from affectgpt.inputs.batch import pad, prompt_batch
from affectgpt.inputs.message_reader import SPECIAL, MessageRow
from affectgpt.inputs.reader import EncodedRow, Reader
from affectgpt.llm.endpoint import ChatEndpoint
from affectgpt.prompt_safety import defuse, special_tokens


@torch.no_grad()
def score_labels(
    model: Any, reader: Reader, rows: Sequence[EncodedRow], labels: Sequence[str], batch_size: int = 16
) -> Tensor:
    """Compute the (U, E) log-likelihood of each label as the beginning of the answer, given the labels' common prefix.

    Args:
        rows: prompts; their targets are ignored.
        labels: beginnings of an answer, such as 'Emotion: joyful'; none of them empty.
        batch_size: rows read together.

    Returns:
        Sums over a label's tokens, on the CPU; the end token is not counted. Of a model behind a URL the common prefix
        counts too, in every label alike, and the prompt is a plain transcript: its chat template is not applied to
        what is scored.

    Raises:
        InputError: a model behind a URL whose server gives no log-probabilities of a prompt.
    """
    if isinstance(model, ChatEndpoint):
        read = [(row.transcript, label) for row in rows if isinstance(row, MessageRow) for label in labels]
        plain = [(prompt, defuse(label, SPECIAL)) for prompt, label in read]
        return torch.tensor(model.log_probs(plain)).view(len(rows), len(labels))
    lead, rests = split_lead(reader.tokenizer, labels)
    was_training = model.training
    model.eval()
    sums = []
    for start in range(0, len(rows), batch_size):
        part = [replace(row, prompt_ids=[*row.prompt_ids, *lead]) for row in rows[start : start + batch_size]]
        batch = prompt_batch(part, reader.tokenizer.pad_token_id)
        try:
            prompts = PromptCache(model, {name: value.to(model.device) for name, value in batch.items()})
        except NoPromptCache:
            sums += [_read_whole(model, row, rests) for row in part]
            continue
        group = torch.arange(len(part), device=model.device).repeat_interleave(len(rests))
        scores = prompts.log_probs(group, rests * len(part))
        sums.append(torch.stack([score.sum() for score in scores]).view(len(part), len(rests)).cpu())
    model.train(was_training)
    return torch.cat(sums) if sums else torch.zeros(0, len(rests))


def _read_whole(model: Any, row: EncodedRow, rests: Sequence[Sequence[int]]) -> Tensor:
    """Compute the (1, E) log-likelihoods of endings by a model without a cache: the prompt is read with each.

    Padding follows the endings, where it changes nothing of what stands before it.
    """
    ids = pad([[*row.prompt_ids, *rest] for rest in rests], 0, "right").to(model.device)
    mask = pad([[1] * (len(row.prompt_ids) + len(rest)) for rest in rests], 0, "right").to(model.device)
    given = {name: value.to(model.device) for name, value in row.inputs.items()}
    logits = model(input_ids=ids, attention_mask=mask, **given).logits[:, len(row.prompt_ids) - 1 : -1].float()
    taken = logits.log_softmax(-1).gather(2, ids[:, len(row.prompt_ids) :, None])[..., 0]
    return (taken * mask[:, len(row.prompt_ids) :]).sum(1, keepdim=True).T.cpu()


def split_lead(tokenizer: Any, labels: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """Split labels into the tokens of their common prefix and the remaining tokens of each, at least one."""
    special = special_tokens(tokenizer)
    plain = [defuse(label, special) for label in labels]
    ids: list[list[int]] = [tokenizer(label, add_special_tokens=False)["input_ids"] for label in plain]
    assert all(ids), "a label without a token"
    most = min(map(len, ids)) - 1
    shared = next((index for index in range(most) if len({row[index] for row in ids}) > 1), most)
    return ids[0][:shared], [row[shared:] for row in ids]
