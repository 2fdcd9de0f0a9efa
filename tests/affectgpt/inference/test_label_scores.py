"""Scores of labels are the likelihoods that a plain forward gives each of them alone."""

from __future__ import annotations

import pytest
import torch
from transformers import MambaConfig, MambaForCausalLM

from affectgpt.inference.label_scores import score_labels, split_lead
from affectgpt.inference.prompt_cache import PromptCache
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.reader import ClipReader, EncodedRow
from affectgpt.problems import InputError
from tests.support.feature_sources import Table
from tests.support.rows import make_clip


@pytest.fixture
def rows(tiny, tmp_path):
    clips = []
    for name, question, media in (("a", "joy?", True), ("b", "What does this person feel?", False)):
        path = tmp_path / f"{name}.mp4"
        clips.append(make_clip(name, question=question, video=path if media else None))
    reader = ClipReader(tiny.processor, Table({"a": tiny.features(1)}))
    return reader, reader.read(clips)


@pytest.mark.parametrize("lead", ["", "this person feels "])
def test_every_label_alone(tiny, rows, lead):
    reader, read = rows
    model = tiny.model().train()
    labels = [lead + label for label in ("joy", "anger, fear", "surprise", "this person feels nothing")]
    shared = len(reader.tokenizer(lead, add_special_tokens=False)["input_ids"]) if lead else 0
    assert len(split_lead(reader.tokenizer, labels)[0]) >= shared - 1  # the last space may belong to the label
    found = score_labels(model, reader, read, labels)
    assert model.training
    model.eval()
    assert found.shape == (2, 4)
    for row, scores in zip(read, found, strict=True):
        for label, score in zip(labels, scores, strict=True):
            ids = reader.tokenizer(label, add_special_tokens=False)["input_ids"]
            whole = EncodedRow(row.id, [*row.prompt_ids, *ids], [], row.inputs, row.per_token)
            with torch.no_grad():
                logits = model(**prompt_batch([whole], 0)).logits[0].log_softmax(-1)
            counted = len(ids) - len(split_lead(reader.tokenizer, labels)[0])
            expected = logits[-len(ids) - 1 : -1].gather(-1, torch.tensor(ids)[:, None])[-counted:].sum()
            torch.testing.assert_close(score, expected, rtol=0, atol=1e-5)


def test_a_label_that_others_begin_with_keeps_a_token_to_score(tiny):
    tokenizer = tiny.processor.tokenizer
    for labels in (["joy", "joy joy joy"], ["joy", "joy"], ["joy"]):
        lead, rests = split_lead(tokenizer, labels)
        assert all(rests)
        for label, rest in zip(labels, rests, strict=True):
            assert [*lead, *rest] == tokenizer(label, add_special_tokens=False)["input_ids"]


def test_a_prompt_is_read_once_whatever_the_number_of_labels(tiny, rows):
    reader, read = rows
    model = tiny.model()
    tokens: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, __, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    single = score_labels(model, reader, read, ["joy", "fear"], batch_size=1)
    assert len(tokens) == 4
    longest = max(len(reader.tokenizer(label, add_special_tokens=False)["input_ids"]) for label in ("joy", "fear"))
    assert tokens == [value for row in read for value in (len(row.prompt_ids) - 1, 2 * longest)]
    together = score_labels(model, reader, read, ["joy", "fear"])
    assert len(tokens) == 6
    torch.testing.assert_close(single, together, rtol=0, atol=1e-5)
    assert score_labels(model, reader, [], ["joy"]).shape == (0, 1)


def test_a_model_without_keys_and_values_reads_its_prompts_with_each_label(tiny, rows):
    """Recurrent models (Mamba) keep a state that cannot be repeated."""
    reader, _ = rows
    settings = {"vocab_size": len(reader.tokenizer), "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
    torch.manual_seed(0)
    model = MambaForCausalLM(MambaConfig(**settings)).eval()
    read = [EncodedRow("long", [5, 6, 7, 8, 9, 10], []), EncodedRow("short", [7, 8], [])]
    labels = ["joy", "anger, fear", "surprise"]
    found = score_labels(model, reader, read, labels)
    for row, scores in zip(read, found, strict=True):
        for label, score in zip(labels, scores, strict=True):
            lead, rests = split_lead(reader.tokenizer, labels)
            rest = rests[labels.index(label)]
            ids = torch.tensor([[*row.prompt_ids, *lead, *rest]])
            with torch.no_grad():
                likely = model(ids).logits[0, :-1].log_softmax(-1)[-len(rest) :]
            expected = sum(float(likely[place, token]) for place, token in enumerate(rest))
            assert float(score) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(InputError, match="MambaForCausalLM: its cache: expected keys and values"):
        PromptCache(model, prompt_batch(read, reader.tokenizer.pad_token_id))
