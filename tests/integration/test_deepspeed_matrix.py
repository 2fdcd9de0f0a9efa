"""ZeRO 1, 2, 3 and 3 with offload x supervised and GRPO x LoRA and full x equal and unequal modalities per process.

Each of the 32 cells trains on two gloo processes to the losses and the weights that one process comes to. A launch runs
the four cells of an adapter and a ZeRO level, or more. `make test` has 8 cells; `test_deepspeed.py` has further ones.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.commands import free_port

pytest.importorskip("deepspeed")
STAGES = ("sft-equal", "sft-unequal", "grpo-equal", "grpo-unequal")
MODULE = "tests.integration.several_runs"
LEVELS = ("zero1", "zero2", "zero3", "zero3_offload")
ADAPTERS = ("lora", "full")


@pytest.fixture(scope="module")
def rows(data) -> dict[str, Path]:
    """The synthetic rows, and two of another task: one has pictures alone, the other sound alone."""
    made = {}
    for part in ("train", "rl"):
        lines = (data / f"{part}.jsonl").read_text().splitlines()
        seen, heard = [json.loads(line) for line in lines if json.loads(line)["task"] == "tree"][:2]
        common = {"task": "caption", "answer": "a smile", "subtitle": None}
        pictures = {"face": seen["face"], "video": None, "id": "seen"}
        sound = {"audio": heard["video"], "face": None, "video": None, "id": "heard"}
        unequal = [seen | common | pictures, heard | common | sound]
        rest = [json.dumps({key: value for key, value in row.items() if value is not None}) for row in unequal]
        made[part] = data / f"{part}_matrix.jsonl"
        made[part].write_text("\n".join([*lines, *rest]) + "\n")
    return made


@pytest.fixture(scope="module")
def recipe(write_recipe, make_stage, rows, tmp_path_factory) -> Callable[[str], Path]:
    """The recipe of an adapter: a stage for each cell of a ZeRO level."""

    def supervised(name: str, task: str, **settings: Any) -> dict[str, Any]:
        return make_stage(name, steps=3, mixture={task: 1.0}, weight_decay=0.1, **settings)

    def rollouts(name: str, task: str) -> dict[str, Any]:
        rewards = {"length": {"shortest": 20}, "repetition": {"n": 1}}
        fixed = {"batch_size": 8, "generations": 4, "max_new_tokens": 13, "beta": 0.1, "rewards": rewards}
        return make_stage(name, "grpo", steps=2, mixture={task: 1.0}, **fixed)

    stages = [
        supervised("sft-equal", "attribute_closed", accumulation=2),
        supervised("sft-unequal", "caption", batch_size=2),
        rollouts("grpo-equal", "attribute_closed"),
        rollouts("grpo-unequal", "caption"),
    ]
    folder = tmp_path_factory.mktemp("matrix")

    def write(adapter: str) -> Path:
        # No test rows: nothing is scored.
        path = write_recipe(folder / adapter, stages)
        text = path.read_text()
        if adapter == "lora":
            text = text.replace("model:\n", "model:\n  lora: {r: 4, alpha: 8, dropout: 0.0}\n")
        for part, file in rows.items():
            text = text.replace(str(file.with_name(f"{part}.jsonl")), str(file))
        path.write_text(
            "\n".join(line for line in text.splitlines() if not line.lstrip().startswith(("dev:", "test:")))
        )
        return path

    return write


@pytest.fixture(scope="module")
def alone(launch, recipe) -> dict[str, Path]:
    """The run folders of one process, by adapter."""
    paths = {adapter: recipe(adapter) for adapter in ADAPTERS}
    calls = [[str(path), f"output={path.parent / 'alone'}"] for path in paths.values()]
    done = launch(sys.executable, "-m", MODULE, json.dumps(calls))
    assert done.code == 0, done.err[-4000:]
    return {adapter: path.parent / "alone" for adapter, path in paths.items()}


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param([("zero1", "full"), ("zero3", "lora")], id="zero1-full,zero3-lora"),
        *(
            pytest.param([(level, adapter)], id=f"{level}-{adapter}", marks=pytest.mark.slow)
            for level, adapter in product(LEVELS, ADAPTERS)
            if (level, adapter) not in (("zero1", "full"), ("zero3", "lora"))
        ),
    ],
)
def test_two_processes_come_to_what_one_comes_to(launch, recipe, alone, cells):
    folders = {cell: alone[cell[1]].with_name(cell[0]) for cell in cells}
    calls = [
        [str(recipe(adapter)), f"output={folder}", f"deepspeed=deepspeed_configs/{level}.json"]
        for (level, adapter), folder in folders.items()
    ]
    launcher = Path(sys.executable).with_name("deepspeed")
    options = ("--num_accelerators", 2, "--master_port", free_port(), "--module")
    done = launch(launcher, *options, MODULE, json.dumps(calls))
    assert done.code == 0, done.err[-4000:]
    for (_, adapter), folder in folders.items():
        for stage in STAGES:
            assert_alike(folder, alone[adapter], stage)
        # In a step of the unequal stage, one process read pictures alone and the other sound alone.
        read = [
            json.loads(line) for rank in (0, 1) for line in (folder / f"rows-{rank}.jsonl").read_text().splitlines()
        ]
        unequal = [step["rows"][0] for step in read if step["run"].endswith("sft-unequal")]
        assert any(one != other for one, other in zip(unequal[:3], unequal[3:], strict=True)), unequal


def log(folder: Path, stage: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage]


def assert_alike(folder: Path, alone: Path, stage: str) -> None:
    found, expected = log(folder, stage), log(alone, stage)
    for name in ("loss", "kl", "reward", "grad_norm"):
        values, wanted = ([row[name] for row in rows if name in row] for rows in (found, expected))
        assert values == pytest.approx(wanted, abs=1e-4), (stage, name)
    assert len(found) == (3 if stage.startswith("sft") else 2)
    files = [path.name for path in (alone / "checkpoints" / stage).glob("*model.safetensors")]
    assert len(files) == 1
    weights, wanted = (load_file(run / "checkpoints" / stage / files[0]) for run in (folder, alone))
    assert weights.keys() >= wanted.keys()
    assert all(value.numel() for value in weights.values()), "a file of empty tensors: the shards were not gathered"
    for name, value in wanted.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4, msg=f"{stage} {name}")
    if files[0] == "adapter_model.safetensors":
        assert any(bool(value.any()) for name, value in weights.items() if "lora_B" in name), "an adapter of zeros"
