"""Fields of prediction files: gold values beside predictions are never scored as predictions, by any evaluator."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from affectgpt.__main__ import main as affectgpt
from eval.answers.fields import GOLD, PREDICTIONS, words_of

SHARED = Path(os.environ.get("SHARED_DATA", ""), "reported", "eval")
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA does not hold reported/eval")
GOLD_LABELS = ["happy", "sad", "angry", "happy"]
WRONG = ["sad", "happy", "happy", "sad"]
CLIPS = "abcd"


def write(path: Path, rows: Sequence[Any]) -> Path:
    """Write a CSV of the rows' texts, or JSONL of objects."""
    path.parent.mkdir(exist_ok=True)
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    """A file with the gold labels of four clips."""
    labels = [f"{name},{label}" for name, label in zip(CLIPS, GOLD_LABELS, strict=True)]
    return write(tmp_path / "gold.csv", ["name,label", *labels])


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run `affectgpt eval ...`; gives its exit code, JSON object (or None), and what it wrote to standard error."""

    def call(*argv: object) -> tuple[int, Any, str]:
        code = affectgpt(["eval", *map(str, argv), "--json", "--resamples", "20"])
        done = capsys.readouterr()
        return code, json.loads(done.out) if code == 0 else None, done.err

    return call


def rows_of(make: Any) -> list[dict[str, Any]]:
    """Return a row for each clip, made from its name, gold label and wrong prediction."""
    return [make(*values) for values in zip(CLIPS, GOLD_LABELS, WRONG, strict=True)]


BOTH = {
    "ms-swift": lambda name, right, wrong: {"id": name, "response": wrong, "labels": right},
    "gold first": lambda name, right, wrong: {"label": right, "name": name, "prediction": wrong},
    "LLaMA-Factory": lambda name, right, wrong: {"id": name, "prompt": "?", "predict": wrong, "label": right},
    "ours": lambda name, right, wrong: {"id": name, "task": "emotion_label", "response": wrong, "answer": right},
    "output": lambda name, right, wrong: {"name": name, "label": right, "output": wrong},
    "two words": lambda name, right, wrong: {"name": name, "label": right, "Model-Output": wrong},
    "camel case": lambda name, right, wrong: {"name": name, "label": right, "predictedLabel": wrong},
    "y_pred": lambda name, right, wrong: {"name": name, "labels": right, "y_pred": wrong},
    "twice the same": lambda name, right, wrong: {"id": name, "label": right, "predict": wrong, "prediction": wrong},
    "list": lambda name, right, wrong: {"id": name, "labels": [right], "answer_pred": wrong},
    "kto": lambda name, right, wrong: {"id": name, "label": True, "response": wrong, "labels": right},
    "responses": lambda name, right, wrong: {"id": name, "responses": wrong, "label": right},
    "y_hat": lambda name, right, wrong: {"id": name, "y": right, "y_hat": wrong, "label": right},
    "reply": lambda name, right, wrong: {"id": name, "label": right, "llm_reply": wrong},
    "decoded": lambda name, right, wrong: {"id": name, "label": right, "decoded_text": wrong},
    "gold under another name": lambda name, right, wrong: {
        "id": name,
        "label": right,
        "gt": right,
        "completion": wrong,
    },
    "an empty one": lambda name, right, wrong: {"id": name, "output": "", "response": wrong, "label": right},
    "times": lambda name, right, wrong: {"id": name, "response_time": 1.5, "response": wrong, "label": right},
}


@pytest.mark.parametrize("make", BOTH.values(), ids=BOTH)
def test_predictions_beside_gold_values_are_what_is_scored(make: Any, run: Any, gold: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", rows_of(make))
    code, result, errors = run("recognition", "--truth", gold, "--predictions", file)
    assert (code, result["secondary"]["war"]["value"], result["coverage"], errors) == (0, 0, 1, "")
    code, compared, _ = run("compare", file, file, "--labels", gold)
    assert (code, compared["metrics"]["war"]["a"], compared["metrics"]["war"]["b"]) == (0, 0, 0)


@pytest.mark.parametrize("name", ["ms-swift", "gold first", "LLaMA-Factory", "ours", "y_pred"])
def test_a_file_of_both_is_its_own_gold_file(name: str, run: Any, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", rows_of(BOTH[name]))
    code, result, errors = run("recognition", "--truth", file, "--predictions", file)
    assert (code, result["secondary"]["war"]["value"], result["coverage"], errors) == (0, 0, 1, "")
    code, result, _ = run("faces", file, "--task", "emotion_label")
    assert (code, result["primary"]["name"], result["primary"]["value"]) == (0, "accuracy", 0)


def test_columns_of_a_table_are_told_apart_too(run: Any, gold: Path, tmp_path: Path) -> None:
    lines = [f"{name},{right},{wrong}" for name, right, wrong in zip(CLIPS, GOLD_LABELS, WRONG, strict=True)]
    for column in ("prediction", "Prediction", "pred", "model output"):
        table = write(tmp_path / "table.csv", [f"name,label,{column}", *lines])
        for truth in (gold, table):
            code, result, errors = run("recognition", "--truth", truth, "--predictions", table)
            assert (code, result["secondary"]["war"]["value"], errors) == (0, 0, "")


def test_a_model_that_is_never_right_and_one_that_always_is_differ(run: Any, gold: Path, tmp_path: Path) -> None:
    first = write(tmp_path / "a.jsonl", rows_of(BOTH["ms-swift"]))
    right = [{"id": name, "response": label, "labels": label} for name, label in zip(CLIPS, GOLD_LABELS, strict=True)]
    _, compared, _ = run("compare", first, write(tmp_path / "b.jsonl", right), "--labels", gold)
    war = compared["metrics"]["war"]
    assert (war["a"], war["b"], war["difference"]["value"]) == (0, 1, 1)
    assert (compared["unreadable"], compared["notes"]) == ({"a": 0, "b": 0}, [])


@pytest.mark.parametrize("column", ["final_answer", "text", "result", "assistant", "infer"])
def test_a_file_in_which_only_gold_values_are_known_is_noted(column: str, run: Any, tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", rows_of(lambda name, right, _: {"name": name, "label": right.upper()}))
    file = write(
        tmp_path / "p.jsonl", rows_of(lambda name, right, wrong: {"name": name, "label": right, column: wrong})
    )
    _, result, errors = run("recognition", "--truth", truth, "--predictions", file)
    assert "its field 'label' holds the gold value of every clip" in errors
    assert any("--prediction-field NAME" in note for note in result["notes"])


def test_sets_without_any_label_are_refused(run: Any, tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", [{"name": name, "label": []} for name in CLIPS])
    said = write(tmp_path / "said.jsonl", [{"name": name, "response": "none"} for name in CLIPS])
    code, _, errors = run("recognition", "--truth", truth, "--predictions", said)
    assert (code, "expected a label in some set, got none" in errors) == (2, True)
    command = ("recognition", "--truth", truth, "--predictions", said, "--labels", "AU6,AU12")
    code, result, _ = run(*command)
    assert (code, result["coverage"], result["secondary"]["example_f1"]["value"]) == (0, 1, 1)


def test_a_perfect_ranking_has_an_interval(run: Any, tmp_path: Path) -> None:
    shares = [{"happy": 1.0, "sad": 0.0}, {"happy": 0.0, "sad": 1.0}] * 2
    file = write(tmp_path / "t.jsonl", [{"name": one, "label": own} for one, own in zip(CLIPS, shares, strict=True)])
    said = write(tmp_path / "p.jsonl", [{"name": one, "output": own} for one, own in zip(CLIPS, shares, strict=True)])
    mean_ap = run("recognition", "--truth", file, "--predictions", said)[1]["secondary"]["mean_ap"]
    assert (mean_ap["value"], mean_ap["high"]) == (1, 1)
    assert mean_ap["low"] < 0.8


def test_answers_outside_the_labels_of_the_gold_file_are_told_of_the_option(run: Any, tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.jsonl", [{"name": name, "label": "happy"} for name in CLIPS])
    said = write(tmp_path / "said.jsonl", [{"name": name, "response": "sad"} for name in CLIPS])
    code, _, errors = run("recognition", "--truth", truth, "--predictions", said)
    assert (code, "name all: --labels" in errors) == (2, True)
    code, result, _ = run("recognition", "--truth", truth, "--predictions", said, "--labels", "happy,sad")
    assert (code, result["secondary"]["war"]["value"]) == (0, 0)


RIVALS = [
    ({"response": "I see a sad person.", "prediction": "happy"}, "--prediction-field"),
    ({"predict": "sad", "output": "happy", "label": "happy"}, "--prediction-field"),
    ({"response": "", "prediction": "happy"}, "--prediction-field"),
    ({"label": "happy", "answer": "sad"}, "--prediction-field"),
    ({"label": "happy", "labels": "sad"}, "--prediction-field"),
]


@pytest.mark.parametrize(("fields", "option"), RIVALS)
def test_fields_that_contradict_each_other_are_refused(
    fields: dict[str, str], option: str, run: Any, gold: Path, tmp_path: Path
) -> None:
    rows = [{"id": name, **dict.fromkeys(fields, "happy")} for name in CLIPS]
    rows[2] |= fields
    file = write(tmp_path / "p.jsonl", rows)
    code, _, errors = run("recognition", "--truth", gold, "--predictions", file)
    names = [name for name in fields if name in errors]
    assert (code, len(names)) == (2, 2)
    assert "p.jsonl: line 3: expected one prediction, got" in errors
    assert f"Name the field that counts: {option} {names[0]}, or {option} {names[1]}." in errors
    code, result, _ = run("recognition", "--truth", gold, "--predictions", file, option, names[0])
    expected = sum((fields if i == 2 else {names[0]: "happy"})[names[0]] == GOLD_LABELS[i] for i in range(4)) / 4
    assert (code, result["secondary"]["war"]["value"]) == (0, expected)


def test_gold_fields_that_contradict_each_other_are_refused(run: Any, tmp_path: Path) -> None:
    rows = [{"id": "a", "response": "sad", "labels": "sad", "answer": "happy"}]
    file = write(tmp_path / "p.jsonl", [*rows, {"id": "b", "response": "happy", "labels": "sad", "answer": "sad"}])
    for command in (
        ["recognition", "--truth", file, "--predictions", file],
        ["faces", file, "--task", "emotion_label"],
    ):
        code, _, errors = run(*command)
        assert code == 2
        assert "line 1: expected one gold value, got 'sad' in 'labels' and 'happy' in 'answer'" in errors
        assert "--label-field labels" in errors
        code, result, _ = run(*command, "--label-field", "answer")
        assert (code, result["primary"]["value"]) == (0, 0)


def test_fields_of_any_name_can_be_chosen(run: Any, tmp_path: Path) -> None:
    lines = [f"{name},{right},{wrong}" for name, right, wrong in zip(CLIPS, GOLD_LABELS, WRONG, strict=True)]
    table = write(tmp_path / "table.csv", ["name,emotion,my model", *lines])
    command = ["recognition", "--truth", table, "--predictions", table, "--prediction-field", "my model"]
    code, _, errors = run(*command)
    assert (code, "name another with --label-field" in errors) == (2, True)
    code, result, _ = run(*command, "--label-field", "emotion")
    assert (code, result["secondary"]["war"]["value"]) == (0, 0)
    code, _, errors = run(*command, "--label-field", "emotions")
    assert code == 2
    assert "expected the field 'emotions' of --label-field" in errors
    assert "Did you mean 'emotion'?" in errors


@pytest.mark.parametrize("same_path", [True, False])
@pytest.mark.parametrize("more", ["", ",said", ",confidence"])
def test_the_gold_file_as_predictions_is_suspicious(
    same_path: bool, more: str, run: Any, gold: Path, tmp_path: Path
) -> None:
    lines = [f"{name},{label}{more and ',sad'}" for name, label in zip(CLIPS, GOLD_LABELS, strict=True)]
    copy = gold if same_path else write(tmp_path / "copy.csv", [f"name,label{more}", *lines])
    code, result, errors = run("recognition", "--truth", gold, "--predictions", copy)
    assert code == 0
    warning = f"{copy}: its field 'label' holds the gold value of every clip. If another field holds the predictions"
    assert warning in errors
    assert any(warning in note for note in result["notes"])
    code, _, errors = run("recognition", "--truth", gold, "--predictions", copy, "--prediction-field", "label")
    assert (code, errors) == (0, "")
    code, compared, errors = run("compare", copy, copy, "--labels", gold)
    assert warning in errors
    assert len(compared["notes"]) == 2


def test_labels_that_differ_from_the_gold_ones_are_predictions(run: Any, gold: Path, tmp_path: Path) -> None:
    rows = [f"{name},{label}" for name, label in zip(CLIPS, ["happy", "sad", "sad", "happy"], strict=True)]
    code, result, errors = run(
        "recognition", "--truth", gold, "--predictions", write(tmp_path / "p.csv", ["name,label", *rows])
    )
    assert (code, result["secondary"]["war"]["value"], errors) == (0, 0.75, "")


def test_a_row_without_the_prediction_of_the_others_is_refused_not_read_from_its_gold_label(
    run: Any, gold: Path, tmp_path: Path
) -> None:
    rows = rows_of(BOTH["ms-swift"])
    del rows[1]["response"]
    code, _, errors = run("recognition", "--truth", gold, "--predictions", write(tmp_path / "p.jsonl", rows))
    assert code == 2
    assert "p.jsonl: line 2: expected the field 'response', got 'id, labels'" in errors


def test_a_file_with_gold_values_alone_has_no_predictions(run: Any, gold: Path, tmp_path: Path) -> None:
    rows = [{"id": name, "answer": label} for name, label in zip(CLIPS, GOLD_LABELS, strict=True)]
    code, _, errors = run("recognition", "--truth", gold, "--predictions", write(tmp_path / "p.jsonl", rows))
    assert code == 2
    assert errors.count("expected the field") == 1
    assert "line 1; line 2; line 3 and 1 more: expected the field 'label', got 'id, answer'" in errors


def test_predictions_of_a_run_are_read_by_every_evaluator(run: Any, tmp_path: Path) -> None:
    head = {"fingerprint": "f", "rows": list(CLIPS), "max_new_tokens": 8}
    lines = rows_of(lambda name, right, wrong: {**BOTH["ours"](name, right, wrong), "status": "ok"})
    file = write(tmp_path / "emodb-test.jsonl", [head, *lines])
    table = write(tmp_path / "labels.csv", ["name,label", "a,happy", "b,sad", "c,angry", "d,happy"])
    for truth in (file, table):
        code, result, _ = run("recognition", "--truth", truth, "--predictions", file)
        assert (code, result["n"], result["secondary"]["war"]["value"]) == (0, 4, 0)
    code, result, _ = run("faces", file)
    assert (code, result["dataset"], result["primary"]["value"]) == (0, "emotion_label", 0)
    code, compared, _ = run("compare", file, file)
    assert (code, compared["metrics"]["emotion_label/accuracy"]["a"]) == (0, 0)
    code, compared, _ = run("compare", file, file, "--labels", table)
    assert (code, compared["metrics"]["war"]["a"]) == (0, 0)
    labels = write(tmp_path / "mer" / "labels.csv", ["name,label", "a,happy", "b,sad", "c,angry", "d,happy"])
    code, result, _ = run("unibench", "--dataset", "mer2023", "--labels", labels, "--predictions", file)
    assert (code, result["primary"]["value"], result["coverage"]) == (0, 0, 1)


def test_of_predictions_of_several_tasks_one_is_chosen(run: Any, tmp_path: Path) -> None:
    numbers = [
        {"id": f"{name}/v", "task": "valence", "response": str(value), "answer": value}
        for name, value in zip(CLIPS, [0.1, 0.5, -0.3, 0.7], strict=True)
    ]
    file = write(tmp_path / "p.jsonl", [*rows_of(BOTH["ours"]), *numbers])
    command = ["recognition", "--truth", file, "--predictions", file]
    code, _, errors = run(*command)
    assert code == 2
    assert "expected rows of one task, got emotion_label, valence. Choose one with --task" in errors
    assert run(*command, "--task", "valence")[1]["primary"] == {"name": "ccc", "value": 1, "low": 1, "high": 1}
    assert run(*command, "--task", "emotion_label")[1]["secondary"]["war"]["value"] == 0
    code, _, errors = run(*command, "--task", "tree")
    assert (code, "expected some of task tree, for --task, got emotion_label, valence" in errors) == (2, True)
    rows = [{"id": name, "task": "emotion_label", "answer": label} for name, label in zip(CLIPS, WRONG, strict=True)]
    truth = write(tmp_path / "rows.jsonl", [*rows, {"id": "e", "task": "clip"}])  # a row without an answer
    code, result, _ = run("recognition", "--truth", truth, "--predictions", file, "--task", "emotion_label")
    assert (code, result["secondary"]["war"]["value"]) == (0, 1)
    plain = write(tmp_path / "plain.jsonl", [{"id": name, "response": "sad"} for name in CLIPS])
    code, _, errors = run("recognition", "--truth", truth, "--predictions", plain, "--task", "emotion_label")
    assert (code, "expected the field 'task', for --task emotion_label" in errors) == (2, True)


def test_responses_of_any_field_are_scored_in_unibench(run: Any, tmp_path: Path) -> None:
    labels = write(tmp_path / "labels.csv", ["name,label", "a,happy", "b,sad", "c,angry", "d,happy"])
    command = ["unibench", "--dataset", "mer2023", "--labels", labels, "--predictions"]
    for name in ("ms-swift", "LLaMA-Factory", "output", "ours"):
        code, result, _ = run(*command, write(tmp_path / "p.jsonl", rows_of(BOTH[name])))
        assert (code, result["primary"]["value"], result["counts"]["extracted"]) == (0, 0, 4)
    rivals = write(tmp_path / "p.jsonl", [{"id": name, "response": "happy", "prediction": "sad"} for name in CLIPS])
    code, _, errors = run(*command, rivals)
    assert (code, "--prediction-field response" in errors) == (2, True)
    code, result, _ = run(*command, rivals, "--prediction-field", "response")
    assert (code, result["primary"]["value"]) == (0, 0.5)


def test_two_columns_of_one_name_are_refused(run: Any, gold: Path, tmp_path: Path) -> None:
    lines = [f"{name},happy,sad" for name in CLIPS]
    for head in ("name,label,label", "name,response,response"):
        twice = write(tmp_path / "twice.csv", [head, *lines])
        for files in (("--truth", twice, "--predictions", gold), ("--truth", gold, "--predictions", twice)):
            code, _, errors = run("recognition", *files)
            assert (code, "twice.csv" in errors, head.rpartition(",")[2] in errors) == (2, True, True)
    twice = write(tmp_path / "twice.csv", ["name,label,label", *lines])
    responses = write(tmp_path / "p.jsonl", [{"name": name, "response": "sad"} for name in CLIPS])
    code, _, errors = run("unibench", "--dataset", "mer2023", "--labels", twice, "--predictions", responses)
    assert (code, "twice.csv" in errors, "'label'" in errors) == (2, True, True)


def test_tables_with_tabs_are_read_as_predictions_too(run: Any, gold: Path, tmp_path: Path) -> None:
    lines = ["\t".join(values) for values in zip(CLIPS, GOLD_LABELS, WRONG, strict=True)]
    table = write(tmp_path / "table.tsv", ["name\tlabel\tprediction", *lines])
    for truth in (gold, table):
        code, result, _ = run("recognition", "--truth", truth, "--predictions", table)
        assert (code, result["secondary"]["war"]["value"]) == (0, 0)
    code, _, errors = run("compare", table, table)
    assert (code, "--labels L.csv; it may be a table that holds both" in errors) == (2, True)
    code, compared, _ = run("compare", table, table, "--labels", table)
    assert (code, compared["metrics"]["war"]["b"]) == (0, 0)


@pytest.mark.parametrize(
    ("field", "role"),
    [
        ("response", PREDICTIONS),
        ("Predicted Label", PREDICTIONS),
        ("generated_text", PREDICTIONS),
        ("llmOutput", PREDICTIONS),
        ("model_answer", PREDICTIONS),
        ("model", None),
        ("model_name", None),
        ("label", GOLD),
        ("Labels", GOLD),
        ("answer", GOLD),
        ("response_time", None),
        ("rejected_response", None),
        ("pred_confidence", None),
        ("output_tokens", None),
        ("text", None),
        ("label_id", None),
        ("", None),
    ],
)
def test_names_of_fields_say_what_they_hold(field: str, role: Any) -> None:
    assert [one for one in (PREDICTIONS, GOLD) if one.holds(field)] == ([role] if role else [])


def test_words_of_a_name_however_they_are_joined() -> None:
    assert words_of("HTTPResponse2 y_Pred-label") == ["http", "response", "2", "y", "pred", "label"]


@needs_data
@pytest.mark.parametrize("file", ["both_swift.jsonl", "both_table.csv", "both_pred.jsonl", "swift.jsonl", "table.csv"])
def test_reported_files_with_both_score_nothing(file: str, run: Any) -> None:
    """Read gold labels beside predictions as hiyouga/LlamaFactory#1263 and #4295 have them."""
    code, result, _ = run("recognition", "--truth", SHARED / "both_truth.csv", "--predictions", SHARED / file)
    assert (code, result["primary"]["value"], result["secondary"]["war"]["value"]) == (0, 0, 0)


@needs_data
def test_reported_models_differ(run: Any) -> None:
    files = SHARED / "both_swift.jsonl", SHARED / "both_swift2.jsonl"
    war = run("compare", *files, "--labels", SHARED / "t.csv")[1]["metrics"]["war"]
    assert (war["a"], war["b"], war["difference"]["value"]) == (0, 1, 1)
