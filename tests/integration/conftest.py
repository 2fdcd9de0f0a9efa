"""The real commands in processes of their own, on a handful of synthetic clips and a model 32 wide."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.commands import ENV, ROOT, TRAIN, Done, run
from tests.support.models import TINY

MARK = "=== next call ==="
DRIVER = f"""
import json, sys
from train.run import entry
codes = []
for call in json.loads(sys.argv[1]):
    codes.append(entry(call))
    print({MARK!r}, file=sys.stderr, flush=True)
print(json.dumps(codes))
"""


@pytest.fixture(scope="session")
def affectgpt() -> Callable[..., Done]:
    """`affectgpt("data", "check", path)`: the command in a process of its own."""
    return lambda *words: run(sys.executable, "-m", "affectgpt", *words)


@pytest.fixture(scope="session")
def launch() -> Callable[..., Done]:
    """`launch(program, ...)`: any program, in the checkout, with the same environment."""
    return run


@pytest.fixture(scope="session")
def train() -> Callable[..., Done]:
    """`train(recipe, "key=value", ...)`: training in a process of its own."""
    return lambda *words: run(*TRAIN, *words)


@pytest.fixture(scope="session")
def train_in_turn() -> Callable[..., list[Done]]:
    """`train_in_turn([recipe, ...], [recipe, ...])`: several trainings one after the other in one new process."""

    def call(*calls: list[object]) -> list[Done]:
        done = run(sys.executable, "-c", DRIVER, json.dumps([[str(word) for word in words] for words in calls]))
        assert done.code == 0, done.err
        *_, last = done.out.splitlines()
        said = done.err.split(f"{MARK}\n")[:-1]
        return [Done(code, "", text) for code, text in zip(json.loads(last), said, strict=True)]

    return call


@pytest.fixture(scope="session")
def start_train() -> Callable[..., subprocess.Popen]:
    """Training that goes on while the test does."""
    return lambda *words: subprocess.Popen(
        [*TRAIN, *map(str, words)], cwd=ROOT, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture(scope="session")
def data(affectgpt, once) -> Path:
    """A folder of synthetic clips and rows."""
    counts = {"clips": 12, "rl-clips": 4, "dev-clips": 2, "test-clips": 6, "text-rows": 20}
    actors = {"train-actors": 3, "dev-actors": 1, "test-actors": 2}
    words = [word for name, count in (counts | actors).items() for word in (f"--{name}", count)]

    def make(folder: Path) -> None:
        done = affectgpt("data", "synthetic", *words, "--seed", 5, "--out", folder / "data", "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["rows"]["text"] == 20

    return once("synthetic", make) / "data"


def stage(name: str, kind: str = "sft", steps: int = 3, **settings: Any) -> dict[str, Any]:
    fixed = {"name": name, "kind": kind, "steps": steps, "batch_size": 4, "learning_rate": 1e-3, "log_steps": 1}
    return {**fixed, "mixture": {"tree": 1.0}, "generations": 2, "max_new_tokens": 12, **settings}


@pytest.fixture(scope="session")
def write_recipe(data) -> Callable[..., Path]:
    """`write_recipe(folder, stages)`: a recipe whose run is `folder/run` and whose cache is `folder/cache`."""

    def write(folder: Path, stages: list[dict[str, Any]] | None = None, rows: Path = data, **settings: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "recipe.yaml"
        recipe = {
            "title": "Tiny",
            "output": str(folder / "run"),
            "seed": 3,
            "threads": 1,
            "data": {part: str(rows / f"{part}.jsonl") for part in ("train", "rl", "dev", "test", "text")},
            "model": TINY,
            "stages": stages or [stage("attribute", mixture={"attribute_closed": 0.5, "text": 0.5})],
            "evaluation": {"max_new_tokens": 8, "resamples": 20, "examples": 2},
            **settings,
        }
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))
        return path

    return write


@pytest.fixture(scope="session")
def make_stage() -> Callable[..., dict[str, Any]]:
    """`make_stage(name, kind, steps, **settings)`: a stage of a recipe."""
    return stage
