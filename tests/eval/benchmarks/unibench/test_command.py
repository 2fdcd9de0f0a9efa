"""`affectgpt eval unibench` and `unibench-all`: one JSON object, the table in four forms, rules of the checkpoint."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from affectgpt.__main__ import main as affectgpt
from affectgpt.problems import InputError
from eval.benchmarks.unibench.command import all_main, main

SHARED = Path(os.environ.get("SHARED_DATA", ""), "unibench")
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA does not hold unibench/")
KEYS = ["dataset", "mode", "n", "coverage", "primary", "secondary", "baselines"]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two sets of four clips; checkpoint 5 is better on the first, checkpoint 10 on the second."""

    def write(name: str, gold: list[str], runs: dict[str, list[dict[str, str]]]) -> None:
        (tmp_path / name).mkdir()
        rows = "".join(f"{place},{label}\n" for place, label in enumerate(gold))
        (tmp_path / name / "labels.csv").write_text(f"name,label\n{rows}")
        for run, answers in runs.items():
            lines = [json.dumps({"name": str(place), **answer}) for place, answer in enumerate(answers)]
            (tmp_path / name / f"predictions_{run}.jsonl").write_text("\n".join(lines))

    hits = [{"openset": f"[{word}]"} for word in ("joyful", "mad", "grief", "neutral")]
    misses = [{"openset": "[disgusted]"}, *hits[1:]]
    write("mer2024", ["happy", "angry", "sad", "neutral"], {"10": misses, "5": hits})
    right = [{"sentiment": word} for word in ("positive", "negative", "neutral", "positive")]
    wrong = [{"sentiment": "negative"}, *right[1:]]
    write("simsv2", ["0.4", "-1.0", "0", "0.2"], {"5": wrong, "10": right})
    return tmp_path


def run_json(capsys: pytest.CaptureFixture[str], command, *argv: object):
    assert command([str(word) for word in argv]) == 0
    return json.loads(capsys.readouterr().out)


def one(run_dir: Path, dataset: str, run: str) -> list[object]:
    folder = run_dir / dataset
    return [
        "--dataset",
        dataset,
        "--labels",
        folder / "labels.csv",
        "--predictions",
        folder / f"predictions_{run}.jsonl",
    ]


def test_one_set_is_one_json_object(run_dir, capsys):
    found = run_json(capsys, main, *one(run_dir, "mer2024", "10"), "--json")
    assert list(found)[: len(KEYS)] == KEYS
    assert (found["dataset"], found["mode"], found["n"], found["coverage"]) == ("mer2024", "clean", 4, 1.0)
    assert found["primary"].keys() == {"name", "value", "low", "high"}
    assert (found["primary"]["name"], found["primary"]["value"]) == ("hit", 0.75)
    assert found["secondary"].keys() == {"precision", "f1"}
    assert found["baselines"]["all labels at once"]["hit"]["value"] == 1


def test_text_for_people_names_interval_and_constant_answer(run_dir, capsys):
    assert main([str(word) for word in one(run_dir, "simsv2", "5")]) == 0
    text = capsys.readouterr().out
    assert "simsv2 (clean): 4 clips" in text
    assert "by always" in text


def test_same_command_same_bytes(run_dir, capsys):
    first = run_json(capsys, main, *one(run_dir, "mer2024", "5"), "--json")
    assert run_json(capsys, main, *one(run_dir, "mer2024", "5"), "--json") == first


@pytest.mark.parametrize(("name", "mode"), [("published", "official"), ("mended", "clean")])
def test_modes_have_the_names_that_all_evaluators_share(run_dir, capsys, name, mode):
    argv = one(run_dir, "simsv2", "5")
    found = run_json(capsys, main, *argv, "--mode", name, "--json")
    assert found == run_json(capsys, main, *argv, "--mode", mode, "--json")
    assert found["mode"] == mode


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        (["--mode", "official"], "--wheels"),
        (["--resamples", "0"], "--resamples"),
        (["--extractor", "nobody"], "vocabulary"),
        (["--extractor-setting", "colour=red"], "--extractor"),
        (["--dataset", "mer2025"], "Did you mean 'mer202"),
    ],
)
def test_wrong_use_is_explained(run_dir, extra, told):
    with pytest.raises(InputError, match=told):
        main([str(word) for word in [*one(run_dir, "mer2024", "5"), *extra]])


def test_through_the_command_bad_input_ends_with_2(run_dir, capsys):
    (run_dir / "mer2024" / "predictions_5.jsonl").write_text('{"name": "0", "openset": "[sad]"}')
    argv = ["eval", "unibench", *(str(word) for word in one(run_dir, "mer2024", "5"))]
    assert affectgpt(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "--allow-missing" in captured.err
    found = run_json(capsys, affectgpt, *argv, "--allow-missing", "--json")
    assert (found["n"], found["counts"]["missing"]) == (4, 3)


def test_official_sentiment_needs_no_wheels_and_leaves_missing_out(run_dir, capsys):
    path = run_dir / "simsv2" / "predictions_10.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    argv = [*one(run_dir, "simsv2", "10"), "--mode", "official", "--allow-missing", "--json"]
    found = run_json(capsys, main, *argv)
    assert (found["n"], found["primary"]["value"], found["counts"]["missing"]) == (3, 1.0, 1)
    assert "the published set has 1034" in found["notes"][-1]


def test_table_in_four_forms(run_dir, tmp_path, capsys):
    out = tmp_path / "out"
    table = run_json(capsys, all_main, run_dir, "--checkpoint", "best-per-set", "--out", out, "--json")
    assert json.loads((out / "unibench.json").read_text()) == table
    assert table["checkpoint"] == {"rule": "best-per-set", "chosen": {"mer2024": "5", "simsv2": "10"}}
    assert table["mean"] == {"value": 1.0, "low": 0.675592, "high": 1.0, "sets": 2, "of": 9}
    assert table["per_checkpoint"]["mer2024"] == {"5": 1.0, "10": 0.75}
    rows = list(csv.DictReader((out / "unibench.csv").open()))
    assert {(row["set"], row["metric"], row["value"]) for row in rows} >= {("mer2024", "hit", "1.0")}
    assert {row["rule"] for row in rows} == {"best-per-set"}
    markdown = (out / "unibench.md").read_text()
    assert "chosen on the test data" in markdown
    assert "| mer2024 | hit | 5 | 4 | 1.0000 [0.5101, 1.0000] | 0.2500 (always happy) | 100.0% |" in markdown
    assert (out / "unibench.png").read_bytes().startswith(b"\x89PNG")


def test_one_checkpoint_is_the_last_by_number_and_can_be_named(run_dir, tmp_path, capsys):
    last = run_json(capsys, all_main, run_dir, "--out", tmp_path / "out", "--json")
    assert last["checkpoint"] == {"rule": "one", "chosen": {"mer2024": "10", "simsv2": "10"}}
    assert last["mean"]["value"] == pytest.approx((0.75 + 1) / 2)
    named = run_json(capsys, all_main, run_dir, "--out", tmp_path / "out", "--checkpoint", "5", "--json")
    assert named["checkpoint"]["chosen"] == {"mer2024": "5", "simsv2": "5"}
    assert "checkpoint 5 for all sets" in (tmp_path / "out" / "unibench.md").read_text()
    with pytest.raises(InputError, match="all sets have 5, 10"):
        all_main([str(run_dir), "--checkpoint", "7"])


def test_checkpoint_that_not_all_sets_have_is_refused(run_dir):
    (run_dir / "simsv2" / "predictions_5.jsonl").unlink()
    (run_dir / "mer2024" / "predictions_10.jsonl").unlink()
    with pytest.raises(InputError, match=r"mer2024: 5; simsv2: 10"):
        all_main([str(run_dir)])


def test_one_file_a_set_and_labels_elsewhere(run_dir, tmp_path, capsys):
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "mer2024.jsonl").write_text((run_dir / "mer2024" / "predictions_5.jsonl").read_text())
    table = run_json(capsys, all_main, flat, "--labels", run_dir, "--json")
    assert table["sets"]["mer2024"]["primary"]["value"] == 1
    assert (flat / "unibench.md").is_file()


def test_folder_without_predictions_is_explained(tmp_path):
    with pytest.raises(InputError, match=r"SET/predictions_NN\.jsonl"):
        all_main([str(tmp_path)])
    with pytest.raises(InputError, match="no folder"):
        all_main([str(tmp_path / "absent")])


def test_words_are_extracted_once_with_a_cache(run_dir, tmp_path, capsys):
    rows = [json.dumps({"name": str(place), "response": "The emotional state is sad."}) for place in range(4)]
    (run_dir / "mer2024" / "predictions_5.jsonl").write_text("\n".join(rows))
    argv = [*one(run_dir, "mer2024", "5"), "--cache", tmp_path / "cache.sqlite", "--json"]
    first = run_json(capsys, main, *argv)
    assert (tmp_path / "cache.sqlite").is_file()
    assert first["counts"]["extracted"] == 4
    assert "read by the extractor 'vocabulary'" in first["notes"][1]
    assert run_json(capsys, main, *argv) == first


@needs_data
def test_command_of_the_paper_s_cell(capsys):
    folder = SHARED / "mer2023"
    argv = ["--labels", folder / "labels.csv", "--predictions", folder / "predictions_50.jsonl"]
    argv += ["--wheels", SHARED / "wheels", "--mode", "official", "--json"]
    found = run_json(capsys, main, "--dataset", "mer2023", *argv)
    assert round(100 * found["primary"]["value"], 2) == 78.54
    assert found["primary"]["low"] < found["primary"]["value"] < found["primary"]["high"]
    assert found["counts"]["gold_without_group"] == 88


@needs_data
def test_official_table_of_the_four_sets(tmp_path, capsys):
    argv = ["--mode", "official", "--wheels", SHARED / "wheels", "--checkpoint", "best-per-set", "--out", tmp_path]
    table = run_json(capsys, all_main, SHARED, *argv, "--json")
    values = [round(100 * item["primary"]["value"], 2) for item in table["sets"].values()]
    assert values == [78.54, 60.54, 81.30, 88.49]


def test_answers_in_chinese_are_noted(tmp_path, capsys):
    (tmp_path / "labels.csv").write_text("name,label\na,happy\nb,sad\nc,angry\n")
    rows = [
        {"name": "a", "response": "高兴"},
        {"name": "b", "response": "sad"},
        {"name": "c", "response": "愤怒，生气"},
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    argv = [
        "--dataset",
        "mer2023",
        "--labels",
        tmp_path / "labels.csv",
        "--predictions",
        tmp_path / "p.jsonl",
        "--json",
    ]
    found = run_json(capsys, main, *argv)
    assert (found["coverage"], found["counts"]["unread"]) == (pytest.approx(1 / 3, abs=1e-6), 2)
    note = "2 answers that could not be read are not in Latin script"
    assert f"{note}; the wheel and the extractor 'vocabulary' read English" in found["notes"]


REPORTED = Path(os.environ.get("SHARED_DATA", ""), "reported", "uni")


@pytest.mark.skipif(not REPORTED.is_dir(), reason="SHARED_DATA does not hold reported/uni")
@pytest.mark.parametrize(
    ("prefix", "dataset", "foreign"), [("mer", "mer2023", 1), ("sims", "sims", 2), ("ov", "ovmerdplus", 1)]
)
def test_reported_answers_in_chinese_are_noted(prefix, dataset, foreign, capsys):
    """Score the sets that zeroQiaoba/AffectGPT#12 asks about with answers in Chinese among them."""
    files = ["--labels", REPORTED / f"{prefix}_labels.csv", "--predictions", REPORTED / f"{prefix}_pred.jsonl"]
    found = run_json(capsys, main, "--dataset", dataset, *files, "--json", "--resamples", "20")
    assert any(note.startswith(f"{foreign} answers that could not be read are not in Latin") for note in found["notes"])
    if prefix == "ov":
        assert (found["primary"]["value"], found["counts"]["words"]) == (1, 6)
