"""Prompts that are read once give what prompts give that are read with every completion: scores, gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.reader import EncodedRow
from tests.support.prompt_models import GROUP, KINDS, subject
from train.stages.shared_prefix import following, share_prompts


def completions(vocabulary: int) -> tuple[Tensor, Tensor]:
    """(B, C) ids and mask of unequal length."""
    rng = torch.Generator().manual_seed(2)
    ids = torch.randint(3, min(vocabulary, 200), (len(GROUP), 5), generator=rng)
    lengths = torch.tensor([5, 3, 1, 4, 5, 2, 5, 4])
    mask = (torch.arange(5) < lengths[:, None]).long()
    return ids * mask, mask


def log_probs(model: Any, hidden: Tensor, ids: Tensor) -> Tensor:
    """(B, C) of each token of the completion, from the hidden states (B, 1 + C, E) before it."""
    logits = model.get_output_embeddings()(hidden[:, :-1])
    return logits.log_softmax(-1).gather(-1, ids[..., None])[..., 0]


def plain(model: Any, rows: list[EncodedRow], ids: Tensor, mask: Tensor) -> Tensor:
    """Every prompt read with every completion, alone and without padding."""
    scores = []
    for index, number in enumerate(GROUP.tolist()):
        said = ids[index][mask[index].bool()]
        batch = prompt_batch([rows[number]], 0)
        whole = torch.cat([batch["input_ids"], said[None]], dim=1)
        extra = {
            name: torch.cat([value, torch.zeros_like(said)[None]], dim=1)
            if value.shape == batch["input_ids"].shape
            else value
            for name, value in batch.items()
            if name not in ("input_ids", "attention_mask")
        }
        hidden = model.base_model(input_ids=whole, attention_mask=torch.ones_like(whole), **extra).last_hidden_state
        scores.append(log_probs(model, hidden[:, -len(said) - 1 :], said[None])[0])
    return torch.nn.utils.rnn.pad_sequence(scores, batch_first=True)


@pytest.mark.parametrize("way", ["cache", "packed"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_gradients_are_those_of_the_plain_forward(tiny, hub, kind, way):
    model, rows = subject(kind, tiny, hub)
    model.train()
    ids, mask = completions(model.config.get_text_config().vocab_size)
    weights = torch.randn(ids.shape, generator=torch.Generator().manual_seed(3)) * mask

    expected = plain(model, rows, ids, mask)
    (expected * weights).sum().backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    share_prompts(model, way)
    first = torch.ones(len(ids), 1, dtype=torch.long)
    output = model.base_model(
        input_ids=torch.cat([first, ids], dim=1),
        attention_mask=torch.cat([first, mask], dim=1),
        shared={"prompt": prompt_batch(rows, 0), "group": GROUP},
    )
    found = log_probs(model, output.last_hidden_state, ids)
    torch.testing.assert_close(found * mask, expected * mask, rtol=0, atol=1e-5)
    (found * weights).sum().backward()
    for name, value in gradients.items():
        scale = max(1.0, float(value.abs().max()))
        torch.testing.assert_close(
            dict(model.named_parameters())[name].grad / scale, value / scale, rtol=0, atol=1e-5, msg=name
        )


@pytest.mark.parametrize("kind", ["qwen3", "affectgpt", "qwen2_5_vl"])
def test_gradient_checkpointing_goes_through_the_packed_row(tiny, hub, kind):
    scores = []
    for checkpointed in (False, True):
        model, rows = subject(kind, tiny, hub)
        model.train()
        ids, mask = completions(model.config.get_text_config().vocab_size)
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        share_prompts(model, "packed")
        first = torch.ones(len(ids), 1, dtype=torch.long)
        output = model.base_model(
            input_ids=torch.cat([first, ids], dim=1),
            attention_mask=torch.cat([first, mask], dim=1),
            shared={"prompt": prompt_batch(rows, 0), "group": GROUP},
        )
        found = log_probs(model, output.last_hidden_state, ids) * mask
        found.sum().backward()
        scores.append((found.detach(), model.get_input_embeddings().weight.grad.clone()))
    torch.testing.assert_close(scores[1], scores[0], rtol=0, atol=1e-5)


def test_places_behind_a_prompt():
    positions = torch.tensor([[0, 0, 1], [0, 1, 2]])
    assert following(positions, torch.tensor([1, 0]), 2).tolist() == [[3, 4], [2, 3]]
