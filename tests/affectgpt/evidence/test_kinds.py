"""Evidence: to JSON and back, over another label set, and what is wrong with it said."""

from __future__ import annotations

import json

import pytest

from affectgpt.evidence.kinds import (
    CauseEvidence,
    CauseSpan,
    CauseWord,
    EmotionEvidence,
    from_json,
    pieces_of,
    to_json,
)
from affectgpt.problems import InputError

EMOTION = EmotionEvidence(("joyful", "sad", "afraid"), (0.5, 0.2, 0.3), True)
CAUSE = CauseEvidence(
    (CauseWord(0, 2, 6, "tire", 0.5), CauseWord(0, 7, 12, "burst", 0.75), CauseWord(1, 0, 4, "Tire", 0.25)),
    (CauseSpan("audio", 0.5, 1.5, 0.1),),
)


@pytest.mark.parametrize("evidence", [EMOTION, CAUSE, CauseEvidence()])
def test_there_and_back(evidence):
    assert from_json(json.loads(json.dumps(to_json(evidence)))) == evidence


def test_the_likeliest_first():
    assert EMOTION.top(2) == [("joyful", 0.5), ("afraid", 0.3)]
    assert EmotionEvidence(("a", "b"), (0.5, 0.5)).top(5) == [("a", 0.5), ("b", 0.5)]
    assert CAUSE.top_words(5) == ["burst", "tire"]
    assert CAUSE.top_words(1) == ["burst"]


def test_a_word_ranks_by_where_it_weighs_most():
    weights = (("Tire", 0.1), ("burst", 0.5), ("tire", 0.9), ("road", 0.3), ("tire", 0.2))
    again = CauseEvidence(tuple(CauseWord(0, 0, 4, text, weight) for text, weight in weights))
    assert again.top_words(1) == ["tire"]
    assert again.top_words(5) == ["tire", "burst", "road"]


def test_another_label_set():
    wide = EMOTION.over(["joy", "sadness", "fear", "anger"], {"joyful": "joy", "sad": "sadness", "afraid": "fear"})
    assert dict(zip(wide.labels, wide.probabilities, strict=True)) == {
        "joy": 0.5,
        "sadness": 0.2,
        "fear": 0.3,
        "anger": 0,
    }
    merged = EMOTION.over(["joyful", "negative"], {"sad": "negative", "afraid": "negative"})
    assert merged.probabilities == pytest.approx((0.5, 0.5))
    assert merged.calibrated
    with pytest.raises(InputError, match=r"(?s)2 problems.*sad: expected a label.*afraid: .*Declare a mapping"):
        EMOTION.over(["joyful", "angry"])


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"kind": "mood"}, "expected one of emotion, cause, got 'mood'"),
        (["emotion"], "kind: expected one of emotion, cause"),
        ({"kind": "emotion", "labels": ["a"]}, "probabilities"),
        ({"kind": "emotion", "labels": ["a", "b"], "probabilities": [0.9, 0.9]}, "add up to 1"),
        ({"kind": "emotion", "labels": ["a", "b"], "probabilities": [1.5, -0.5]}, "from 0 to 1"),
        ({"kind": "emotion", "labels": ["a", "a"], "probabilities": [0.5, 0.5]}, "distinct labels"),
        ({"kind": "emotion", "labels": ["a", "b"], "probabilities": [1.0]}, "a probability each"),
        ({"kind": "emotion", "labels": ["a"], "probabilities": [1], "label": "a"}, "Did you mean 'labels'"),
        ({"kind": "cause", "words": [{"turn": 0}]}, "expected what its kind holds"),
        ({"kind": "cause", "words": [{"turn": 0, "start": 3, "end": 3, "text": "", "weight": 1}]}, "start < end"),
        ({"kind": "cause", "words": [{**to_json(CAUSE)["words"][0], "turn": -1}]}, "a turn from 0"),
        ({"kind": "cause", "words": [{**to_json(CAUSE)["words"][0], "weight": float("inf")}]}, "weights of 0"),
        ({"kind": "cause", "words": [{**to_json(CAUSE)["words"][0], "weight": float("nan")}]}, "weights of 0"),
        ({"kind": "cause", "spans": [{"stream": "audio", "start_s": 1, "end_s": 1, "weight": 1}]}, "start_s < end_s"),
        ({"kind": "cause", "spans": [{"stream": "audio", "start_s": -1, "end_s": 1, "weight": 1}]}, "start_s < end_s"),
        ({"kind": "cause", "spans": [{"stream": "audio", "start_s": 0, "end_s": 1, "weight": -1}]}, "weights of 0"),
    ],
)
def test_what_is_wrong_is_said(found, said):
    with pytest.raises(InputError, match=said):
        from_json(found)


def test_every_wrong_piece_of_a_row_is_named():
    good = to_json(EMOTION)
    assert pieces_of({"emotion": good}) == {"emotion": EMOTION}
    assert pieces_of(None) == {}
    with pytest.raises(InputError, match=r"(?s)evidence of one: .*evidence of two: "):
        pieces_of({"one": {"kind": "x"}, "good": good, "two": 3})
