"""Rows as a plugin reads them: turns, groups and the gold emotion; never answer, question or system turn."""

from __future__ import annotations

import json

import pytest

from affectgpt.clip import Clip, write_clips
from affectgpt.evidence.dialogue import EMOTIONS, dialogue_of, known_emotions, read_rows, rows_with_emotion
from affectgpt.problems import InputError
from tests.support.rows import make_clip


def dialogue(*said: str, **more: object) -> Clip:
    turns = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(said)]
    fixed = {"id": "d", "messages": [*turns, {"role": "assistant", "content": "Emotion: sad\nResponse: Oh."}]}
    return Clip(**{**fixed, "task": "dialogue", "answer": "sad", **more})  # type: ignore[arg-type]


def clip(task: str = "emotion_label", **more: object) -> Clip:
    return make_clip("c", "sad", task, **more)


def test_of_a_dialogue_all_turns_but_the_systems_and_the_answer():
    row = dialogue("My dog died.", "Oh no.", "He was old.")
    found = dialogue_of(row)
    assert found is not None
    assert found.turns == ("My dog died.", "Oh no.", "He was old.")
    assert (found.emotion, found.group) == ("sad", "My dog died.")
    spoken = dialogue("My dog died.", messages=[{"role": "system", "content": "Be sad."}, *row.messages])
    assert dialogue_of(spoken) == found


def test_of_a_clip_its_subtitle_alone():
    found = dialogue_of(clip(subtitle="  Go away! ", group="actor 1"))
    assert found is not None
    assert (found.turns, found.emotion, found.group) == (("Go away!",), "sad", "actor 1")
    assert dialogue_of(clip(subtitle=" ")) is None
    assert dialogue_of(clip()) is None


@pytest.mark.parametrize("task", ["caption", "emotion_open", "attribute_closed"])
def test_the_answer_of_another_task_is_no_emotion(task):
    found = dialogue_of(clip(task, subtitle="Go away!"))
    assert found is not None
    assert found.emotion is None


def test_a_group_of_its_own_goes_before_the_first_turn():
    found = dialogue_of(dialogue("Hello.", group="conversation 7"))
    assert found is not None
    assert found.group == "conversation 7"


def test_emotions_are_numbered_in_order_however_they_are_written():
    rows = [dialogue("a", answer=" Sad. "), dialogue("b", answer="joyful"), clip("caption", subtitle="x"), clip()]
    rows.append(clip(subtitle="Go!", answer="SAD"))
    told, labels, numbers = known_emotions(rows, "emotion")
    assert [found.turns[0] for found in told] == ["a", "b", "Go!"]
    assert (labels, numbers) == (["joyful", "sad"], [1, 0, 1])


def write_lines(path, *lines: dict) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_lines_become_rows_in_which_the_last_speaker_feels(tmp_path):
    path = tmp_path / "data.jsonl"
    write_lines(path, *({"context": ["a", "b", "c", "d"][:count], "emotion": "Sad"} for count in (1, 2, 3, 4)))
    rows = read_rows(path)
    assert [[turn["role"][0] for turn in row.prompt] for row in rows] == [["u"], ["a", "u"], list("uau"), list("auau")]
    assert {row.target for row in rows} == {"Emotion: sad"}
    assert {row.group for row in rows} == {"a"}
    assert len({row.id for row in rows}) == 4


def test_the_closed_set_is_the_published_one_where_it_holds_all(tmp_path):
    path = tmp_path / "data.jsonl"
    write_lines(path, {"context": ["a"], "emotion": "sad"}, {"context": ["b"], "emotion": "joyful"})
    assert {tuple(row.options or ()) for row in read_rows(path)} == {EMOTIONS}
    write_lines(path, {"context": ["a"], "emotion": "sad"}, {"context": ["b"], "emotion": "bored"})
    assert {tuple(row.options or ()) for row in read_rows(path)} == {("bored", "sad")}
    write_lines(path, {"context": ["a"], "emotion": "bored"})
    assert [row.options for row in read_rows(path)] == [None]
    assert len(set(EMOTIONS)) == 32


@pytest.mark.parametrize("start", ["\ufeff", ""])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_are_read_with_a_byte_order_mark_and_any_text(tmp_path, start, end):
    path = tmp_path / "data.jsonl"
    lines = [{"context": ["a\u2028b\x85c"], "emotion": "sad"}, {"context": ["d"], "emotion": "joyful"}]
    path.write_bytes((start + end.join(json.dumps(line, ensure_ascii=False) for line in lines)).encode())
    assert [row.question for row in read_rows(path)] == ["a\u2028b\x85c", "d"]


def test_half_a_character_in_the_first_row_is_its_only_problem(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_clips(path, [make_clip(id="a", subtitle="SUB"), make_clip(id="b")])
    path.write_text(path.read_text().replace("SUB", "I am \\ud83d fine"))
    with pytest.raises(InputError) as caught:
        read_rows(path)
    (problem,) = caught.value.problems
    assert "row 1, field 'subtitle': expected whole characters" in str(problem)


def test_rows_may_begin_with_one_that_has_no_conversation(tmp_path):
    (tmp_path / "a.mp4").touch()
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"id": "a", "task": "clip", "video": "a.mp4"}))
    assert [(row.id, row.task) for row in read_rows(path)] == [("a", "clip")]


def test_rows_of_other_tasks_and_without_words_are_passed_over(tmp_path):
    rows = [dialogue("a"), clip(id="silent"), clip(id="said", subtitle="Go!"), clip("caption", id="x", subtitle="Go!")]
    path = tmp_path / "rows.jsonl"
    write_clips(path, rows, tmp_path)
    assert [row.id for row in rows_with_emotion(path)] == ["d", "said"]
    assert [row.id for row in rows_with_emotion(path, tasks=["dialogue"])] == ["d"]
    with pytest.raises(InputError, match=r"row 1, 'answer', and 1 more: expected a label of the plugin, got sad"):
        rows_with_emotion(path, ["joyful"])
    write_clips(path, rows[1:2], tmp_path)
    with pytest.raises(InputError, match="some of task dialogue or emotion_label, with words or media, got none"):
        rows_with_emotion(path)
