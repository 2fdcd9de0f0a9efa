"""Answered rows of `affectgpt eval faces` and `compare`: what is wrong with a file is told once, with the way out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from affectgpt.__main__ import main as affectgpt
from eval.answers.rows import read_rows
from eval.answers.tasks import ASPECTS, OWN_TASKS, QUESTIONS, TASKS

CHOICE = "DFEW_Single-Label-Emotion-Recognition"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def swift(number: int, **values: Any) -> dict[str, Any]:
    """Return a row of ms-swift."""
    asked = [{"role": "user", "content": "Which emotion?"}]
    return {"response": "sad", "labels": "happy", "messages": asked, **values}


def test_a_file_without_task_is_named_once_with_all_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "swift.jsonl", [swift(number) for number in range(30)])
    assert affectgpt(["eval", "faces", str(file)]) == 2
    problem, *listed = capsys.readouterr().err.strip().split("\n")
    assert problem.startswith(f"{file}: line 1; line 2; line 3 and 27 more: expected a file named by its task")
    assert "--task emotion_label" in problem
    assert len(listed) == 2
    names = " ".join(listed)
    assert all(name in names for name in [*OWN_TASKS, QUESTIONS, *(name for name in TASKS if QUESTIONS not in name)])
    assert all(f"_{aspect}" in names for aspect in ASPECTS)
    assert affectgpt(["eval", "faces", str(file), "--task", "emotion_label"]) == 0
    file.rename(tmp_path / "emotion_label.jsonl")
    assert affectgpt(["eval", "faces", str(tmp_path / "emotion_label.jsonl")]) == 0


def test_a_row_of_numbers_is_sent_to_the_evaluator_of_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "p.jsonl", [{"id": "a", "task": "valence", "response": "0.1", "answer": "0.1"}])
    assert affectgpt(["eval", "faces", str(file)]) == 2
    assert "got 'valence'. Score it with 'affectgpt eval recognition'." in capsys.readouterr().err


def test_different_problems_are_listed_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [{"labels": "happy"}] * 12 + [{"response": "sad"}, {"response": "sad", "labels": 3}]
    assert affectgpt(["eval", "faces", str(write(tmp_path / f"{CHOICE}.jsonl", rows))]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("3 problems:")
    assert "line 1; line 2; line 3 and 9 more: expected the field 'response', got 'labels'" in errors
    assert "line 14: expected a text" in errors


@pytest.mark.parametrize("field", ["videos", "audios", "images"])
def test_rows_about_different_media_do_not_repeat_each_other(
    field: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [swift(number, **{field: [f"{number // 2}.bin"]}) for number in range(8)]
    file = write(tmp_path / f"{CHOICE}.jsonl", rows)
    assert affectgpt(["eval", "faces", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "4 rows repeat the question of another row; all count" in found["notes"]
    assert {row.group for row in read_rows([file])[CHOICE]} == {f"{number}.bin" for number in range(4)}
    assert affectgpt(["eval", "compare", str(file), str(file)]) == 0


def test_pictures_beside_the_same_video_tell_rows_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [swift(n, videos=["a.mp4"], images=[f"{n}.png"], audios=f"{n}.wav") for n in range(3)]
    assert affectgpt(["eval", "faces", str(write(tmp_path / f"{CHOICE}.jsonl", rows)), "--json"]) == 0
    assert not any("repeat" in note for note in json.loads(capsys.readouterr().out)["notes"])


def test_compare_says_how_many_answers_of_each_are_unreadable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [swift(number, id=str(number), options=["happy", "sad"]) for number in range(5)]
    files = [write(tmp_path / "a.jsonl", rows)]
    files.append(
        write(tmp_path / "b.jsonl", [{**row, "response": "no idea" if row["id"] < "3" else "sad"} for row in rows])
    )
    command = ["eval", "compare", *map(str, files), "--task", "emotion_label"]
    assert affectgpt([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unreadable"] == {"a": 0, "b": 3}
    assert affectgpt(command) == 0
    assert "Answers that could not be read: A 0, B 3, of 5." in capsys.readouterr().out
