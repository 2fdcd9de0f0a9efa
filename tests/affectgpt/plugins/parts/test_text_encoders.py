"""Encoders: what is read of long texts, padding without effect, no text, and which folder a name stands for."""

from __future__ import annotations

import pytest
import torch
from transformers import BertConfig, BertModel

from affectgpt.plugins.parts.text_encoders import HubEncoder, ScratchEncoder, find_encoder


@pytest.fixture(scope="module")
def hub_encoder(tiny, tmp_path_factory):
    """An untrained encoder with the tiny tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=tiny.vocab_size + 16, **size)).save_pretrained(folder)
    tiny.processor.tokenizer.save_pretrained(folder)
    return HubEncoder.of(str(folder))


@pytest.fixture(params=["scratch", "hub"])
def encoder(request):
    if request.param == "hub":
        return request.getfixturevalue("hub_encoder")
    return ScratchEncoder.of([f"word{place}" for place in range(200)] + ["joy anger fear"] * 2, least=1)


def test_of_a_long_text_the_first_and_the_last_is_read(encoder):
    text = " ".join(f"word{place}" for place in range(200))
    [(ids, offsets)] = encoder.read([text])
    assert len(ids) == len(offsets) == 128
    [(whole, _)] = encoder.read([text[:200]])
    assert ids[:20] == whole[:20]
    assert text[offsets[0][0] : offsets[63][1]] == text[: offsets[63][1]]
    assert offsets[-1][1] == len(text)
    assert offsets[64][0] > offsets[63][1] + 100


def test_no_text_has_no_tokens(encoder):
    assert encoder.read([]) == []


def test_what_stands_beside_a_text_changes_nothing(encoder):
    encoder.eval()
    read = encoder.read(["joy", "joy anger fear joy anger"])
    longest = max(len(ids) for ids, _ in read)
    ids, mask = torch.zeros(2, longest, dtype=torch.long), torch.zeros(2, longest, dtype=torch.long)
    for place, (row, _) in enumerate(read):
        ids[place, : len(row)], mask[place, : len(row)] = torch.tensor(row), 1
    with torch.no_grad():
        together = encoder(ids, mask)
        for place, (row, _) in enumerate(read):
            alone = encoder(torch.tensor([row]), torch.ones(1, len(row), dtype=torch.long))[0]
            torch.testing.assert_close(together[place, : len(row)], alone, rtol=0, atol=1e-5)


def test_words_are_known_whatever_their_capitals():
    encoder = ScratchEncoder.of(["Joy joy fear"])
    assert encoder.words == ["joy"]
    [(ids, offsets)] = encoder.read(["JOY, fear!"])
    assert ids == [2, 1]
    assert offsets == [(0, 3), (5, 9)]


def test_a_name_stands_for_itself_but_for_the_packaged_one(minilm):
    assert find_encoder("some/encoder") == "some/encoder"
    assert find_encoder("minilm") == minilm
