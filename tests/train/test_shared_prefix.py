"""Prompts that are read once give what prompts give that are read with every completion: scores, gradients, answers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as hf
from torch import Tensor

from affectgpt.batch import prompt_batch
from affectgpt.model.loading import load_model
from affectgpt.reader import Row
from tests.hub_models import tiny_hub_model
from train.shared_prefix import following, generate_groups, group_of, share_prompts

LM = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 59,
    "pad_token_id": 0,
}
GROUP = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


def text_model(kind: str) -> Any:
    torch.manual_seed(0)
    return {
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**LM)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**LM, head_dim=8)),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LM)),
        "gemma3": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**LM, head_dim=8, sliding_window=64)),
    }[kind]()


def text_rows() -> list[Row]:
    rng = torch.Generator().manual_seed(1)
    return [Row(str(length), torch.randint(1, 59, (length,), generator=rng).tolist(), []) for length in (9, 4, 6)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory) -> Any:
    folders = {}

    def build(kind: str) -> str:
        if kind not in folders:
            folders[kind] = tiny_hub_model(kind, tmp_path_factory.mktemp("hub") / kind)
        return str(folders[kind])

    return build


def subject(kind: str, tiny: Any, hub: Any) -> tuple[Any, list[Row]]:
    """A model and three prompts for it, of unequal length; of models with media, one without."""
    if kind == "affectgpt":
        rows = [
            tiny.row("What does this person feel?", "", tiny.features(1)),
            tiny.row("joy?", "", tiny.features(2, audio=False)),
            tiny.row("Explain step by step.", "", {}),
        ]
        return tiny.model(), rows
    if kind.startswith("qwen2_5") or kind.endswith("_vl"):
        from affectgpt.hub_reader import HubReader
        from affectgpt.model.loading import load_processor
        from tests.affectgpt.test_hub_reader import Decoded, clip

        folder = hub(kind)
        reader = HubReader(load_processor(folder), Decoded(), ("video", "text"))  # type: ignore[arg-type]
        return load_model(folder), reader.read([clip("a"), clip("t", video=False), clip("b")])
    return text_model(kind), text_rows()


KINDS = ["qwen2", "qwen3", "llama", "gemma3", "affectgpt", "qwen2_5_vl", "qwen3_vl"]


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


def plain(model: Any, rows: list[Row], ids: Tensor, mask: Tensor) -> Tensor:
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


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_answers_are_those_of_generate(tiny, hub, kind):
    model, rows = subject(kind, tiny, hub)
    model.eval()
    settings = hf.GenerationConfig(max_new_tokens=6, min_new_tokens=6, do_sample=False, pad_token_id=0)
    found = generate_groups(model, prompt_batch(rows, 0), GROUP, generation_config=settings)[:, -6:]
    for index, number in enumerate(GROUP.tolist()):
        alone = model.generate(**prompt_batch([rows[number]], 0), generation_config=settings)[0, -6:]
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
    assert len({tuple(row) for row in found[:3, -6:].tolist()}) == 3


def test_groups():
    assert group_of([7, 7, 3, 7, 9]) == ([7, 3, 9], [0, 0, 1, 0, 2])
    positions = torch.tensor([[0, 0, 1], [0, 1, 2]])
    assert following(positions, torch.tensor([1, 0]), 2).tolist() == [[3, 4], [2, 3]]
