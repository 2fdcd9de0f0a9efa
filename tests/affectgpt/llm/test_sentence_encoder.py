"""Sentence encoders: pooling as the saved model asks for it, padding without effect, each text encoded once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel

from affectgpt.llm import sentence_encoder
from affectgpt.llm.sentence_encoder import SentenceEncoder, load_sentence_encoder
from affectgpt.problems import InputError

TEXTS = ["joy", "What does this person feel?", "fear"]


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=tiny.vocab_size + 16, max_position_embeddings=40, **size)).save_pretrained(tmp_path)
    tiny.processor.tokenizer.save_pretrained(tmp_path)
    return tmp_path


def write_pooling(folder: Path, *modes: str) -> None:
    (folder / "1_Pooling").mkdir(exist_ok=True)
    saved = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "include_prompt": True}
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps(saved | {f"pooling_mode_{name}": True for name in modes})
    )


@pytest.mark.parametrize(
    ("mode", "pool"),
    [
        (None, lambda hidden: hidden.mean(0)),
        ("mean_tokens", lambda hidden: hidden.mean(0)),
        ("cls_token", lambda hidden: hidden[0]),
        ("lasttoken", lambda hidden: hidden[-1]),
        ("max_tokens", lambda hidden: hidden.amax(0)),
    ],
)
def test_a_text_is_pooled_as_if_it_were_alone(folder, mode, pool):
    if mode:
        write_pooling(folder, mode)
    encoder = SentenceEncoder(str(folder), "cpu")
    found = encoder.encode(TEXTS)
    for text, vector in zip(TEXTS, found, strict=True):
        ids = encoder.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            alone = pool(encoder.model(ids).last_hidden_state[0])
        torch.testing.assert_close(vector, alone / alone.norm(), rtol=0, atol=1e-5)


def test_a_text_is_encoded_once(folder):
    encoder = SentenceEncoder(str(folder), "cpu", batch_size=2)
    calls: list[int] = []
    encoder.model.register_forward_hook(lambda *_: calls.append(1))
    first = encoder.encode([*TEXTS, "joy"])
    assert len(calls) == 2
    assert torch.equal(first[0], first[3])
    assert torch.equal(encoder.encode(TEXTS), first[:3])
    assert len(calls) == 2
    assert encoder.similarities(["joy", "fear"], ["joy", "joy"])[0] == pytest.approx(1)
    assert encoder.encode(["joy " * 500]).shape == (1, 16)  # longer than it has places for


def test_cosines_are_of_the_texts_in_one_place(folder):
    encoder = SentenceEncoder(str(folder), "cpu")
    others = ["fear", "joy", "JOY"]
    found = encoder.similarities(TEXTS, others)
    for text, other, cosine in zip(TEXTS, others, found, strict=True):
        one, two = encoder.encode([text, other])
        assert cosine == pytest.approx(float(one @ two), abs=1e-6)
    assert len(set(found)) == 3


def test_texts_that_differ_in_a_letter_are_two(folder):
    texts = ["joy", "Joy", "joy ", "joy."]
    encoder = SentenceEncoder(str(folder), "cpu", batch_size=1)
    calls: list[int] = []
    encoder.model.register_forward_hook(lambda *_: calls.append(1))
    assert len(encoder.encode(texts)) == len(calls) == 4


def test_only_so_many_texts_are_kept(folder, monkeypatch):
    monkeypatch.setattr(sentence_encoder, "_MOST_KEPT", 3)
    encoder = SentenceEncoder(str(folder), "cpu")
    first = encoder.encode(TEXTS)
    again = encoder.encode(["joy", "anger"])
    assert torch.allclose(again[0], first[0], atol=1e-6)
    assert set(encoder.known) == {"joy", "anger"}


def test_an_encoder_is_loaded_once(folder):
    load_sentence_encoder.cache_clear()
    found = load_sentence_encoder(str(folder))
    assert load_sentence_encoder(str(folder)) is found
    assert torch.allclose(found.encode(TEXTS).cpu(), SentenceEncoder(str(folder), "cpu").encode(TEXTS), atol=1e-5)
    load_sentence_encoder.cache_clear()


@pytest.mark.parametrize("modes", [(), ("mean_tokens", "cls_token"), ("weightedmean_tokens",)])
def test_another_pooling_is_refused(folder, modes):
    write_pooling(folder, *modes)
    with pytest.raises(InputError, match="got 'pooling by"):
        SentenceEncoder(str(folder))


def test_what_is_no_encoder(tmp_path):
    with pytest.raises(InputError, match="expected a sentence encoder's folder or Hub id"):
        SentenceEncoder(str(tmp_path))


def test_a_real_encoder_knows_what_is_alike(minilm):
    encoder = SentenceEncoder(minilm, "cpu")
    assert encoder.pooling == "mean_tokens"
    near, far = encoder.similarities(["a happy man", "a happy man"], ["a cheerful guy", "the opening hours"])
    assert near > 0.6 > 0.3 > far
