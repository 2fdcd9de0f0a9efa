"""What `affectgpt eval recognition` makes of answers that are hard to read: numbers, classes by number, word forms."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from affectgpt.__main__ import main as affectgpt

SHARED = Path(os.environ.get("SHARED_DATA", ""), "reported", "eval")
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA does not hold reported/eval")
CLASSES_HINT = "the labels were taken for numbers; if they are classes, score them with --kind labels"


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Score responses against gold values; gives the exit code, the JSON object (or None) and standard error."""

    def call(gold: list[Any] | Path, responses: list[Any] | Path, *options: str) -> tuple[int, Any, str]:
        files = []
        for name, field, values in (("gold", "label", gold), ("p", "response", responses)):
            path = values if isinstance(values, Path) else tmp_path / f"{name}.jsonl"
            if not isinstance(values, Path):
                lines = [json.dumps({"id": str(number), field: value}) for number, value in enumerate(values)]
                path.write_text("\n".join(lines), encoding="utf-8")
            files.append(str(path))
        argv = ["--truth", files[0], "--predictions", files[1], "--json", "--resamples", "20", *options]
        code = affectgpt(["eval", "recognition", *argv])
        done = capsys.readouterr()
        return code, json.loads(done.out) if code == 0 else None, done.err

    return call


@pytest.mark.parametrize(
    "unread",
    [
        "",
        None,
        "1_0",
        "I cannot tell.",
        "0.3 to 0.5",
        [0.3],
        {"valence": 1},
        True,
        "<think>It may be 0.5",
        "between 0.2 and 0.4",
        "90 %",
    ],
)
def test_a_number_that_cannot_be_read_is_left_out_and_missing_from_the_coverage(unread: Any, run: Any) -> None:
    code, found, _ = run([0.8, -1.2, 0, 2], ["0.8", "-1.2", unread, "2"])
    assert (code, found["mode"], found["n"], found["coverage"]) == (0, "numbers", 3, 0.75)
    assert found["primary"]["value"] == 1
    assert found["secondary"]["mae"] == {"value": 0, "low": 0, "high": 0, "n": 3}
    assert any("line 3: expected a number, got" in note for note in found["notes"])
    assert "1 of 4 answers hold no number and are left out." in found["notes"]
    assert found["secondary"]["give_up_rate"]["value"] == (
        0.25 if unread in ("", None, "I cannot tell.", "<think>It may be 0.5") else 0
    )


@pytest.mark.parametrize(
    "written",
    [
        "The valence is -1.2.",
        "-1,2",
        "<think>2?</think>-1.2",
        "-1.2",
        " -1.2\n",
        "−1.2",
        "**-1.2**",
        "－１．２",
        "-1.2e0",
        "<b>-1.2</b>",
        -1.2,
    ],
)
def test_a_number_is_read_however_it_is_written(written: Any, run: Any) -> None:
    code, found, _ = run([0.8, -1.2, 1], ["0.8", written, 1])
    assert (code, found["coverage"], found["secondary"]["mae"]["value"]) == (0, 1, 0)


def test_clips_that_could_not_be_used_have_no_number(run: Any, tmp_path: Path) -> None:
    rows = [
        {"id": str(n), "task": "valence", "response": said, "status": status, "answer": gold}
        for n, (said, status, gold) in enumerate([("0.5", "ok", 0.5), ("", "error", -1.0), ("1", "truncated", 1.0)])
    ]
    file = tmp_path / "said.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, found, _ = run(file, file)
    assert (code, found["n"], found["coverage"]) == (0, 2, pytest.approx(2 / 3, abs=1e-6))


def test_gold_numbers_and_infinite_answers_are_still_refused(run: Any) -> None:
    code, _, errors = run([0.5, "no"], ["0.5", "0.1"], "--kind", "numbers")
    assert (code, "gold.jsonl: line 2: expected a finite number, got 'no'" in errors) == (2, True)
    for answer in ("nan", "inf", float("nan")):
        code, _, errors = run([0.5, 1], ["0.5", answer])
        assert (code, "p.jsonl: line 2: expected a finite number" in errors) == (2, True)
    code, _, errors = run([0.5, 1], ["", "none"])
    assert (code, "all rows: expected answers that hold a number" in errors) == (2, True)


def test_a_comparison_leaves_out_what_either_model_left_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, values in (("t", [0.8, -1.2, 0.1, 2]), ("a", ["0.8", "-1.2", "", "2"]), ("b", ["0.8", "?", "0.1", "2"])):
        lines = [f"{number},{value}" for number, value in enumerate(values)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["name,label", *lines]))
    files = [str(tmp_path / f"{name}.csv") for name in "abt"]
    assert affectgpt(["eval", "compare", files[0], files[1], "--labels", files[2], "--json", "--resamples", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["metrics"]["mae"]["a"], found["metrics"]["mae"]["difference"]["n"]) == (0, 2)
    assert found["unreadable"] == {"a": 1, "b": 1}
    assert "2 clips without a readable answer of both are left out" in found["notes"]


def test_distributions_that_cannot_be_read_are_left_out(run: Any) -> None:
    gold = [{"joy": 0.25, "fear": 0.75}, {"joy": 1, "fear": 0}, {"joy": 0.5, "fear": 0.5}]
    code, found, _ = run(gold, ['{"joy": 0.25, "fear": 0.75}', "", "mostly joy"])
    assert (code, found["mode"], found["coverage"]) == (0, "distributions", pytest.approx(1 / 3, abs=1e-6))
    assert found["primary"]["value"] == 0
    code, _, errors = run(gold, ['{"joy": -1}', {"glee": 1}, ""])
    assert (code, errors.count("expected shares of fear, joy")) == (2, 2)
    code, _, errors = run(["joy", "fear"], ["joy", "fear"], "--kind", "distributions")
    assert (code, "gold.jsonl: line 1; " in errors or "gold.jsonl: line 1: " in errors) == (2, True)


@pytest.mark.parametrize(
    ("gold", "options", "hinted"),
    [
        ([0, 1, 2, 2], (), True),
        (["0", "1", "2", "2"], (), True),
        (["3.0", "1", "-2", "0"], (), True),
        ([0, 1, 2, 2.5], (), False),
        ([0, 1, 2, 2], ("--kind", "numbers"), False),
        ([0, 1, 2, 2], ("--kind", "labels"), False),
    ],
)
def test_classes_that_are_numbers_are_hinted_at(
    gold: list[Any], options: tuple[str, ...], hinted: bool, run: Any
) -> None:
    code, found, _ = run(gold, [0, 2, 2, 1], *options)
    assert (code, CLASSES_HINT in found["notes"]) == (0, hinted)
    assert found["mode"] == ("labels" if "labels" in options else "numbers")


MELD = ["anger", "joy", "surprise", "sadness", "neutral"]


@pytest.mark.parametrize(
    ("response", "label"),
    [
        ("Sad.", "sadness"),
        ("The speaker is angry.", "anger"),
        ("joyful", "joy"),
        ("Surprised", "surprise"),
        ("She looks sad, not angry.", "sadness"),
        ("anger", "anger"),
        ("angry and sad", None),
        ("bewitched", None),
        ("", None),
        ("这个人很高兴", None),
    ],
)
def test_emotion_words_count_as_the_nearest_label_where_an_extractor_is_named(
    response: str, label: str | None, run: Any
) -> None:
    gold = [*MELD, label or "anger"]
    code, found, _ = run(gold, [*MELD, response], "--extractor", "vocabulary")
    assert code == 0
    assert found["secondary"]["war"]["value"] == pytest.approx(1 if label else 5 / 6, abs=1e-6)
    assert found["coverage"] == pytest.approx(1 if label else 5 / 6, abs=1e-6)
    read = 0 if label is None or response == label else 1
    assert f"{read} answers that name no label were read by the extractor 'vocabulary'" in found["notes"]
    code, found, _ = run(gold, [*MELD, response])
    assert found["coverage"] == pytest.approx(1 if response == label else 5 / 6, abs=1e-6)
    assert not any("extractor" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("response", "right"),
    [
        ("AU6，AU12", True),
        ("**AU6**, **AU12**", True),
        ("1. AU6\n2. AU12", True),
        ("AU6、AU12。", True),
        ("AU6+12", True),
        ('["AU12", "AU6"]', True),
        (["au6", "AU 12"], True),
        ("AU6 and AU12 but not AU4", True),
        ("none", False),
        ([], False),
        ("AU99", None),
        (["AU99"], None),
        ("a smile", None),
        ("", None),
        ("<think>AU6, AU12", None),
    ],
)
def test_sets_of_labels_are_read_however_they_are_written(response: Any, right: bool | None, run: Any) -> None:
    code, found, _ = run([["AU6", "AU12"], ["AU4"]], [response, "AU4"])
    assert (code, found["mode"], found["coverage"]) == (0, "sets", 0.5 if right is None else 1)
    assert found["secondary"]["example_f1"]["value"] == (1 if right else 0.5)
    assert any("1 of 2 answers name no label and count as empty" in note for note in found["notes"]) == (right is None)


def test_sets_of_words_in_any_script(run: Any) -> None:
    gold = [["sad", "at ease"], ["悲伤", "失望"], ["sad"]]
    code, found, _ = run(gold, ["Sad; at-ease.", "悲伤、失望", "He is sad, not at ease."])
    assert (code, found["coverage"], found["secondary"]["example_f1"]["value"]) == (0, 1, 1)


@pytest.mark.parametrize(
    ("gold", "responses"),
    [
        (["Happy", "happy", "sad", "Happy"], ["Happy", "happy", "sad", "HAPPY"]),
        (["very positive", "positive", "very-positive"], ["very positive", "positive", "very_positive"]),
        (["col\u00e8re", "joie"], ["cole\u0300re", "joie"]),
        (["愤怒（生气）", "高兴"], ["愤怒(生气)", "这个人很高兴。"]),
        (["Sad ", "glad"], ["sad", "GLAD!"]),
    ],
)
def test_labels_count_as_one_however_they_are_spelt(gold: list[str], responses: list[str], run: Any) -> None:
    code, found, _ = run(gold, responses)
    assert (code, found["coverage"], found["secondary"]["war"]["value"], found["primary"]["value"]) == (0, 1, 1, 1)
    alike = "labels that differ only in case, width, spaces or hyphens count as one"
    assert any(alike in note for note in found["notes"]) == (gold[0] in ("Happy", "very positive"))
    code, found, _ = run([gold[0].lower(), gold[1]], [responses[0], responses[1]], "--labels", ",".join(gold[:2]))
    assert (code, found["secondary"]["war"]["value"]) == (0, 1)


def test_the_page_names_the_extractor(run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["anger", "joy"], ["angry", "joy"])
    files = ["--truth", str(tmp_path / "gold.jsonl"), "--predictions", str(tmp_path / "p.jsonl")]
    assert affectgpt(["eval", "recognition", *files, "--extractor", "vocabulary"]) == 0
    assert "1 answers that name no label were read by the extractor 'vocabulary'" in capsys.readouterr().out


def test_extractors_that_do_not_fit_are_refused(run: Any) -> None:
    code, _, errors = run([0.5, 1], ["0.5", "1"], "--extractor", "vocabulary")
    assert (code, "--extractor: reads labels, and these are numbers" in errors) == (2, True)
    code, _, errors = run(["joy"], ["joy"], "--extractor", "vocabulry")
    assert (code, "expected one of llm, vocabulary, written" in errors) == (2, True)
    code, _, errors = run(["joy"], ["joy"], "--extractor-setting", "keep_neutral=1")
    assert (code, "with --extractor" in errors) == (2, True)


def test_names_with_leading_zeros_are_other_names(run: Any, tmp_path: Path) -> None:
    (tmp_path / "gold.csv").write_text("name,label\n001,happy\n002,sad\n")
    (tmp_path / "p.jsonl").write_text('{"name": 1, "response": "happy"}\n{"name": 2, "response": "sad"}\n')
    code, _, errors = run(tmp_path / "gold.csv", tmp_path / "p.jsonl")
    assert code == 2
    assert f"p.jsonl: line 1: expected a clip that {tmp_path / 'gold.csv'} has too, got '1'" in errors
    assert "gold.csv: line 2: expected a clip that" in errors
    assert "got '001'" in errors


ODD = [
    ("**Happy**", "happy"),
    ('```json\n{"emotion": "happy"}\n```', "happy"),
    ("<think>angry? no.</think>\n\nAnswer: Sad.", "sad"),
    ("Final answer: \\boxed{sad}", "sad"),
    ("The emotion is not happy but angry.", "angry"),
    ("I would say angry rather than sad.", "angry"),
    ("1. neutral", "neutral"),
]


def test_answers_in_marks_and_negations_are_read_and_refusals_counted(run: Any) -> None:
    responses = [*(response for response, _ in ODD), "I'm sorry, I can't determine the emotion of a real person.", ""]
    code, found, _ = run([*(label for _, label in ODD), "angry", "neutral"], responses)
    assert (code, found["coverage"]) == (0, pytest.approx(7 / 9, abs=1e-6))
    assert found["secondary"]["war"]["value"] == pytest.approx(7 / 9, abs=1e-6)
    assert found["secondary"]["give_up_rate"]["value"] == pytest.approx(2 / 9, abs=1e-6)


@needs_data
@pytest.mark.parametrize(("file", "n"), [("num_pred.jsonl", 4), ("num_pred2.jsonl", 2), ("num_pred3.jsonl", 3)])
def test_reported_numbers_are_scored_where_they_can_be_read(file: str, n: int, run: Any) -> None:
    """Score the numbers of files in which some answers hold none (OpenDriveLab/DriveLM#92, #146)."""
    code, found, _ = run(SHARED / "num_truth.csv", SHARED / file)
    mae = 0.025 if file == "num_pred.jsonl" else 0  # its third answer says 0.1, where the gold value is 0
    assert (code, found["n"], found["coverage"], found["secondary"]["mae"]["value"]) == (0, n, n / 4, mae)


@needs_data
@pytest.mark.parametrize("name", ["case", "hy", "nfd", "fw", "zh"])
def test_reported_answers_equal_to_the_labels_are_right(name: str, run: Any) -> None:
    """Score labels in two spellings, NFD, full width and Chinese (stanford-crfm/helm#424, ai-twinkle/Eval#156)."""
    code, found, _ = run(SHARED / f"{name}_truth.csv", SHARED / f"{name}_pred.jsonl")
    assert (code, found["coverage"], found["secondary"]["war"]["value"]) == (0, 1, 1)


@needs_data
@pytest.mark.parametrize("name", ["au_pred.jsonl", "au_pred2.jsonl"])
def test_reported_action_units_are_read(name: str, run: Any) -> None:
    code, found, _ = run(SHARED / "au_truth.jsonl", SHARED / name)
    assert (code, found["coverage"], found["primary"]["value"]) == (0, 1, 1)


@needs_data
def test_reported_classes_words_and_names(run: Any) -> None:
    assert CLASSES_HINT in run(SHARED / "ids_truth.csv", SHARED / "ids_pred.csv")[1]["notes"]
    meld = SHARED / "meld_truth.csv", SHARED / "meld_pred.jsonl"
    assert run(*meld, "--extractor", "vocabulary")[1]["primary"]["value"] == 1
    code, _, errors = run(SHARED / "pad_truth.csv", SHARED / "pad_pred.jsonl")
    assert (code, "got '001'" in errors) == (2, True)
