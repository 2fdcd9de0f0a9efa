"""Evaluators that read free answers: unreadable ones are wrong and counted, none looks right."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from eval.answers.rows import read_rows
from eval.benchmarks.recognition.rows import Recognition, read_recognition
from eval.benchmarks.videmo.scores import evaluate_task
from eval.metrics.task_scores import TaskScore, score_task

TASK = "DFEW_Single-Label-Emotion-Recognition"
ASKED = "Which emotion?\nA. happy\nB. sad\nC. angry\nD. neutral"


def faces(folder: Path, rows: list[tuple[str, str, str]], task: str = TASK) -> TaskScore:
    """Score rows of question, gold answer and response."""
    path = folder / f"{task}.jsonl"
    lines = [
        {
            "messages": [{"role": "user", "content": f"<video>{asked}"}],
            "response": said,
            "labels": gold,
            "videos": [f"{n}"],
        }
        for n, (asked, gold, said) in enumerate(rows)
    ]
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    return score_task(read_rows([path])[task])


def recognition(folder: Path, gold: list[object], said: list[object], kind: str | None = None) -> Recognition:
    field = "labels" if isinstance(gold[0], list) else "label"
    for name, values, key in (("gold", gold, field), ("said", said, "response")):
        rows = [json.dumps({"name": f"{n}", key: value}, ensure_ascii=False) for n, value in enumerate(values)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return read_recognition(folder / "gold.jsonl", folder / "said.jsonl", kind=kind)


def score_of(read: Recognition, name: str) -> float:
    return float(read.tallies()[name].value)


@pytest.mark.parametrize(
    ("said", "gave_up"),
    [
        ("<think>Option B. sad seems possible, but", True),
        ("<thinking>B", True),
        ("Definitely not B.", False),
        ("It cannot be B: he smiles.", False),
        ("Not (B).", False),
        ("It is not A, B or D.", False),
        ("B?", False),
    ],
)
def test_what_chooses_nothing_is_wrong_and_unread(tmp_path: Path, said: str, gave_up: bool) -> None:
    score = faces(tmp_path, [(ASKED, "B. sad", said), (ASKED, "A", "The answer is A")])
    assert score.tallies["accuracy"].value == 0.5
    assert score.readable.tolist() == [False, True]
    assert score.gave_up.tolist() == [gave_up, False]


def test_options_in_many_ways_of_writing_are_scored(tmp_path: Path) -> None:
    rows = [
        ("哪种情绪？\nA．高兴\nB．悲伤", "A．高兴", "A"),
        ("哪种情绪？\nA．高兴\nB．悲伤", "B．悲伤", "B．悲伤"),
        ("Which?\n(a) happy\n(b) sad", "(b) sad", "(b)"),
        ("Which?\n1. happy\n2. sad", "2. sad", "2"),
        ("请选择：A、高兴 B、悲伤", "B、悲伤", "悲伤"),
    ]
    score = faces(tmp_path, rows)
    assert score.tallies["accuracy"].value == 1.0
    assert score.readable.all()
    assert not score.notes


def test_questions_without_readable_options_are_counted(tmp_path: Path) -> None:
    """Eval#156: options in another way of writing made every answer wrong, without a word."""
    rows = [("What does he feel?", "happy", "happy"), ("happy or sad", "sad", "sad"), (ASKED, "A", "A")]
    score = faces(tmp_path, rows)
    assert score.tallies["accuracy"].value == 1.0
    notes = evaluate_task(TASK, score, 10)["notes"]
    assert any(note.startswith("2 of 3 questions list no options that can be read") for note in notes)


def test_numbered_instructions_are_no_options_for_scores_either(tmp_path: Path) -> None:
    rows = [("1. Look at the face. 2. Name the emotion.", gold, gold) for gold in ("happy", "sad")]
    assert faces(tmp_path, rows).tallies["accuracy"].value == 1.0


@pytest.mark.parametrize("alike", [("Happy", "happy"), ("weakly-positive", "weakly positive"), ("JOY", "ｊｏｙ")])
def test_labels_spelt_alike_count_as_one_everywhere_and_it_is_said(tmp_path: Path, alike: tuple[str, str]) -> None:
    gold: list[object] = [*alike, "sad", alike[0]]
    read = recognition(tmp_path, gold, gold)
    assert score_of(read, "uar") == score_of(read, "war") == 1.0
    assert read.labels.count(alike[0]) + read.labels.count(alike[1]) == 1
    assert sum("count as one" in warning and repr(alike[1]) in warning for warning in read.warnings) == 1
    score = faces(tmp_path, [("Felt?", str(label), str(label)) for label in gold])
    assert score.tallies["accuracy"].value == 1.0
    assert any("count as one" in note for note in score.notes)
    assert score_of(recognition(tmp_path, gold, [*alike, alike[0], alike[0]]), "war") == 0.75


def test_labels_of_any_form_and_script_are_recognised(tmp_path: Path) -> None:
    gold: list[object] = ["cole\u0300re", "愤怒（生气）", "高兴", "Spaß", "-1", "1"]
    said: list[object] = ["colère", "愤怒(生气)", "这个人很高兴。", "SPASS", "−1", "The answer is 1."]
    assert score_of(recognition(tmp_path, gold, said), "uar") == 1.0
    assert score_of(recognition(tmp_path, gold, gold), "uar") == 1.0


def test_sets_are_read_as_faces_reads_them(tmp_path: Path) -> None:
    gold: list[object] = [["AU6", "AU12"], ["AU4"], ["AU1", "AU2"], ["AU4"]]
    for said in (
        ["AU6，AU12", "AU4.", "AU1、AU2", "AU04"],
        ["**AU6**, **AU12**", "AU4 only", "1. AU1\n2. AU2", ["AU4"]],
        ["AU 6+12", "au4", "AUs 1 and 2", "`AU4`"],
    ):
        read = recognition(tmp_path, gold, list(said))
        assert score_of(read, "macro_f1") == 1.0
        assert read.readable.all()
    read = recognition(tmp_path, gold, ["a smile", "AU4", "not AU1", "<think>AU4"])
    assert read.readable.tolist() == [False, True, False, False]


def test_sets_of_words_without_a_known_one_are_unread(tmp_path: Path) -> None:
    read = recognition(tmp_path, [["happy"], ["sad"], ["sad", "happy"]], ["glee", "sad, glee", "happy，sad"])
    assert read.readable.tolist() == [False, True, True]
    assert any("'glee' 2 times" in warning for warning in read.warnings)
    assert score_of(read, "example_f1") == pytest.approx(2 / 3)


def reported(name: str) -> Path:
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs inputs of public reports: set SHARED_DATA to the folder that holds reported/")
    return Path(os.environ["SHARED_DATA"], "reported", name)


@pytest.mark.parametrize(
    ("path", "accuracy", "readable"),
    [
        (f"faces/think/{TASK}.jsonl", 0.0, 0.0),
        (f"faces/neg/{TASK}.jsonl", 0.0, 0.0),
        ("faces/b/MER2023_Single-Label-Emotion-Recognition.jsonl", 1.0, 1.0),
        (f"faces/{TASK}.jsonl", 10 / 12, 10 / 12),
    ],
)
def test_reported_answers_to_choices(path: str, accuracy: float, readable: float) -> None:
    rows = read_rows([reported(path)])
    [score] = map(score_task, rows.values())
    assert score.tallies["accuracy"].value == pytest.approx(accuracy)
    assert score.readable.mean() == pytest.approx(readable)


@pytest.mark.parametrize(
    ("gold", "said", "name", "value"),
    [
        ("case_truth.csv", "case_pred.jsonl", "war", 1.0),
        ("hy_truth.csv", "hy_pred.jsonl", "war", 1.0),
        ("nfd_truth.csv", "nfd_pred.jsonl", "war", 1.0),
        ("fw_truth.csv", "fw_pred.jsonl", "war", 1.0),
        ("zh_truth.csv", "zh_pred.jsonl", "war", 1.0),
        ("odd_truth.csv", "odd_pred.jsonl", "war", 8 / 11),
        ("au_truth.jsonl", "au_pred.jsonl", "macro_f1", 1.0),
        ("au_truth.jsonl", "au_pred2.jsonl", "macro_f1", 1.0),
    ],
)
def test_reported_answers_to_recognition(gold: str, said: str, name: str, value: float) -> None:
    folder = reported("eval")
    assert score_of(read_recognition(folder / gold, folder / said), name) == pytest.approx(value)
