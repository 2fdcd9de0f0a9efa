"""Prediction files keep a line only as long as its row asks the same about the same clip."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from affectgpt.clip import Clip, read_clips, write_clips
from affectgpt.problems import InputError
from eval.predict import command as predict_command
from eval.predict.answers import as_prediction
from eval.predict.prediction_file import PredictionFile, row_fingerprint

SETTINGS = {"model": "m"}
ROW = {
    "id": "a",
    "messages": [{"role": "user", "content": "What is felt?"}, {"role": "assistant", "content": "joy"}],
    "task": "emotion_label",
    "answer": "joy",
    "audio": "a.wav",
    "subtitle": "I am fine.",
    "options": ["joy", "fear"],
    "group": "s1",
}


def asked(*turns: str) -> list[dict[str, str]]:
    """Return a conversation, the user first."""
    return [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(turns)]


def clip_of(folder: Path, **changes: Any) -> Clip:
    """Return the row `ROW` of a file in a folder, with changes; None leaves a field out."""
    for name, text in (("a.wav", "one"), ("b.wav", "other"), ("f.npy", "face")):
        if not (folder / name).exists():
            (folder / name).write_text(text)
    row = {name: value for name, value in {**ROW, **changes}.items() if value is not None}
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n")
    return read_clips(folder / "rows.jsonl")[0]


def answered(path: Path, clip: Clip, response: str = "fear") -> PredictionFile:
    """Write a prediction file with an answer to one row."""
    file = PredictionFile(path, [clip], SETTINGS)
    file.add([as_prediction(clip, response)])
    file.publish()
    return file


CHANGES: dict[str, dict[str, Any]] = {
    "question": {"messages": asked("What does she feel?", "joy")},
    "an earlier turn": {"messages": asked("Hi.", "Hello.", "What is felt?", "joy")},
    "subtitle": {"subtitle": "I am not fine."},
    "no subtitle": {"subtitle": None},
    "options": {"options": ["joy", "fear", "calm"]},
    "order of options": {"options": ["fear", "joy"]},
    "evidence": {"evidence": {"voice": {"kind": "emotion", "labels": ["joy"], "probabilities": [1.0]}}},
    "situation": {"situation": "She won."},
    "another file": {"audio": "b.wav"},
    "one more file": {"face": "f.npy"},
    "start": {"start": 0.5},
    "end": {"end": 2.0},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_an_answer_to_another_question_is_not_kept(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    answered(path, clip_of(tmp_path))
    kept = PredictionFile(path, [clip_of(tmp_path)], SETTINGS)
    assert (list(kept.known), list(kept.changed), kept.unchecked) == (["a"], [], 0)
    clip = clip_of(tmp_path, **changes)
    file = PredictionFile(path, [clip], SETTINGS)
    assert (list(file.known), list(file.changed)) == ([], ["a"])
    file.publish()
    assert path.read_text() == ""  # not chosen in this run, the old answer does not stay all the same
    answered(path, clip, "joy")
    assert PredictionFile(path, [clip], SETTINGS).known["a"]["response"] == "joy"


def test_a_mended_clip_is_answered_anew(tmp_path: Path) -> None:
    clip = clip_of(tmp_path)
    answered(tmp_path / "said.jsonl", clip)
    (tmp_path / "a.wav").write_text("mended")
    assert list(PredictionFile(tmp_path / "said.jsonl", [clip], SETTINGS).changed) == ["a"]
    answered(tmp_path / "said.jsonl", clip)
    stamp = (tmp_path / "a.wav").stat()
    (tmp_path / "a.wav").write_text("MENDED")  # as long as before
    os.utime(tmp_path / "a.wav", ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9))
    assert list(PredictionFile(tmp_path / "said.jsonl", [clip], SETTINGS).changed) == ["a"]


def test_what_a_model_is_not_shown_changes_no_answer(tmp_path: Path) -> None:
    clip = clip_of(tmp_path)
    answered(tmp_path / "said.jsonl", clip)
    other = clip_of(tmp_path, group="s2", source="x", extra={"n": 1}, messages=asked("What is felt?", "Joy, I think."))
    file = PredictionFile(tmp_path / "said.jsonl", [other], SETTINGS)
    assert (file.known["a"]["response"], file.known["a"]["group"]) == ("fear", "s2")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (tmp_path / "a.wav").rename(moved / "a.wav")
    assert row_fingerprint(clip_of(moved)) == row_fingerprint(replace(clip, audio=moved / "a.wav"))
    assert list(PredictionFile(tmp_path / "said.jsonl", [clip_of(moved)], SETTINGS).known) == ["a"]


def test_lines_of_an_interrupted_run_are_held_to_it_too(tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    answered(path, clip_of(tmp_path))
    clip = clip_of(tmp_path, subtitle="Other words.")
    PredictionFile(path, [clip], SETTINGS).add([as_prediction(clip, "joy")])  # and then a kill
    file = PredictionFile(path, [clip], SETTINGS)
    assert (file.known["a"]["response"], list(file.changed)) == ("joy", [])
    assert list(PredictionFile(path, [clip_of(tmp_path, subtitle="Third.")], SETTINGS).changed) == ["a"]


@pytest.mark.parametrize("damage", [{"id": ["a"]}, {"response": None}, {"response": {"text": "joy"}}, {"status": 3}])
def test_a_line_whose_fields_are_no_text_is_answered_again(
    damage: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "said.jsonl"
    answered(path, clip_of(tmp_path))
    path.write_text(json.dumps(json.loads(path.read_text()) | damage) + "\n")
    assert PredictionFile(path, [clip_of(tmp_path)], SETTINGS).known == {}
    assert "line 1 is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "", "[]"])
def test_damaged_settings_are_a_problem_and_no_traceback(text: str, tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    answered(path, clip_of(tmp_path))
    path.with_name("said.jsonl.settings.json").write_text(text)
    with pytest.raises(InputError, match="the settings of the predictions"):
        PredictionFile(path, [clip_of(tmp_path)], SETTINGS)


@pytest.mark.parametrize(
    ("held", "changes", "kept"),
    [
        ({}, {"subtitle": "Other."}, True),
        ({"options": ["joy", "fear"]}, {}, True),
        ({"options": ["joy", "fear"]}, {"options": ["joy", "calm"]}, False),
        (
            {"question": "What? A. joy B. fear"},
            {"task": "attribute_closed", "messages": asked("What? A. joy B. fear", "joy")},
            True,
        ),
        (
            {"question": "What? A. joy B. fear"},
            {"task": "attribute_closed", "messages": asked("What? A. fear B. joy", "joy")},
            False,
        ),
    ],
)
def test_lines_of_v0_1_0_are_held_to_what_they_tell(
    held: dict[str, Any], changes: dict[str, Any], kept: bool, tmp_path: Path
) -> None:
    clip = clip_of(tmp_path, **changes)
    line = {"id": "a", "task": clip.task, "response": "fear", "status": "ok", "answer": "joy", **held}
    (tmp_path / "said.jsonl").write_text(json.dumps(line) + "\n")
    file = PredictionFile(tmp_path / "said.jsonl", [clip], SETTINGS)
    assert (list(file.known), list(file.changed)) == ((["a"], []) if kept else ([], ["a"]))
    assert file.unchecked == (1 if kept else 0)
    if kept:
        file.publish()
        assert PredictionFile(tmp_path / "said.jsonl", [clip], SETTINGS).unchecked == 1


def test_another_gold_answer_is_another_row_file(tmp_path: Path) -> None:
    answered(tmp_path / "said.jsonl", clip_of(tmp_path))
    with pytest.raises(InputError, match="Name another --out"):
        PredictionFile(tmp_path / "said.jsonl", [clip_of(tmp_path, answer="fear")], SETTINGS)


@pytest.fixture
def predict(tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[dict[str, Any], str]]:
    """Run the command on rows; gives its JSON object and what it wrote to standard error."""

    def call(rows: list[Clip]) -> tuple[dict[str, Any], str]:
        write_clips(tmp_path / "rows.jsonl", rows)
        argv = ["--model", tiny.folder, "--out", tmp_path / "said.jsonl", "--max-new-tokens", 3, "--json"]
        assert predict_command.main([str(tmp_path / "rows.jsonl"), *map(str, argv)]) == 0
        done = capsys.readouterr()
        return json.loads(done.out), done.err

    return call


def test_rows_that_changed_are_answered_anew_and_named(predict: Any, tmp_path: Path) -> None:
    rows = [Clip(id=name, messages=asked(f"What of {name}?", "joy"), task="caption", answer="joy") for name in "abcd"]
    report, errors = predict(rows)
    assert (report["kept"], report["changed"], "have changed" in errors) == (0, 0, False)
    (tmp_path / "said.jsonl").write_text(
        (tmp_path / "said.jsonl").read_text().replace('"response": "', '"response": "old ')
    )
    rows[1] = replace(rows[1], messages=asked("What then?", "joy"))
    rows[2] = replace(rows[2], subtitle="Oh no.")
    report, errors = predict(rows)
    assert (report["kept"], report["changed"]) == (2, 2)
    assert (
        "2 rows have changed since they were answered (b, c): their answers are dropped; 2 are answered anew." in errors
    )
    lines = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    assert [line["response"].startswith("old ") for line in lines] == [True, False, False, True]
    report, errors = predict(rows)
    assert (report["kept"], report["changed"], "have changed" in errors) == (4, 0, False)


STALE = Path(os.environ.get("SHARED_DATA", ""), "reported", "stale")


@pytest.mark.skipif(not STALE.is_dir(), reason="SHARED_DATA does not hold reported/stale")
def test_a_reported_row_that_asks_something_else_now_is_answered_anew(predict: Any, tmp_path: Path) -> None:
    """Ask another question about the same clip, as the cache of pytorch/ao#3073 was asked."""
    shutil.copy(STALE / "c.mp4", tmp_path / "c.mp4")
    row = read_clips(STALE / "rows.jsonl")[0]
    row = replace(row, video=tmp_path / "c.mp4")
    report, _ = predict([replace(row, messages=asked("Explain step by step what this person feels.", "happy"))])
    assert (report["ok"] + report["truncated"], report["changed"]) == (1, 0)
    report, errors = predict([row])
    assert (report["kept"], report["changed"]) == (0, 1)
    assert "1 rows have changed since they were answered (a)" in errors
    report, errors = predict([row])
    assert (report["kept"], report["changed"]) == (1, 0)
    os.utime(tmp_path / "c.mp4", ns=(1, 1))  # another file, for all that can be told without reading it
    assert predict([row])[0]["changed"] == 1


def test_lines_of_v0_1_0_are_kept_with_a_word(predict: Any, tmp_path: Path) -> None:
    rows = [Clip(id=name, messages=asked(f"What of {name}?", "joy"), task="caption", answer="joy") for name in "ab"]
    predict(rows)
    lines = [json.loads(line) for line in (tmp_path / "said.jsonl").read_text().splitlines()]
    for line in lines:
        del line["fingerprint"]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report, errors = predict(rows)
    assert (report["kept"], report["changed"]) == (2, 0)
    assert errors.count("2 lines of") == 1
    assert "written by v0.1.0 and do not tell what was asked; kept." in errors
