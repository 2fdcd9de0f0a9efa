"""A run folder: which of its stages counts for what, and which of two logged steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.report.run_folder import Run, read_run


def stage(name: str, kind: str, value: float | None = None, **more: Any) -> dict[str, Any]:
    scored = {} if value is None else {"metrics": {"emotion_uar": {"value": value}}}
    return {"name": name, "kind": kind, **scored, **more}


def read(folder: Path, *stages: dict[str, Any], log: tuple[dict[str, Any], ...] = (), **report: Any) -> Run:
    (folder / "report.json").write_text(json.dumps({"stages": stages, **report}))
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log))
    (folder / "examples.jsonl").write_text("")
    return read_run(folder)


def test_the_last_stage_that_was_scored_is_the_final_one(tmp_path: Path) -> None:
    run = read(tmp_path, stage("one", "sft", 0.1), stage("two", "sft", 0.2), stage("three", "sft"))
    assert run.final["name"] == "two"
    assert run.before_grpo is None


def test_grpo_is_compared_with_the_scored_stage_right_before_the_last_of_its_kind(tmp_path: Path) -> None:
    stages = [stage("a", "sft", 0.1), stage("b", "grpo", 0.2), stage("c", "sft", 0.3), stage("d", "sft")]
    run = read(tmp_path, *stages, stage("e", "grpo", 0.5), stage("f", "sft", 0.6))
    assert run.before_grpo is not None
    assert run.before_grpo["name"] == "c"
    assert read(tmp_path, stage("b", "grpo", 0.2)).before_grpo is None


def test_stages_of_plugins_are_told_apart_and_the_last_one_counts(tmp_path: Path) -> None:
    plugins = [stage(name, "empathy", empathy={"n": n}) for name, n in (("p", 1), ("q", 2))]
    run = read(tmp_path, plugins[0], stage("a", "sft", 0.1), plugins[1], stage("r", "empathy"))
    assert [one["name"] for one in run.stages] == ["a"]
    assert run.final["name"] == "a"
    assert run.empathy == {"n": 2}


def test_the_best_of_the_constant_answers_is_the_one_to_beat(tmp_path: Path) -> None:
    values = {"low": 0.1, "high": 0.4, "nan": float("nan"), "none": None}
    baselines = {name: {"emotion_uar": {"value": value}} for name, value in values.items()}
    run = read(tmp_path, stage("a", "sft", 0.1), baselines=baselines)
    assert run.best_baseline("emotion_uar") == pytest.approx(0.4)
    assert run.best_baseline("tree_similarity") is None


def test_of_a_step_that_was_logged_twice_the_later_counts(tmp_path: Path) -> None:
    log = [{"stage": "a", "step": step, "loss": loss} for step, loss in ((1, 3.0), (3, 1.0), (2, 2.0), (3, 0.5))]
    run = read(tmp_path, stage("a", "sft", 0.1), log=tuple(log))
    assert [(row["step"], row["loss"]) for row in run.log["a"]] == [(1, 3.0), (2, 2.0), (3, 0.5)]
