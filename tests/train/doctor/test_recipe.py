"""Checks of a machine for a recipe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from train.doctor import recipe
from train.doctor.findings import Subject
from train.recipe_file import load_recipe


@pytest.fixture
def subject(tmp_path):
    """`subject("deepspeed=FILE", processes=1)`: for the published AffectGPT 7B."""

    def make(*overrides: str, processes: int = 1, name: str = "affectgpt_7b") -> Subject:
        return Subject(tmp_path / "runs", load_recipe(name, overrides), processes=processes)

    return make


def test_batches_split_over_the_processes(subject):
    assert recipe.check_batches(subject(processes=3)).status == "ok"
    finding = recipe.check_batches(subject(processes=2))
    assert finding.status == "problem"
    assert "batch_size 3 does not split over 2 processes" in finding.found


def test_a_deepspeed_configuration(subject):
    assert recipe.check_deepspeed_config(subject()).status == "ok"
    assert recipe.check_deepspeed_config(subject(processes=2)).status == "warning"
    for path in sorted(Path("deepspeed_configs").glob("*.json")):
        assert recipe.check_deepspeed_config(subject(f"deepspeed={path}", processes=2)).status == "ok"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "No such file"),
        ("{", "expected JSON, got"),
        ("[]", "zero_optimization.stage: expected 0, 1, 2 or 3, got None"),
        ('{"zero_optimization": {"stage": 4}}', "got 4"),
        ('{"bf16": {}, "bf16": {}}', "a repeated key: bf16"),
    ],
)
def test_a_deepspeed_configuration_that_is_none(subject, tmp_path, text, words):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_text(text)
    finding = recipe.check_deepspeed_config(subject(f"deepspeed={path}"))
    assert finding.status == "problem"
    assert f"{path}: " in finding.found
    assert words in finding.found
    assert "zero2.json" in finding.fix


def test_room_for_checkpoints(subject, monkeypatch):
    needed = recipe.room_for(subject())
    # One LoRA stage: its result, and three trainer checkpoints of weights, a copy and two moments, all float32.
    trained = needed / (4 + 3 * 16)
    assert 3e7 < trained < 3e8
    for free, status in ((needed * 1.01, "ok"), (needed * 0.99, "problem")):
        monkeypatch.setattr(recipe.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        assert recipe.check_room(subject()).status == status
    assert "Free some space" in recipe.check_room(subject()).fix


def test_every_stage_leaves_a_result(subject):
    four = subject(name="videmo_7b")
    one = replace(four, recipe=four.recipe.model_copy(update={"stages": four.recipe.stages[:1]}))
    assert recipe.room_for(four) - recipe.room_for(one) == 3 * 4 * 8_292_166_656


def test_room_of_what_is_not_known_is_no_problem(subject, tmp_path):
    assert recipe.check_room(subject(name="demo")).status == "ok"
    unknown = recipe.check_room(subject(f"model={{path: {tmp_path / 'nothing'}}}"))
    assert unknown.status == "ok"
    assert "is unknown" in unknown.found
