"""Controls change what they say they change, and nothing else."""

from __future__ import annotations

import numpy as np

from affectgpt.clip import Clip
from affectgpt.evidence.controls import corrupted, kinds_of, oracle, shuffled, without_evidence
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.kinds.cause import CauseEvidence
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.table import read_all

LABELS = ("a", "b", "c", "d")
EMOTION = {"kind": "emotion", "labels": LABELS, "probabilities": (0.4, 0.3, 0.2, 0.1), "calibrated": True}
WORDS = [
    {"turn": 0, "start": 3, "end": 7, "text": "tire", "weight": 0.7},
    {"turn": 0, "start": 8, "end": 13, "text": "burst", "weight": 0.2},
]
SPANS = [{"stream": "audio", "start_s": 0.5, "end_s": 1.0, "weight": 1.0}]
CAUSE = {"kind": "cause", "words": WORDS, "spans": [*SPANS, {**SPANS[0], "start_s": 2.0, "end_s": 4.0}]}


def row(answer: str = "d") -> Clip:
    text = "My tire burst beside the busy road near home."
    turns = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    evidence = {"emotion": EMOTION, "cause": CAUSE}
    return Clip(id="r", messages=turns, task="dialogue", answer=answer, evidence=evidence)


def pieces(clip: Clip) -> tuple[EmotionEvidence, CauseEvidence]:
    found = read_all(clip.evidence)
    emotion, cause = found["emotion"], found["cause"]
    assert isinstance(emotion, EmotionEvidence)
    assert isinstance(cause, CauseEvidence)
    return emotion, cause


def test_oracle():
    found = [pieces(oracle(row("d"), Cues(top=2), np.random.default_rng(seed))) for seed in range(100)]
    orders = ["".join(label for label, _ in emotion.top(4)) for emotion, _ in found]
    assert set(orders) == {"adcb", "dbca"}
    assert 30 < orders.count("adcb") < 70
    assert all(cause == pieces(row())[1] for _, cause in found)
    rng = np.random.default_rng(0)
    assert pieces(oracle(row("b"), Cues(top=2), rng)) == pieces(row())
    assert pieces(oracle(row("other"), Cues(top=2), rng)) == pieces(row())


def test_random_emotions_are_as_sure():
    draws = [pieces(shuffled(row(), "emotion", np.random.default_rng(seed)))[0] for seed in range(200)]
    assert {emotion.probabilities for emotion in draws} == {EMOTION["probabilities"]}
    first = [emotion.labels[0] for emotion in draws]
    assert all(30 < first.count(label) < 70 for label in LABELS)
    assert all(set(emotion.labels) == set(LABELS) for emotion in draws)


def test_random_causes_are_words_of_the_row():
    text = row().prompt[0]["content"]
    drawn = set()
    for seed in range(100):
        _, cause = pieces(shuffled(row(), "cause", np.random.default_rng(seed)))
        assert [word.weight for word in cause.words] == [0.7, 0.2]
        assert all(text[word.start : word.end] == word.text for word in cause.words)
        assert [round(span.end_s - span.start_s, 9) for span in cause.spans] == [0.5, 2.0]
        assert all(span.start_s >= 0 and span.end_s <= 4 for span in cause.spans)
        drawn |= {word.text for word in cause.words}
    assert drawn == {"tire", "burst", "busy", "road", "near", "home"}


def test_without_and_corrupted():
    assert without_evidence(row()).evidence is None
    emotion, cause = pieces(corrupted(row(), np.random.default_rng(0)))
    assert (emotion, cause) != pieces(row())
    assert without_evidence(corrupted(without_evidence(row()), np.random.default_rng(0))).evidence is None


def test_corruption_draws_as_its_parts_do():
    """Training rows of a seed, and conditions of a report, stay what they were when kinds were two functions."""
    rng = np.random.default_rng(5)
    apart = shuffled(shuffled(row(), "emotion", rng), "cause", rng)
    assert corrupted(row(), np.random.default_rng(5)) == apart
    emotion, cause = pieces(apart)
    assert emotion.labels == ("d", "b", "c", "a")
    assert [word.text for word in cause.words] == ["near", "busy"]
    assert [round(span.start_s, 6) for span in cause.spans] == [1.000305, 0.107861]


def test_kinds_of_rows_stand_in_the_order_of_the_table():
    units = {"units": {"kind": "units", "probabilities": {"AU1": 0.5}}}
    clip = row()
    clip.evidence.update(units)
    clip.evidence["emotion"] = clip.evidence.pop("emotion")
    assert [kind.kind for kind in kinds_of([without_evidence(row()), clip])] == ["emotion", "cause", "units"]
    assert kinds_of([without_evidence(row())]) == []
