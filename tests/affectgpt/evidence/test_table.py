"""Evidence: to JSON and back, over another label set, and what is wrong with it said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from affectgpt.evidence.kinds.cause import CauseEvidence, CauseSpan, CauseWord
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.table import KINDS, kind_class, kind_names, read_all, read_one
from affectgpt.problems import InputError

EMOTION = EmotionEvidence(("joyful", "sad", "afraid"), (0.5, 0.2, 0.3), True)
CAUSE = CauseEvidence(
    (CauseWord(0, 2, 6, "tire", 0.5), CauseWord(0, 7, 12, "burst", 0.75), CauseWord(1, 0, 4, "Tire", 0.25)),
    (CauseSpan("audio", 0.5, 1.5, 0.1),),
)


@pytest.mark.parametrize("evidence", [EMOTION, CAUSE, CauseEvidence()])
def test_there_and_back(evidence):
    assert read_one(json.loads(json.dumps(evidence.to_json()))) == evidence


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
        ({"kind": "mood"}, "expected one of emotion, cause, intensities, .*, got 'mood'"),
        (["emotion"], "kind: expected one of emotion, cause"),
        ({"kind": "emotion", "labels": ["a"]}, "evidence: field 'probabilities': expected a value, got nothing"),
        ({"kind": "emotion", "labels": 3, "probabilities": [1]}, "field 'labels': expected distinct labels"),
        ({"kind": "emotion", "labels": ["a"], "probabilities": ["1"]}, "field 'probabilities': expected numbers"),
        ({"kind": "emotion", "labels": ["a"], "probabilities": [1], "whose": "me"}, "field 'whose': expected one of"),
        ({"kind": "emotion", "labels": ["a", "b"], "probabilities": [0.9, 0.9]}, "add up to 1"),
        ({"kind": "emotion", "labels": ["a", "b"], "probabilities": [1.5, -0.5]}, "from 0 to 1"),
        ({"kind": "emotion", "labels": ["a", "a"], "probabilities": [0.5, 0.5]}, "distinct labels"),
        ({"kind": "emotion", "labels": ["a", "b"], "probabilities": [1.0]}, "a probability each"),
        ({"kind": "emotion", "labels": ["a"], "probabilities": [1], "label": "a"}, "Did you mean 'labels'"),
        (
            {"kind": "cause", "words": [{"turn": 0}]},
            r"field 'words\[0\]': expected an object of turn, start, end, text",
        ),
        ({"kind": "cause", "words": [{"turn": 0, "start": 3, "end": 3, "text": "", "weight": 1}]}, "start < end"),
        ({"kind": "cause", "words": [{**CAUSE.to_json()["words"][0], "turn": -1}]}, "a turn from 0"),
        ({"kind": "cause", "spans": [{"stream": "audio", "start_s": 1, "end_s": 1, "weight": 1}]}, "start_s < end_s"),
        ({"kind": "cause", "spans": [{"stream": "audio", "start_s": -1, "end_s": 1, "weight": 1}]}, "start_s < end_s"),
        ({"kind": "cause", "spans": [{"stream": "audio", "start_s": 0, "end_s": 1, "weight": -1}]}, "weights of 0"),
    ],
)
def test_what_is_wrong_is_said(found, said):
    with pytest.raises(InputError, match=said):
        read_one(found)


def test_a_plugin_may_give_arrays():
    values = EmotionEvidence(np.array(["a", "b"]), np.array([0.25, 0.75]))  # type: ignore[arg-type]
    assert values == EmotionEvidence(("a", "b"), (0.25, 0.75))
    assert json.loads(json.dumps(values.to_json()))["probabilities"] == [0.25, 0.75]


def test_json_of_rows_stays_as_it_was():
    assert EMOTION.to_json() == {
        "kind": "emotion",
        "labels": ("joyful", "sad", "afraid"),
        "probabilities": (0.5, 0.2, 0.3),
        "calibrated": True,
    }
    assert list(CAUSE.to_json()) == ["kind", "words", "spans"]
    reader = EmotionEvidence(("a",), (1.0,), whose="reader")
    assert reader.to_json()["whose"] == "reader"
    assert read_one(reader.to_json()) == reader


def test_the_table_names_every_kind_and_its_control():
    classes = [kind_class(name) for name in kind_names()]
    assert (
        [cls.kind for cls in classes] == [*KINDS] == ["emotion", "cause", "intensities", "dimensions", "units", "spans"]
    )
    assert [cls.plural for cls in classes] == ["emotions", "causes", "intensities", "dimensions", "units", "spans"]
    with pytest.raises(InputError, match="kind: expected one of emotion, cause"):
        kind_class("mood")


def test_every_wrong_piece_of_a_row_is_named():
    good = EMOTION.to_json()
    assert read_all({"emotion": good}) == {"emotion": EMOTION}
    assert read_all(None) == {}
    with pytest.raises(InputError, match=r"(?s)evidence of one: .*evidence of two: "):
        read_all({"one": {"kind": "x"}, "good": good, "two": 3})


@pytest.mark.parametrize("weight", ["heavy", -1, float("nan"), float("inf")])
def test_the_word_with_a_wrong_weight_is_named(weight):
    good = {"turn": 0, "start": 0, "end": 4, "text": "tire", "weight": 1}
    with pytest.raises(InputError, match=r"evidence: field 'words\[1\]': expected weights of 0 or more"):
        read_one({"kind": "cause", "words": [good, {**good, "weight": weight}]})
