"""Controls change what they say they change, and nothing else."""

from __future__ import annotations

from dataclasses import replace

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
SPANS = [
    {"stream": "audio", "start_s": 0.5, "end_s": 1.0, "weight": 0.9},
    {"stream": "video", "start_s": 2.0, "end_s": 4.0, "weight": 0.4},
]
CAUSE = {"kind": "cause", "words": WORDS, "spans": SPANS}


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
    said_otherwise = pieces(oracle(row(" D. "), Cues(top=2), rng))[0]
    assert "d" in [label for label, _ in said_otherwise.top(2)]


def test_no_control_changes_how_sure_the_evidence_sounds():
    controls = {
        "oracle": lambda clip, rng: oracle(clip, Cues(top=2), rng),
        "emotions": lambda clip, rng: shuffled(clip, "emotion", rng),
        "causes": lambda clip, rng: shuffled(clip, "cause", rng),
        "corrupted": corrupted,
    }
    for name, control in controls.items():
        for calibrated in (True, False):
            told = row()
            told.evidence["emotion"] = {**EMOTION, "calibrated": calibrated}  # type: ignore[index]
            emotion, cause = pieces(control(told, np.random.default_rng(0)))
            assert emotion.probabilities == EMOTION["probabilities"], name
            assert emotion.calibrated is calibrated, name
            assert [word.weight for word in cause.words] == [0.7, 0.2], name
            assert [span.weight for span in cause.spans] == [0.9, 0.4], name
            assert [span.stream for span in cause.spans] == ["audio", "video"], name


def test_random_emotions_are_as_sure():
    draws = [pieces(shuffled(row(), "emotion", np.random.default_rng(seed)))[0] for seed in range(200)]
    assert {emotion.probabilities for emotion in draws} == {EMOTION["probabilities"]}
    first = [emotion.labels[0] for emotion in draws]
    assert all(30 < first.count(label) < 70 for label in LABELS)
    assert all(set(emotion.labels) == set(LABELS) for emotion in draws)


def test_random_causes_are_words_of_the_row():
    text = row().prompt[0]["content"]
    drawn, moments = set(), set()
    for seed in range(100):
        _, cause = pieces(shuffled(row(), "cause", np.random.default_rng(seed)))
        assert [word.weight for word in cause.words] == [0.7, 0.2]
        assert all(text[word.start : word.end] == word.text for word in cause.words)
        assert [round(span.end_s - span.start_s, 9) for span in cause.spans] == [0.5, 2.0]
        assert all(span.start_s >= 0 and span.end_s <= 4 for span in cause.spans)
        assert len({(word.turn, word.start) for word in cause.words}) == 2
        drawn |= {word.text for word in cause.words}
        moments |= {span.start_s for span in cause.spans}
    assert drawn == {"tire", "burst", "busy", "road", "near", "home"}
    assert len(moments) == 200  # no two alike


def test_random_causes_stand_in_the_turns_that_they_name():
    said = ("Storm tonight.", "Really?", "Dark clouds everywhere!")
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    told = replace(row(), messages=[*turns, {"role": "assistant", "content": "d"}])
    found = set()
    for seed in range(50):
        for word in pieces(shuffled(told, "cause", np.random.default_rng(seed)))[1].words:
            assert said[word.turn][word.start : word.end] == word.text
            found.add(word.turn)
    assert found == {0, 1, 2}


def test_a_row_with_fewer_words_than_its_evidence_keeps_the_heaviest_weights():
    turns = [{"role": "user", "content": "It was a storm."}, {"role": "assistant", "content": "d"}]
    _, cause = pieces(shuffled(replace(row(), messages=turns), "cause", np.random.default_rng(0)))
    assert [(word.text, word.weight) for word in cause.words] == [("storm", 0.7)]


def test_without_and_corrupted():
    assert without_evidence(row()).evidence is None
    draws = [pieces(corrupted(row(), np.random.default_rng(seed))) for seed in range(20)]
    assert len({emotion.labels for emotion, _ in draws}) > 5
    assert len({tuple(word.text for word in cause.words) for _, cause in draws}) > 5
    assert len({tuple(span.start_s for span in cause.spans) for _, cause in draws}) == 20
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
