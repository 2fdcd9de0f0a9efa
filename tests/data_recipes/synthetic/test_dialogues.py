"""Synthetic dialogues: drawn from a seed, answers in the two lines, tests built like no training row."""

from __future__ import annotations

from collections import Counter

from affectgpt.evidence.dialogue import EMOTIONS as KNOWN
from affectgpt.evidence.shortlist import read_answer
from data_recipes.synthetic.dialogues import EMOTIONS, EVENTS, NEIGHBOURS, OPENINGS, dialogue_rows


def test_rows():
    rows = list(dialogue_rows(7, "train", 500))
    assert rows == list(dialogue_rows(7, "train", 500))
    assert rows != list(dialogue_rows(8, "train", 500))
    assert set(EMOTIONS) == set(NEIGHBOURS) == set(NEIGHBOURS.values()) <= set(KNOWN)
    told = {event.casefold(): emotion for emotion, events in EVENTS.items() for event in events}
    felt: Counter[str] = Counter()
    for row in rows:
        assert row.messages[-2]["role"] == "user"
        assert [turn["role"] for turn in row.messages[::2]] == ["user"] * len(row.messages[::2])
        found = read_answer(row, row.target)
        assert found.emotion == row.answer
        assert found.response
        assert row.options == list(EMOTIONS)
        first = row.prompt[0]["content"].casefold()
        (source,) = {emotion for event, emotion in told.items() if event in first}
        felt["told" if row.answer == source else "near" if row.answer == NEIGHBOURS[source] else "other"] += 1
    assert 330 < felt["told"] < 400
    assert 70 < felt["near"] < 140
    assert 20 < felt["other"] < 70


def test_parts_share_no_frame():
    assert not set(OPENINGS["train"]) & set(OPENINGS["test"])
    said = {part: {row.prompt[0]["content"] for row in dialogue_rows(7, part, 400)} for part in ("train", "test")}
    assert not said["train"] & said["test"]
    felt = [[row.answer for row in dialogue_rows(7, part, 400)] for part in ("train", "test")]
    assert felt[0] != felt[1]
