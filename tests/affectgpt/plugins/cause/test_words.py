"""The cause plugin: each method finds the words that decide, and the naive-Bayes rule is GEE's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import rows_with_emotion
from affectgpt.evidence.words import read_text
from affectgpt.plugins.cause.words import CauseModel, WordCounts
from affectgpt.plugins.emotion.plugin import EmotionModel
from affectgpt.plugins.plugin import load_plugin, save_plugin
from affectgpt.problems import InputError
from tests.support.rows import WORDS, write_data


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return rows_with_emotion(write_data(tmp_path_factory.mktemp("dialogues") / "train.jsonl"))


@pytest.mark.parametrize("method", ["naive_bayes", "attention", "occlusion"])
def test_the_words_that_decide_are_found(rows, method, tmp_path):
    settings = {} if method == "naive_bayes" else {"epochs": 12, "tfidf": False}
    model = CauseModel.fit(rows, method=method, **settings)
    found = model.predict(rows[:60])
    hits = [
        bool(piece.words) and piece.top_words(1)[0].casefold() in WORDS[row.answer]
        for piece, row in zip(found, rows, strict=False)
    ]
    assert np.mean(hits) > 0.8
    for piece, row in zip(found, rows, strict=False):
        assert sum(word.weight for word in piece.words) == pytest.approx(1)
        for word in piece.words:
            assert row.messages[word.turn]["content"][word.start : word.end] == word.text
    save_plugin(model, tmp_path / "saved")
    again = load_plugin(tmp_path / "saved").predict(rows[:60])
    for one, other in zip(found, again, strict=True):
        assert [word.text for word in one.words] == [word.text for word in other.words]
        assert [word.weight for word in one.words] == pytest.approx([word.weight for word in other.words], abs=1e-6)


def test_the_rule_of_gee_by_hand():
    counts = np.array([[8.0, 0, 1], [5, 1, 1], [0, 6, 1], [1, 7, 1]])
    model = WordCounts(["won", "dark", "the"], counts, np.array([4.0, 2, 3, 1]))
    likelihood = (counts + 1) / (counts + 1).sum(1, keepdims=True)
    prior = np.array([0.4, 0.2, 0.3, 0.1])
    # "won the": emotions 0 and 1 are the likeliest, 3 and 2 the least likely.
    for word, column in (("won", 0), ("the", 2)):
        joint = prior * likelihood[:, column]
        expected = math.log((joint[0] + joint[1]) / (joint[0] + joint[1] + joint[2] + joint[3]))
        place = ["won", "the"].index(word)
        assert model.scores(["won", "the"])[place] == pytest.approx(expected)
    assert model.scores(["new"]).tolist() == [-math.inf]


def test_of_many_emotions_the_two_least_likely_are_the_other_side():
    counts = np.array([[9.0, 1], [6, 1], [4, 1], [3, 1], [1, 1], [0, 1]])
    model = WordCounts(["won", "the"], counts, np.ones(6))
    joint = (counts + 1)[:, 0] / (counts + 1).sum(1)
    expected = math.log((joint[0] + joint[1]) / (joint[0] + joint[1] + joint[4] + joint[5]))
    assert model.scores(["won"])[0] == pytest.approx(expected)


def test_a_word_said_once_in_all_rows_says_nothing():
    model = WordCounts.fit([read_text(["Storm tonight"]), read_text(["storm", "won won"])], [0, 1], 2)
    assert model.words == ["storm", "won"]
    assert model.counts.tolist() == [[1, 0], [1, 2]]
    assert model.scores(["tonight"]).tolist() == [-math.inf]


def test_each_method_asks_its_own(rows):
    settings = {"encoder": "scratch", "epochs": 2, "tfidf": False}
    model = EmotionModel.fit(rows, **settings)
    texts = [read_text([turn["content"] for turn in row.prompt]) for row in rows[:5]]
    for method, raw in (("attention", model.word_weights(texts)), ("occlusion", model.occlusion(texts))):
        found = CauseModel(method, model, {}).predict(rows[:5])
        for text, weights, piece in zip(texts, raw, found, strict=True):
            told = {(word.turn, word.start): word.weight for word in piece.words}
            places = [(turn, start) for _, turn, start, _ in text.words()]
            kept = {place: weight for place, weight in zip(places, weights, strict=True) if place in told}
            assert told == pytest.approx({place: weight / sum(kept.values()) for place, weight in kept.items()})


def test_settings_reach_the_emotion_model(rows):
    settings = {"epochs": 1, "tfidf": False}
    card = CauseModel.fit(rows, method="attention", seed=3, **settings).card()["emotion_model"]
    assert (card["seed"], card["encoder"]) == (3, "scratch")


def test_words_of_two_turns_that_touch_are_two():
    """Offsets count from the beginning of their own turn."""
    turns = ["It was dark", "won", "dark"]
    roles = ("user", "assistant", "user")
    told = [{"role": role, "content": text} for role, text in zip(roles, turns, strict=True)]
    row = Clip(id="a", messages=[*told, {"role": "assistant", "content": "x"}], task="dialogue", answer="afraid")
    model = CauseModel("naive_bayes", WordCounts(["dark", "won"], np.array([[5.0, 1], [1, 5]]), np.ones(2)), {})
    [piece] = model.predict([row])
    assert [(word.turn, word.start, word.end, word.text) for word in piece.words] == [
        (0, 7, 11, "dark"),
        (1, 0, 3, "won"),
        (2, 0, 4, "dark"),
    ]


def test_what_says_nothing_is_left_out(rows):
    model = CauseModel.fit(rows)
    silent = rows[0].__class__(id="a", messages=rows[0].messages, task="caption", answer="x")
    assert model.predict([silent]) == [None]
    turns = [{"role": "user", "content": "It was dark."}, {"role": "assistant", "content": "Oh."}]
    spoken = rows[0].__class__(id="b", messages=turns, task="dialogue", answer="afraid")
    none, piece = model.predict([silent, spoken])
    assert none is None
    assert "was" in model.model.words
    assert [word.text for word in piece.words] == ["dark"]
    with pytest.raises(InputError, match="Did you mean 'attention'"):
        CauseModel.fit(rows, method="atention")
    with pytest.raises(InputError, match="two emotions or more, got 1"):
        CauseModel.fit([row for row in rows if row.answer == "joyful"])
    for settings in ({"encoder": "minilm"}, {"epochs": 3}, {"tfidf": False}):
        with pytest.raises(InputError, match="expected method attention or occlusion, got method naive_bayes"):
            CauseModel.fit(rows, **settings)
    with pytest.raises(TypeError, match="epoch"):
        CauseModel.fit(rows, method="attention", epoch=3)
