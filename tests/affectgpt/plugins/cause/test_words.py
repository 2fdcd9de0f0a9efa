"""The cause plugin: each method finds the words that decide, and the naive-Bayes rule is GEE's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from affectgpt.evidence.dialogue import rows_with_emotion
from affectgpt.plugins.cause.words import CauseModel, WordCounts
from affectgpt.plugins.plugin import load_plugin, save_plugin
from affectgpt.problems import InputError
from tests.affectgpt.plugins.emotion.test_plugin import WORDS, write_data


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


def test_what_says_nothing_is_left_out(rows):
    model = CauseModel.fit(rows)
    silent = rows[0].__class__(id="a", messages=rows[0].messages, task="caption", answer="x")
    assert model.predict([silent]) == [None]
    turns = [{"role": "user", "content": "It was dark."}, {"role": "assistant", "content": "Oh."}]
    [piece] = model.predict([rows[0].__class__(id="b", messages=turns, task="dialogue", answer="afraid")])
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
