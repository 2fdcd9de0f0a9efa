"""Answers that start from prompts which were read once are those of `generate`."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from affectgpt.inference.prompt_cache import PromptCache, generate_groups, group_of
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.reader import EncodedRow
from tests.support.prompt_models import GROUP, KINDS, subject

GREEDY = hf.GenerationConfig(max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_generate(tiny, hub, kind):
    model, rows = subject(kind, tiny, hub)
    model.eval()
    found = generate_groups(model, prompt_batch(rows, 0), GROUP, generation_config=GREEDY)
    for index, number in enumerate(GROUP.tolist()):
        alone = model.generate(**prompt_batch([rows[number]], 0), generation_config=GREEDY)[0, -6:]
        assert found[index].tolist() == alone.tolist()


@torch.no_grad()
def test_answers_to_one_prompt_differ_when_they_are_drawn(tiny, hub):
    model, rows = subject("affectgpt", tiny, hub)
    calls: list[int] = []
    model.model.soft_tokens.register_forward_hook(lambda *_: calls.append(1))
    torch.manual_seed(0)
    settings = hf.GenerationConfig(max_new_tokens=6, min_new_tokens=6, do_sample=True, pad_token_id=0)
    found = generate_groups(model, prompt_batch(rows, 0), GROUP, generation_config=settings)
    assert len(calls) == 1
    assert len({tuple(row) for row in found[:3].tolist()}) == 3


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_read_on_are_as_if_they_had_been_longer(tiny, hub, kind):
    model, rows = subject(kind, tiny, hub)
    model.eval()
    prompts = PromptCache(model, prompt_batch(rows, 0))
    first = prompts.answer(GROUP, generation_config=GREEDY)
    pieces = [[[5, 6, 7], [8], []], [[], [9, 10], [11]], [[], [], []]]
    for piece in pieces:
        prompts.extend(piece)
    found = prompts.answer(GROUP, generation_config=GREEDY)
    for index, number in enumerate(GROUP.tolist()):
        row = rows[number]
        more = [token for piece in pieces for token in piece[number]]
        per_token = {name: [*values, *[0] * len(more)] for name, values in row.per_token.items()}
        longer = EncodedRow(row.id, [*row.prompt_ids, *more], [], row.inputs, per_token)
        alone = model.generate(**prompt_batch([longer], 0), generation_config=GREEDY)[0, -6:]
        assert found[index].tolist() == alone.tolist()
    assert not torch.equal(first, found)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_given_answers_are_as_likely_as_in_a_plain_forward(tiny, hub, kind):
    model, rows = subject(kind, tiny, hub)
    model.eval()
    answers = [[5, 6, 7, 8], [9], [10, 11], [5], [12, 13, 14], [6, 6], [7], [8, 9, 10, 11, 12]]
    prompts = PromptCache(model, prompt_batch(rows, 0))
    prompts.extend([[3, 4], [], [5]])
    found = prompts.log_probs(GROUP, answers)
    again = prompts.log_probs(GROUP[:2], answers[:2])  # the prompts are as they were
    for index, number in enumerate(GROUP.tolist()):
        row, more = rows[number], [[3, 4], [], [5]][number]
        ids = [*row.prompt_ids, *more, *answers[index]]
        rest = [0] * (len(ids) - len(row.prompt_ids))
        longer = EncodedRow(
            row.id, ids, [], row.inputs, {name: [*values, *rest] for name, values in row.per_token.items()}
        )
        logits = model(**prompt_batch([longer], 0)).logits[0].log_softmax(-1)
        said = torch.tensor(answers[index])
        expected = logits[-len(said) - 1 : -1].gather(-1, said[:, None])[:, 0]
        torch.testing.assert_close(found[index], expected, rtol=0, atol=1e-5)
        if index < 2:
            torch.testing.assert_close(again[index], expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_likelihoods_of_a_model_in_half_precision_are_summed_in_full(tiny, hub):
    model, rows = subject("affectgpt", tiny, hub)
    model.model.language_model.bfloat16()
    model.lm_head.bfloat16()
    found = PromptCache(model.eval(), prompt_batch(rows, 0)).log_probs(GROUP[:2], [[5, 6], [7]])
    assert [value.dtype for value in found] == [torch.float32] * 2


def test_groups():
    assert group_of([7, 7, 3, 7, 9]) == ([7, 3, 9], [0, 0, 1, 0, 2])
