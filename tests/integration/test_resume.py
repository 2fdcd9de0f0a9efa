"""Runs that are killed go on to the bit; on another number of processes, with the same rows in the same order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.integration.conftest import ENV, ROOT

# torchrun's own store, which outlives a restart, would give the new processes the addresses of the old ones.
TORCHRUN_ENV = {**ENV, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_runs_killed_inside_saves_are_resumed_to_the_bit(launch):
    done = launch(sys.executable, "scripts/torture_resume.py", "--runs", 3, "--seed", 1)
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[-1] == "3 of 3 resumed to the bit"


@pytest.fixture(scope="module")
def recipe(write_recipe, make_stage, tmp_path_factory):
    steps = make_stage("attribute", steps=60, save_steps=5, batch_size=4, mixture={"attribute_closed": 1.0})
    return write_recipe(tmp_path_factory.mktemp("elastic"), [steps])


def losses(folder: Path) -> list[float]:
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line)["loss"] for line in lines if line.endswith("\n")]


def start_two(recipe: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [*TORCHRUN, *options, "-m", "train.run", str(recipe), f"output={folder}"]
    return subprocess.Popen(command, cwd=ROOT, env=TORCHRUN_ENV, stderr=subprocess.PIPE, text=True)


def wait_for_step(running: subprocess.Popen[str], folder: Path, step: int) -> None:
    limit = time.monotonic() + 60
    while len(losses(folder)) < step:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < limit
        time.sleep(0.01)


def worker_of(running: subprocess.Popen[str]) -> int:
    """A process that trains, of the two that a launcher started."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    return int(children[-1])


def test_another_number_of_processes_keeps_the_order_of_rows(train, recipe):
    """From 2 processes to 1 after the first died; and from 2 to 2, started again by torchrun itself."""
    alone = train(recipe)
    assert alone.code == 0, alone.err
    expected = losses(recipe.parent / "run")
    assert len(expected) == 60

    folder = recipe.parent / "fewer"
    running = start_two(recipe, folder)
    wait_for_step(running, folder, 12)
    os.kill(worker_of(running), signal.SIGKILL)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert "died without a word, while: sft attribute" in err
    assert len(losses(folder)) < 60
    done = train(recipe, f"output={folder}")
    assert done.code == 0, done.err
    assert losses(folder) == pytest.approx(expected, abs=1e-4)

    folder = recipe.parent / "restarted"
    running = start_two(recipe, folder, "--max-restarts", "1")
    wait_for_step(running, folder, 12)
    os.kill(worker_of(running), signal.SIGKILL)
    _, err = running.communicate(timeout=90)
    assert running.returncode == 0, err
    assert losses(folder) == pytest.approx(expected, abs=1e-4)
    weights = [load_file(recipe.parent / name / "checkpoints/attribute/model.safetensors") for name in ("run", folder)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=1e-4, msg=name)
