"""The emotion plugin: it learns, its words decide, it is saved whole, and no dialogue is too odd for it."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import read_dialogues, rows_with_emotion
from affectgpt.evidence.words import read_text
from affectgpt.plugins.command import train_main
from affectgpt.plugins.emotion import plugin as emotion_plugin
from affectgpt.plugins.emotion.plugin import EmotionModel, _batches
from affectgpt.plugins.parts.attention_head import AttentionHead
from affectgpt.plugins.parts.text_encoders import HubEncoder
from affectgpt.plugins.parts.tfidf import TfidfModel
from affectgpt.plugins.plugin import load_plugin, save_plugin
from affectgpt.problems import InputError
from tests.support.rows import write_data


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


def told(text: str, emotion: str, group: str | None = None) -> Clip:
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": emotion}]
    return Clip(id=text, messages=turns, task="dialogue", answer=emotion, group=group)


def conversations(count: int, swapped: int | None = None) -> list[Clip]:
    """Of each conversation a row of either emotion; all rows share a word of their own, and one may be told wrongly."""
    emotions = ("afraid", "joyful")
    return [
        told(f"{word} {word} group{group} {word}", emotions[place ^ (group == swapped)], f"g{group}")
        for group in range(count)
        for place, word in enumerate(("storm", "party"))
    ]


QUICK = {"encoder": "scratch", "epochs": 1, "tfidf": False}


def kept_by_calibration(model: EmotionModel, count: int) -> list[int]:
    """The conversations that the encoder has read nothing of."""
    return [group for group in range(count) if f"group{group}" not in model.encoder.words]


@pytest.mark.parametrize(("count", "kept"), [(6, 1), (25, 2)])
def test_calibration_keeps_whole_conversations_from_training(count, kept):
    rows = conversations(count)
    drawn = set()
    for seed in range(3):
        model = EmotionModel.fit(rows, **QUICK, seed=seed)
        groups = kept_by_calibration(model, count)
        assert len(groups) == kept
        assert (model.card()["rows"], model.card()["calibrated_on"]) == (2 * (count - kept), 2 * kept)
        drawn.add(tuple(groups))
    assert len(drawn) > 1


def test_conversations_without_a_name_are_told_by_their_first_turn():
    rows = [told(f"opening{place // 2} opening{place // 2}", ("sad", "joyful")[place % 2]) for place in range(12)]
    card = EmotionModel.fit(rows, **QUICK).card()
    assert (card["rows"], card["calibrated_on"]) == (10, 2)


def test_how_sure_it_is_follows_from_conversations_it_has_not_seen():
    settings = QUICK | {"epochs": 15}
    model = EmotionModel.fit(conversations(6), **settings)
    (kept,) = kept_by_calibration(model, 6)
    misled = EmotionModel.fit(conversations(6, swapped=kept), **settings)
    sure, unsure = (max(found.predict(conversations(1))[0].probabilities) for found in (model, misled))
    assert sure > 0.95
    assert unsure < 0.6


def test_the_temperature_is_applied(scratch):
    model = copy.deepcopy(scratch)
    texts = [read_text(["won then house"]), read_text(["dark street"])]
    for heads in (None, [0], [1]):
        model.scale = scratch.scale / 2
        expected = np.sqrt(scratch.probabilities(texts, heads))
        np.testing.assert_allclose(
            model.probabilities(texts, heads), expected / expected.sum(1, keepdims=True), atol=1e-5
        )


def test_both_heads_are_multiplied(scratch):
    texts = [read_text(["won then house"]), read_text(["dark street"])]
    one, other, both = (scratch.probabilities(texts, heads) for heads in ([0], [1], None))
    product = one * other
    np.testing.assert_allclose(both, product / product.sum(1, keepdims=True), atol=1e-5)
    assert np.abs(one - other).max() > 1e-3


def test_probabilities_are_calibrated_and_add_up_to_1(scratch, data):
    for piece in scratch.predict(rows_with_emotion(data)):
        assert piece.calibrated
        assert sum(piece.probabilities) == pytest.approx(1, abs=1e-9)


def test_a_seed_settles_everything():
    models = []
    for drawn_before in (1, 2):
        torch.manual_seed(drawn_before)
        np.random.seed(drawn_before)
        models.append(EmotionModel.fit(conversations(8), **QUICK, seed=5))
    assert models[0].card() == models[1].card()
    for name, value in models[0].network.state_dict().items():
        assert torch.equal(value, models[1].network.state_dict()[name]), name


@pytest.mark.parametrize("change", [{"epochs": 2}, {"learning_rate": 0.1}, {"batch_size": 3}, {"seed": 1}], ids=str)
def test_every_setting_counts(change):
    rows = conversations(8)
    states = [EmotionModel.fit(rows, **QUICK | more).head.state_dict() for more in ({}, change)]
    assert any(not torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_progress_counts_every_batch_of_every_epoch(monkeypatch):
    shown: list[tuple[str, int, int]] = []
    monkeypatch.setattr(emotion_plugin, "Progress", lambda what: lambda *counts: shown.append((what, *counts)))
    EmotionModel.fit(conversations(6), **QUICK | {"epochs": 3, "batch_size": 4})  # 10 rows
    assert shown == [("batches", done, 9) for done in range(1, 10)]


@pytest.mark.parametrize("size", [1, 4, 5, 32])
def test_an_epoch_reads_every_row_once(size):
    lengths = [3, 1, 2, 9, 4, 4, 7, 5, 6, 8, 2, 1, 3] * 11
    batches = [batch.tolist() for batch in _batches(lengths, size, np.random.default_rng(0))]
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) == size
    again = [batch.tolist() for batch in _batches(lengths, size, np.random.default_rng(1))]
    assert again != batches


def test_a_words_weight_is_that_of_its_tokens(encoder):
    """Also where a token begins with the space before its word."""
    reader = HubEncoder.of(encoder)
    model = EmotionModel(["afraid", "joyful"], reader, None, {})
    text = read_text(["joy surprise fear", "expect anger"])
    [weights] = model.word_weights([text])
    [(ids, offsets)] = reader.read([text.text])
    with torch.no_grad():
        mask = torch.ones(1, len(ids), dtype=torch.long)
        attention = model.head(reader(torch.tensor([ids]), mask), mask)[1][0]
    assert any(text.text[first:last].startswith(" ") for first, last in offsets)
    starts = [start for start, *_ in text.words()] + [len(text.text)]
    expected = [
        sum(float(weight) for weight, (_, last) in zip(attention, offsets, strict=True) if start < last <= following)
        for start, following in itertools.pairwise(starts)
    ]
    assert weights == pytest.approx(expected, abs=1e-6)


def test_tfidf_stands_beside_the_encoder_where_it_is_asked_for(scratch):
    assert set(scratch.card()["scale"]) == {"attention", "tfidf"}
    assert set(EmotionModel.fit(conversations(6), **QUICK).card()["scale"]) == {"attention"}


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


def test_tfidf_of_two_labels():
    texts = ["won a gift now", "won a party now", "dark storm here", "dark snake here"] * 2
    model = TfidfModel.fit(texts, np.array([0, 0, 1, 1] * 2), 2)
    found = np.exp(model.log_probs(["won a gift", "dark storm", "won a party", ""]))
    assert found.argmax(1)[:3].tolist() == [0, 1, 0]
    assert found.sum(1) == pytest.approx(np.ones(4))


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
    good = {"context": ["won"], "emotion": "joyful"}
    (tmp_path / "data.jsonl").write_text(f"{json.dumps(good)}\n{json.dumps(line)}\n{{")
    with pytest.raises(InputError, match=r"(?s)2 problems:.*" + said):
        read_dialogues(tmp_path / "data.jsonl", ["joyful", "sad"])


def test_training_refuses_what_cannot_work(data, tmp_path):
    (tmp_path / "one.jsonl").write_text('{"context": ["won"], "emotion": "joyful"}\n' * 3)
    with pytest.raises(InputError, match="two emotions or more, got 1"):
        EmotionModel.fit(rows_with_emotion(tmp_path / "one.jsonl"), encoder="scratch")
    with pytest.raises(InputError, match="besides the conversations held out for calibration, got 0 in 0 rows"):
        EmotionModel.fit(conversations(1), encoder="scratch")
    with pytest.raises(InputError, match="besides the conversations held out for calibration, got 1 in 1 rows"):
        EmotionModel.fit([told("won", "joyful"), told("dark", "afraid")], encoder="scratch")
    with pytest.raises(InputError, match=r"expected words that occur more than once, .*--set tfidf=false"):
        EmotionModel.fit([told("won", "joyful"), told("dark", "afraid"), told("lost", "sad")], encoder="scratch")
    with pytest.raises(InputError, match=r"--encoder: .*expected 'scratch', or the folder"):
        EmotionModel.fit(rows_with_emotion(data), encoder=str(tmp_path))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "plugin.json").touch()
    with pytest.raises(InputError, match="already exists"):
        train_main(["emotion", "--data", str(data), "--out", str(tmp_path / "there")])
    wrong = ["--set", "epoch=3", "batch_size=many", "method=x"]
    with pytest.raises(
        InputError,
        match=r"(?s)3 problems.*epoch: .*Did you mean 'epochs'.*batch_size of plugin .emotion.: expected a valid int",
    ):
        train_main(["emotion", "--data", str(data), "--out", str(tmp_path / "new"), *wrong])
