"""A whole run: what it leaves, what is done again and what is not, and what an interruption costs (nothing)."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import affectgpt.model  # noqa: F401  (registers the Auto classes)
from tests.support.limits import PATIENCE_S, wait_for

STAGES = ["attribute", "emotion", "grpo"]
METRICS = {"attribute_accuracy", "expression_accuracy", "emotion_war", "emotion_uar", "tree_similarity", "parse_rate"}


@pytest.fixture(scope="module")
def stages(make_stage) -> list[dict[str, Any]]:
    """Supervised steps in plenty, so that there is time to interrupt them; a few steps of the others."""
    closed = {"attribute_closed": 1.0}
    return [
        make_stage(
            "attribute",
            steps=160,
            save_steps=20,
            learning_rate=5e-3,
            schedule="constant",
            mixture={"attribute_closed": 0.95, "text": 0.05},
        ),
        make_stage("emotion", learning_rate=1e-4),
        # Closed questions, which this model can answer at times: rewards that differ, gradients that are not 0.
        make_stage("grpo", "grpo", batch_size=32, generations=8, temperature=0.5, mixture=closed),
    ]


@pytest.fixture(scope="module")
def undisturbed(once, train, write_recipe, stages) -> Path:
    """The folder of a run from beginning to end."""

    def make(folder: Path) -> None:
        done = train(write_recipe(folder, stages), "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out) == report_of(folder / "run")
        assert "Traceback" not in done.err
        lines = [line for line in done.err.splitlines() if re.match(r"\[ ?\d+/9\]", line)]
        assert len({line[:7] for line in lines}) == 9, done.err

    return once("undisturbed", make) / "run"


def report_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def without_time(report: Any) -> Any:
    """A report without what may differ between two runs of one seed."""
    if isinstance(report, dict):
        skip = ("seconds", "wall_s", "peak_rss_mb", "reused")
        return {key: without_time(value) for key, value in report.items() if key not in skip}
    return [without_time(item) for item in report] if isinstance(report, list) else report


def weights(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: load_file(folder / "checkpoints" / name / "model.safetensors") for name in STAGES}


def assert_equal_weights(one: Path, two: Path) -> None:
    for name, values in weights(one).items():
        others = weights(two)[name]
        assert values.keys() == others.keys()
        assert [key for key, value in values.items() if not torch.equal(value, others[key])] == [], name


def log_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    text = path.read_text() if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def test_the_run_folder(undisturbed):
    files = {path.name for path in undisturbed.iterdir()}
    contract = {
        "recipe.yaml",
        "log.jsonl",
        "rollouts.jsonl",
        "bad_samples.jsonl",
        "checkpoints",
        "report.json",
        "report.html",
    }
    assert contract <= files
    assert (undisturbed / "bad_samples.jsonl").read_text() == ""
    assert {path.name for path in (undisturbed / "checkpoints").iterdir()} == set(STAGES)
    assert [(row["stage"], row["step"]) for row in log_of(undisturbed)] == [
        *(("attribute", step) for step in range(1, 161)),
        *(("emotion", step) for step in (1, 2, 3)),
        *(("grpo", step) for step in (1, 2, 3)),
    ]
    assert all("loss" in row and row["seconds"] >= 0 for row in log_of(undisturbed))
    for row in log_of(undisturbed)[-3:]:
        assert {"reward", "rewards/tree", "rewards/format", "rewards/label", "completion_length"} <= set(row)
    assert any(row["rewards/label"] > 0 and row["grad_norm"] > 0 for row in log_of(undisturbed)[-3:])
    page = (undisturbed / "report.html").read_text()
    assert "<html" in page
    assert not re.search(r"(?:src|href)=[\"']https?://", page)


def test_the_report_follows_its_contract(undisturbed):
    report = report_of(undisturbed)
    assert {"stages", "ablations", "resources", "seed", "versions"} <= set(report)
    assert [(entry["name"], entry["kind"]) for entry in report["stages"]] == [
        ("attribute", "sft"),
        ("emotion", "sft"),
        ("grpo", "grpo"),
    ]
    assert report["seed"] == 3
    assert {"torch", "transformers", "trl"} <= set(report["versions"])
    assert report["ablations"] == {}
    assert report["resources"]["wall_s"] > 0
    assert report["resources"]["peak_rss_mb"] > 100
    for entry in report["stages"]:
        assert entry["seconds"] > 0
        assert set(entry["metrics"]) == METRICS
        for name, metric in entry["metrics"].items():
            assert set(metric) >= {"value", "low", "high", "n"}, name
            assert metric["n"] > 0
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1
    assert report["stages"][0]["metrics"]["emotion_uar"]["n"] == 6


def test_training_learns(undisturbed):
    losses = [row["loss"] for row in log_of(undisturbed) if row["stage"] == "attribute"]
    assert losses[0] > 4
    assert sum(losses[-10:]) / 10 < losses[0] - 2


def test_towers_are_as_shipped_and_the_rest_has_moved(undisturbed):
    base = load_file(next((undisturbed.parent / "cache").glob("base-*")) / "model.safetensors")
    trained = weights(undisturbed)["grpo"]
    assert base.keys() == trained.keys()
    for name, value in base.items():
        assert torch.equal(value, trained[name]) == ("_tower." in name), name


def test_checkpoints_are_whole_models(undisturbed):
    for name in STAGES:
        _, info = AutoModelForImageTextToText.from_pretrained(
            undisturbed / "checkpoints" / name, output_loading_info=True
        )
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")), info


def test_reruns_do_only_what_changed_and_one_seed_is_one_result(
    undisturbed, train_in_turn, write_recipe, stages, tmp_path
):
    first = report_of(undisturbed)
    fresh = write_recipe(tmp_path, stages)
    again, moved = tmp_path / "again", tmp_path / "moved"
    for folder in (again, moved):
        shutil.copytree(undisturbed, folder)
    times = {path: path.stat().st_mtime_ns for path in again.rglob("model.safetensors")}
    same, anew, changed = train_in_turn(
        [undisturbed.parent / "recipe.yaml", f"output={again}"],
        [fresh],
        [fresh, f"output={moved}", "stages.grpo.learning_rate=0.01", "stages.grpo.rewards={label: 1.0}"],
    )
    assert [done.code for done in (same, anew, changed)] == [0, 0, 0], (same, anew, changed)

    # A folder with all of it, again: nothing is trained a second time.
    assert same.err.count("unchanged, reused") == 3
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert all(entry["reused"] for entry in report_of(again)["stages"])
    assert without_time(report_of(again)) == without_time(first)
    assert report_of(again)["resources"] == first["resources"]  # those of the run in which nothing was reused

    # The same seed in another folder with another cache, in another process: the same run.
    assert "unchanged" not in anew.err
    assert without_time(report_of(tmp_path / "run")) == without_time(first)
    assert_equal_weights(tmp_path / "run", undisturbed)

    # A folder that was moved, with a change in its last stage: the stages before are kept.
    assert changed.err.count("unchanged, reused") == 2
    assert [entry["reused"] for entry in report_of(moved)["stages"]] == [True, True, False]
    assert [entry["seconds"] for entry in report_of(moved)["stages"][:2]] == [
        entry["seconds"] for entry in first["stages"][:2]
    ]
    assert [row["step"] for row in log_of(moved) if row["stage"] == "grpo"] == [1, 2, 3]
    assert any(not torch.equal(value, weights(undisturbed)["grpo"][k]) for k, value in weights(moved)["grpo"].items())


@pytest.fixture
def process(start_train) -> Iterator[list[subprocess.Popen]]:
    """Processes that a test starts; none outlives it."""
    started: list[subprocess.Popen] = []
    yield started
    for one in started:
        if one.poll() is None:
            one.kill()
            one.wait()


def wait_for_step(running: subprocess.Popen, folder: Path, stage: str, step: int) -> None:
    def is_there() -> bool:
        assert running.poll() is None, running.communicate()
        return any(row["stage"] == stage and row["step"] >= step for row in log_of(folder))

    wait_for(is_there)


def test_interrupted_and_killed_runs_end_as_undisturbed_ones(
    undisturbed, write_recipe, stages, start_train, train, process, tmp_path
):
    recipe = write_recipe(tmp_path, stages)
    folder = tmp_path / "run"

    process.append(start_train(recipe))
    wait_for_step(process[-1], folder, "attribute", 10)
    os.kill(process[-1].pid, signal.SIGINT)
    _, err = process[-1].communicate(timeout=PATIENCE_S)
    assert process[-1].returncode == 130, err
    assert "Traceback" not in err
    assert "Stopping after this step" in err
    advice = re.search(r"Stopped. Resume with: affectgpt train (\S+)", err)
    assert advice, err
    stopped = max(row["step"] for row in log_of(folder))
    assert 10 <= stopped < 150
    steps = folder / "checkpoints" / "attribute.steps"
    assert (steps / f"checkpoint-{stopped}" / "trainer_state.json").is_file()

    process.append(start_train(advice[1]))
    wait_for_step(process[-1], folder, "attribute", stopped + 5)
    process[-1].terminate()
    _, err = process[-1].communicate(timeout=PATIENCE_S)
    assert process[-1].returncode == 143, err
    assert "Traceback" not in err
    ended = max(row["step"] for row in log_of(folder))
    assert stopped < ended < 155

    process.append(start_train(advice[1]))
    wait_for_step(process[-1], folder, "attribute", ended + 3)
    process[-1].kill()
    process[-1].communicate()
    assert not (folder / "checkpoints" / "attribute").exists()
    # As if it had been killed while it wrote a line and a checkpoint.
    with (folder / "log.jsonl").open("a") as file:
        file.write('{"stage": "attribute", "st')
    (steps / "checkpoint-159").mkdir()
    (steps / "checkpoint-159" / "model.safetensors").write_bytes(b"half")
    (steps / ".checkpoint-160.part").mkdir()

    done = train(advice[1])
    assert done.code == 0, done.err
    assert "checkpoint-159 is skipped: it has no manifest: its writing was interrupted" in done.err
    assert not steps.exists()
    rows = [(row["stage"], row["step"]) for row in log_of(folder)]
    assert rows == sorted(set(rows), key=rows.index)
    assert [step for stage, step in rows if stage == "attribute"] == list(range(1, 161))
    assert_equal_weights(folder, undisturbed)
    assert without_time(report_of(folder)) == without_time(report_of(undisturbed))
