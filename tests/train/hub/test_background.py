"""Stages that are published while a run goes on: nothing of it may end the run or hold it up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants

from affectgpt.problems import InputError
from tests.support.limits import PATIENCE_S
from train import pipeline
from train.hub import background as background_push
from train.hub.background import BackgroundPush
from train.recipe import Recipe
from train.recipe_file import load_recipe
from train.stages.kind import StageResult
from train.stages.sft import SftStage

COMMAND = """
import json, sys, time
run, *options = sys.argv[1:]
stage = options[options.index("--stage") + 1]
with open(f"{run}/calls", "a") as file:
    file.write(json.dumps(options) + "\\n")
if stage == "slow":
    time.sleep(1200)
if stage == "bad":
    sys.exit("first line\\nuser/model: the upload failed 6 times")
print(json.dumps({"url": "http://hub/user/model"}))
"""
"""Stands for `affectgpt push`, which tests/train/hub/test_push.py knows."""


@pytest.fixture
def make(tmp_path, monkeypatch):
    """`make(**settings of hub)`: what publishes, the lines that it says, and results of stages."""
    monkeypatch.setattr(background_push, "COMMAND", (sys.executable, "-c", COMMAND))

    def build(**hub: object):  # type: ignore[no-untyped-def]
        stage = {"kind": "sft", "steps": 1, "batch_size": 1, "learning_rate": 1, "mixture": {"tree": 1}}
        stages = [{"name": name, **stage} for name in ("one", "bad", "slow", "two")]
        values = {"output": tmp_path, "data": {"train": "x"}, "model": {"tiny": {}}, "stages": stages}
        recipe = Recipe(**values, hub={"repo": "user/model", **hub})
        said: list[str] = []
        results = {
            item.name: StageResult(item, tmp_path / item.name, 1.0, False, f"print of {item.name}")
            for item in recipe.stages
        }
        return BackgroundPush(recipe.hub, recipe.folder, None, said.append), said, results

    return build


def calls(tmp_path) -> list[list[str]]:
    return [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]


def test_stages_go_one_after_the_other(make, tmp_path):
    push, said, results = make(license="mit")
    with push:
        push(results["one"], {"stages": ["one"]})
        push(results["two"], {"stages": ["one", "two"]})
    settings = ["--repo", "user/model", "--private", "--license", "mit", "--json"]
    assert calls(tmp_path) == [["--stage", "one", *settings], ["--stage", "two", *settings]]
    assert said[-2:] == [f"Stage '{name}' is at http://hub/user/model" for name in ("one", "two")]
    assert json.loads((tmp_path / "hub" / "two.json").read_text()) == {"stages": ["one", "two"]}


def test_a_failure_is_a_warning_with_the_command_for_later(make, tmp_path):
    push, said, results = make(private=False)
    with push:
        push(results["bad"], {})
        push(results["two"], {})
    assert said[-2:] == [
        "Warning: stage 'bad' was not published: user/model: the upload failed 6 times\n"
        f"Publish it with: affectgpt push {tmp_path} --stage bad --repo user/model",
        "Stage 'two' is at http://hub/user/model",
    ]


def test_a_run_that_is_started_again_sends_what_was_not_sent(make, tmp_path):
    for _ in range(2):
        push, _, results = make()
        with push:
            push(results["one"], {})
            push(results["bad"], {})
    assert [call[1] for call in calls(tmp_path)] == ["one", "bad", "bad"]
    other, _, results = make(repo="user/other")
    with other:
        other(results["one"], {})
    assert calls(tmp_path)[-1][:4] == ["--stage", "one", "--repo", "user/other"]


def test_a_changed_licence_or_privacy_is_published_again(make, tmp_path):
    for hub in ({"license": "mit"}, {"license": "mit"}, {"license": "apache-2.0"}, {}, {"private": False}):
        push, _, results = make(**hub)
        with push:
            push(results["one"], {})
    common = ["--stage", "one", "--repo", "user/model"]
    assert calls(tmp_path) == [
        [*common, "--private", "--license", "mit", "--json"],
        [*common, "--private", "--license", "apache-2.0", "--json"],
        [*common, "--private", "--json"],
        [*common, "--json"],
    ]


def test_what_v0_1_0_noted_as_published_is_not_sent_again(make, tmp_path):
    push, _, results = make(license="mit")
    (tmp_path / "hub").mkdir()
    note = {"repo": "user/model", "fingerprint": "print of one"}
    (tmp_path / "hub" / "one.sent").write_text(json.dumps(note))
    (tmp_path / "hub" / "two.sent").write_text('{"repo": "user/mo')  # cut short by a kill
    with push:
        push(results["one"], {})
        push(results["two"], {})
    assert [call[1] for call in calls(tmp_path)] == ["two"]


def test_a_repository_that_stays_private_is_mentioned(make, monkeypatch):
    answer = 'print(\'{"url": "http://hub/user/model", "private": true}\')'
    monkeypatch.setattr(background_push, "COMMAND", (sys.executable, "-c", answer))
    push, said, results = make(private=False)
    with push:
        push(results["one"], {})
    assert said[-1] == "user/model is private and stays so: make it public in its settings."


def test_the_end_of_a_run_waits_no_longer_than_it_says(make, monkeypatch):
    monkeypatch.setattr(background_push, "WAIT_S", 0.6)
    push, said, results = make()
    started = time.monotonic()
    with push:
        push(results["slow"], {})
        push(results["two"], {})
    assert time.monotonic() - started < PATIENCE_S
    assert said[0] == "Waiting for the upload of slow, two to user/model, 0.01 minutes at most."
    assert [text.partition(":")[2].split(" was")[0] for text in said[1:]] == [" stage 'slow'", " stage 'two'"]
    assert "affectgpt push" in said[1]
    assert "the run ended before it had arrived" in said[1]
    assert push.process.wait(PATIENCE_S) != 0


def test_a_run_that_fails_waits_for_nothing(make):
    push, said, results = make()
    started = time.monotonic()

    def interrupted() -> None:
        with push:
            push(results["slow"], {})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - started < PATIENCE_S
    assert not any("Waiting" in text for text in said)
    assert "Warning: stage 'slow' was not published" in said[-1]


def test_a_command_that_starts_while_the_run_ends_is_ended_too(make, monkeypatch):
    push, _, results = make()
    start, asked = subprocess.Popen, threading.Event()

    def start_late(*given: Any, **settings: Any) -> subprocess.Popen[str]:
        asked.set()
        push.stopped.wait(PATIENCE_S)
        return start(*given, **settings)

    def interrupted() -> None:
        with push:
            push(results["slow"], {})
            asked.wait(PATIENCE_S)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", start_late)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    push.worker.join(PATIENCE_S)
    assert push.process.returncode == -signal.SIGKILL


def test_a_command_that_cannot_start_is_a_warning(make, monkeypatch):
    monkeypatch.setattr(background_push, "COMMAND", ("/no/such/program",))
    push, said, results = make()
    with push:
        push(results["one"], {})
    assert "Warning: stage 'one' was not published: [Errno 2]" in said[-1]


def test_an_adapter_that_could_not_be_published_is_refused_before_training(tmp_path, monkeypatch):
    stage = {"name": "one", "kind": "sft", "steps": 1, "batch_size": 1, "learning_rate": 1, "mixture": {"tree": 1}}
    values = {"output": tmp_path, "data": {"train": "x"}, "model": {"tiny": {}, "lora": {}}, "stages": [stage]}
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "manifest.json").write_text('{"files": {"config.json": {}}}')
    prepared = SimpleNamespace(clips={"train": []}, reader=None, starting_model=tmp_path, fingerprint="f", v0_1_0="o")
    monkeypatch.setattr(pipeline, "require_access", lambda: None)
    monkeypatch.setattr(pipeline, "prepare", lambda *_: prepared)
    monkeypatch.setattr(pipeline, "run_stages", lambda *_: pytest.fail("it trained"))
    with pytest.raises(InputError, match="this one is on this machine alone"):
        pipeline.run_recipe(Recipe(**values, hub={"repo": "user/model"}))


def test_a_run_without_a_way_to_the_hub_does_not_start(tmp_path, monkeypatch):
    stage = {"name": "one", "kind": "sft", "steps": 1, "batch_size": 1, "learning_rate": 1, "mixture": {"tree": 1}}
    values = {"output": tmp_path, "data": {"train": "x"}, "model": {"tiny": {}}, "stages": [stage]}
    recipe = Recipe(**values, hub={"repo": "user/model"})
    monkeypatch.setattr(pipeline, "prepare", lambda *_: pytest.fail("it started"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="Unset HF_HUB_OFFLINE"):
        pipeline.run_recipe(recipe)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)
    with pytest.raises(InputError, match="expected a login, found none"):
        pipeline.run_recipe(recipe)


def test_a_run_hands_over_each_stage_with_its_scores(tmp_path, monkeypatch):
    stage = {"kind": "sft", "steps": 1, "batch_size": 1, "learning_rate": 1, "mixture": {"tree": 1}}
    stages = [{"name": name, **stage} for name in ("one", "two")]
    values = {"output": tmp_path, "data": {"train": "x"}, "model": {"tiny": {}}, "stages": stages}
    recipe = Recipe(**values, hub={"repo": "user/model"})
    handed: list[tuple[str, list[str]]] = []

    class Recorder:
        def __init__(self, *_: object) -> None:
            pass

        def __enter__(self):  # type: ignore[no-untyped-def]
            return lambda result, report: handed.append((result.stage.name, list(report)))

        def __exit__(self, *_: object) -> None:
            handed.append(("end", []))

    monkeypatch.setattr(pipeline, "require_access", lambda: None)
    monkeypatch.setattr(pipeline, "BackgroundPush", Recorder)
    prepared = SimpleNamespace(clips={"train": []}, reader=None, starting_model=tmp_path, fingerprint="f", v0_1_0="o")
    monkeypatch.setattr(pipeline, "prepare", lambda *_: prepared)
    monkeypatch.setattr(pipeline, "run_stages", lambda *_: (SimpleNamespace(stage=item) for item in recipe.stages))
    monkeypatch.setattr(SftStage, "score", lambda stage, *_: {"name": stage.name, "kind": "sft", "metrics": {}})
    monkeypatch.setattr(pipeline, "summary", lambda *given: [item["name"] for item in given[-1]])

    def finish(*_: object) -> str:
        handed.append(("report", []))
        (tmp_path / "report.json").write_text("{}")
        return "page"

    monkeypatch.setattr(pipeline, "finish", finish)
    assert pipeline.run_recipe(recipe) == {}
    assert handed == [("one", ["one"]), ("two", ["one", "two"]), ("report", []), ("end", [])]


def test_the_field_of_a_recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    stage = "[{name: a, kind: sft, steps: 1, batch_size: 1, learning_rate: 1, mixture: {tree: 1}}]"
    path.write_text(f"output: x\ndata: {{train: x}}\nmodel: {{tiny: {{}}}}\nstages: {stage}\nhub: {{repo: model}}\n")
    with pytest.raises(InputError, match=r"line 5, 'hub\.repo': expected user/name, got 'model'"):
        load_recipe(path)
    hub = load_recipe(path, ["hub.repo=user/model"]).hub
    assert (hub.repo, hub.private, hub.license) == ("user/model", True, None)
    with pytest.raises(InputError, match=r"Did you mean 'private'"):
        load_recipe(path, ["hub.repo=user/model", "hub.privat=true"])
