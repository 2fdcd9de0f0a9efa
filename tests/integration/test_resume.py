"""Runs that are killed go on to the bit; on another number of processes, with the same rows in the same order."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.commands import ENV, ROOT
from tests.support.limits import PATIENCE_S, wait_for
from tests.support.rounding import assert_same_but_for_rounding
from train.fault_tolerance.checkpoint import newest_valid

# torchrun's own store, which outlives a restart, would give the new processes the addresses of the old ones.
TORCHRUN_ENV = {**ENV, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def test_runs_killed_inside_saves_are_resumed_to_the_bit(launch):
    done = launch(sys.executable, "scripts/torture_resume.py", "--runs", 3, "--seed", 1)
    assert done.code == 0, done.out + done.err
    assert done.out.splitlines()[-1] == "3 of 3 resumed to the bit"


@pytest.fixture(scope="module")
def recipe(write_recipe, make_stage, tmp_path_factory):
    closed = {"attribute_closed": 1.0}
    steps = make_stage("attribute", steps=60, save_steps=5, batch_size=4, learning_rate=0.02, mixture=closed)
    return write_recipe(tmp_path_factory.mktemp("elastic"), [steps])


def losses(folder: Path) -> list[float]:
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line)["loss"] for line in lines if line.endswith("\n")]


def by_sgd(recipe: Path, folder: Path) -> list[str]:
    """Training whose weights can be compared on one process and two, see `tests/support/rounding.py`."""
    return ["-m", "tests.integration.by_sgd", str(recipe), f"output={folder}"]


def start_two(recipe: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    command = [*TORCHRUN, *options, *by_sgd(recipe, folder)]
    return subprocess.Popen(command, cwd=ROOT, env=TORCHRUN_ENV, stderr=subprocess.PIPE, text=True)


def wait_for_step(running: subprocess.Popen[str], folder: Path, step: int) -> None:
    def is_there() -> bool:
        assert running.poll() is None, running.communicate()
        return len(losses(folder)) >= step

    wait_for(is_there)


def worker_of(running: subprocess.Popen[str]) -> int:
    """A process that trains, of the two that a launcher started."""
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    return int(children[-1])


def test_another_number_of_processes_keeps_the_order_of_rows(launch, recipe):
    """From 2 processes to 1 after the first died; and from 2 to 2, started again by torchrun itself."""
    alone = launch(sys.executable, *by_sgd(recipe, recipe.parent / "alone"))
    assert alone.code == 0, alone.err
    expected = losses(recipe.parent / "alone")
    assert len(expected) == 60

    folder = recipe.parent / "fewer"
    running = start_two(recipe, folder)
    wait_for_step(running, folder, 12)
    os.kill(worker_of(running), signal.SIGKILL)
    _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1
    assert "died without an error message, during: sft attribute" in err
    assert len(losses(folder)) < 60
    done = launch(sys.executable, *by_sgd(recipe, folder))
    assert done.code == 0, done.err
    assert losses(folder) == pytest.approx(expected, abs=1e-4)

    folder = recipe.parent / "restarted"
    running = start_two(recipe, folder, "--max-restarts", "1")
    wait_for_step(running, folder, 12)
    os.kill(worker_of(running), signal.SIGKILL)
    _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 0, err
    assert losses(folder) == pytest.approx(expected, abs=1e-4)
    before = load_file(next((recipe.parent / "cache").glob("base-*")) / "model.safetensors")
    expected_weights, *others = (
        load_file(recipe.parent / name / "checkpoints/attribute/model.safetensors")
        for name in ("alone", "fewer", "restarted")
    )
    for weights in others:
        assert_same_but_for_rounding(weights, expected_weights, before)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 48 MB, for what a full one does."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "disk", disk]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_disk_that_fills_keeps_the_checkpoint_before(train, start_train, write_recipe, make_stage, small_disk):
    stages = [make_stage("attribute", steps=400, save_steps=20, mixture={"attribute_closed": 1.0})]
    recipe = write_recipe(small_disk, stages)
    folder, steps = small_disk / "run", small_disk / "run/checkpoints/attribute.steps"
    running = start_train(recipe, "output=" + str(folder))

    def has_a_checkpoint() -> bool:
        assert running.poll() is None, running.communicate()
        return any(steps.glob("checkpoint-*/manifest.json"))

    wait_for(has_a_checkpoint)
    with (small_disk / "filler").open("wb") as filler:
        while shutil.disk_usage(small_disk).free > 100_000:
            filler.write(b"0" * 50_000)
            filler.flush()
    _, err = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 1, err
    assert "Traceback" not in err
    assert "MB are missing" in err or "the disk is full" in err
    assert "The last checkpoint is kept; free some space, then run the same command to resume." in err
    assert newest_valid(steps) is not None
    assert not list(steps.glob(".checkpoint-*.part"))
    (small_disk / "filler").unlink()
    done = train(recipe, f"output={folder}", "stages.attribute.save_steps=20")
    assert done.code == 0, done.err
    assert len(losses(folder)) == 400


def test_launches_may_share_a_cache_but_not_a_run_folder(start_train, write_recipe, make_stage, tmp_path):
    recipe = write_recipe(tmp_path, [make_stage("attribute", steps=100, mixture={"attribute_closed": 1.0})])
    first, other = (start_train(recipe, f"output={tmp_path / name}") for name in ("one", "two"))

    def is_under_way() -> bool:
        assert first.poll() is None, first.communicate()
        return bool(losses(tmp_path / "one"))

    wait_for(is_under_way)
    os.kill(first.pid, signal.SIGSTOP)  # however long the next one takes to come
    try:
        second = start_train(recipe, f"output={tmp_path / 'one'}")
        _, err = second.communicate(timeout=PATIENCE_S)
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert second.returncode == 2, err
    assert "one: another run is under way there" in err
    for running in (first, other):
        _, err = running.communicate(timeout=PATIENCE_S)
        assert running.returncode == 0, err
    one, two = (load_file(tmp_path / name / "checkpoints/attribute/model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
    assert len(losses(tmp_path / "one")) == 100
