"""The emotion plugin: it learns, its words decide, it is saved whole, and no dialogue is too odd for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import read_dialogues, rows_with_emotion
from affectgpt.evidence.words import read_text
from affectgpt.plugins.command import train_main
from affectgpt.plugins.emotion.plugin import EmotionModel
from affectgpt.plugins.parts.attention_head import AttentionHead
from affectgpt.plugins.parts.tfidf import TfidfModel
from affectgpt.plugins.plugin import load_plugin, save_plugin
from affectgpt.problems import InputError

WORDS = {"joyful": ["won", "party", "gift"], "afraid": ["dark", "storm", "snake"], "angry": ["rude", "stole", "liar"]}


def write_data(path, count=120):
    rng = np.random.default_rng(0)
    lines = []
    for _ in range(count):
        emotion = str(rng.choice(list(WORDS)))
        filler = rng.choice(["today", "then", "friend", "street", "house", "work"], 4).tolist()
        words = [*filler, *rng.choice(WORDS[emotion], 2).tolist()]
        rng.shuffle(words)
        turns = [" ".join(words) + "."]
        if rng.random() < 0.3:
            turns += ["Oh, what happened?", "It was " + str(rng.choice(WORDS[emotion])) + "!"]
        lines.append(json.dumps({"context": turns, "emotion": emotion}))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("dialogues") / "train.jsonl")


@pytest.fixture(scope="module")
def encoder(tiny, tmp_path_factory):
    """An untrained encoder with the tiny tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=tiny.vocab_size + 16, **size)).save_pretrained(folder)
    tiny.processor.tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def scratch(data):
    return EmotionModel.fit(rows_with_emotion(data), encoder="scratch", epochs=12)


def accuracy(model, rows):
    return np.mean([piece.top(1)[0][0] == row.answer for piece, row in zip(model.predict(rows), rows, strict=True)])


def test_it_learns_each_head_alone_and_both(scratch, tmp_path):
    test = rows_with_emotion(write_data(tmp_path / "test.jsonl", 60))
    assert accuracy(scratch, test) > 0.9
    texts = [read_text([turn["content"] for turn in row.prompt]) for row in test]
    for head in (0, 1):
        best = scratch.probabilities(texts, [head]).argmax(1)
        assert np.mean([scratch.labels[place] == row.answer for place, row in zip(best, test, strict=True)]) > 0.6


def test_an_encoder_of_the_hub_is_trained_and_saved_whole(data, encoder, tmp_path):
    rows = rows_with_emotion(data)
    settings = {"encoder": encoder, "epochs": 20, "learning_rate": 2e-3, "tfidf": False}
    model = EmotionModel.fit(rows, **settings)
    frozen = EmotionModel.fit(rows, **(settings | {"epochs": 1}), frozen=True)
    start = BertModel.from_pretrained(encoder).state_dict()
    assert accuracy(model, rows) > 0.6
    for name, value in frozen.encoder.model.state_dict().items():
        assert torch.equal(value, start[name])
    assert any(not torch.equal(value, start[name]) for name, value in model.encoder.model.state_dict().items())
    save_plugin(model, tmp_path / "saved")
    assert load_plugin(tmp_path / "saved").predict(rows) == model.predict(rows)


def test_it_is_saved_and_comes_back(scratch, data, tmp_path):
    save_plugin(scratch, tmp_path / "saved")
    again = load_plugin(tmp_path / "saved")
    rows = rows_with_emotion(data)
    for one, other in zip(scratch.predict(rows), again.predict(rows), strict=True):
        assert one.labels == other.labels
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-6)
    assert not any(path.suffix in (".bin", ".pkl", ".pt") for path in (tmp_path / "saved").rglob("*"))
    assert again.card() == scratch.card()


def test_what_is_beside_a_dialogue_changes_nothing(scratch, data):
    rows = rows_with_emotion(data)[:40]
    together = scratch.predict(rows)
    for row, piece in zip(rows, together, strict=True):
        assert scratch.predict([row])[0].probabilities == pytest.approx(piece.probabilities, abs=1e-5)


def test_attention_is_a_weighted_mean_of_what_is_there():
    torch.manual_seed(0)
    head = AttentionHead(6, 3, 0.1).eval()
    states, mask = torch.randn(2, 5, 6), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    logits, weights = head(states, mask)
    assert weights[0, 3:].tolist() == [0, 0]
    scores = torch.stack([head.score(torch.tanh(head.project(state)))[0] for state in states[0, :3]])
    torch.testing.assert_close(weights[0, :3], scores.softmax(0))
    pooled = sum(weight * state for weight, state in zip(weights[0, :3], states[0, :3], strict=True))
    torch.testing.assert_close(logits[0], head.out(torch.tanh(head.hidden(pooled))))


ODD = {
    "one turn": ["won"],
    "200 turns": [f"turn {place} won" for place in range(200)],
    "50,000 characters": ["won " * 12_500],
    "mixed scripts": ["我很高兴 won Ура! 🎉 مرحبا"],
    "no word": ["...!? 🎉"],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_dialogues(scratch, name):
    turns = [{"role": "user", "content": turn} for turn in ODD[name]]
    row = Clip(id="odd", messages=[*turns, {"role": "assistant", "content": "x"}], task="dialogue", answer="joyful")
    [piece] = scratch.predict([row])
    assert sum(piece.probabilities) == pytest.approx(1)


def test_of_many_turns_the_first_and_the_last_are_read():
    text = read_text([f"turn{place}" for place in range(200)])
    assert [number for number, _ in text.turns] == [0, *range(169, 200)]
    assert len(read_text(["x" * 50_000]).text) == 2_000
    words = read_text(["I won, I won!", "It's 好"]).words()
    assert [word for *_, word in words] == ["I", "won", "I", "won", "It's", "好"]
    assert words[4][:3] == (14, 1, 0)


def test_rows_without_words_have_no_evidence(scratch):
    turns = [{"role": "user", "content": "What does this person feel?"}, {"role": "assistant", "content": "joy"}]
    silent = Clip(id="a", messages=turns, task="emotion_label", answer="joy")
    spoken = Clip(id="b", messages=turns, task="emotion_label", answer="joy", subtitle="I won a gift!")
    none, piece = scratch.predict([silent, spoken])
    assert none is None
    assert piece.top(1)[0][0] == "joyful"


def test_tfidf_with_a_label_that_no_text_has():
    texts = ["won a gift now", "won a party now", "dark storm here", "dark snake here"] * 2
    model = TfidfModel.fit(texts, np.array([0, 0, 2, 2] * 2), 3)
    found = np.exp(model.log_probs(["won a gift", "dark storm"]))
    assert found.argmax(1).tolist() == [0, 2]
    assert found[:, 1].max() < 1e-6
    assert found.sum(1) == pytest.approx([1, 1])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"context": [], "emotion": "joyful"}, "field 'context': expected a list of turns"),
        ({"context": ["  "], "emotion": "joyful"}, "field 'context'"),
        ({"context": "won", "emotion": "joyful"}, "field 'context'"),
        ({"context": ["won"], "emotion": ""}, "field 'emotion': expected a label"),
        ({"context": ["won"], "emotion": "joyfull"}, "Did you mean 'joyful'"),
        ([], "a JSON object"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, said):
    (tmp_path / "data.jsonl").write_text(json.dumps(line) + "\n{")
    with pytest.raises(InputError, match=r"(?s)2 problems:.*" + said):
        read_dialogues(tmp_path / "data.jsonl", ["joyful", "sad"])


def test_training_refuses_what_cannot_work(data, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"context": ["won"], "emotion": "joyful"}\n' * 3)
    with pytest.raises(InputError, match="two emotions or more, got 1"):
        EmotionModel.fit(rows_with_emotion(tmp_path / "one.jsonl"), encoder="scratch")
    with pytest.raises(InputError, match=r"--encoder: .*expected 'scratch', or the folder"):
        EmotionModel.fit(rows_with_emotion(data), encoder=str(tmp_path))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "plugin.json").touch()
    with pytest.raises(InputError, match="is there already"):
        train_main(["emotion", "--data", str(data), "--out", str(tmp_path / "there")])
    wrong = ["--set", "epoch=3", "batch_size=many", "method=x"]
    with pytest.raises(
        InputError,
        match=r"(?s)3 problems.*epoch: .*Did you mean 'epochs'.*batch_size of plugin .emotion.: expected a valid int",
    ):
        train_main(["emotion", "--data", str(data), "--out", str(tmp_path / "new"), *wrong])
