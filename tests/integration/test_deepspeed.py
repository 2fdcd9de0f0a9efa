"""Two processes under DeepSpeed's launcher come to what one process comes to, with weights split and without.

ZeRO 1, 2, 3 and 3 with offload x supervised and GRPO x LoRA and full x equal and unequal modalities per process: 32
cells, of which `make test` has 8. They learn by an optimiser that does not make rounding larger (rounding.py of
tests/support), so their weights are compared. A recipe of all kinds of stages learns by AdamW, under ZeRO 2 and 3; of
that, losses and gradients are compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import affectgpt.model  # noqa: F401  (registers the Auto classes)
from tests.support.commands import free_port
from tests.support.models import TINY
from tests.support.rounding import assert_same_but_for_rounding

pytest.importorskip("deepspeed")
STAGES = ("sft-equal", "sft-unequal", "grpo-equal", "grpo-unequal")
MODULE = "tests.integration.several_runs"
LEVELS = ("zero1", "zero2", "zero3", "zero3_offload")
ADAPTERS = ("lora", "full")
QUICK = (("zero1", "full"), ("zero3", "lora"))
WHOLE = ("zero2", "zero3")
"""The levels under which the recipe of all kinds of stages is trained."""
FIXED = {"batch_size": 8, "generations": 4, "max_new_tokens": 13, "beta": 0.1}
REWARDS = {"length": {"shortest": 20}, "repetition": {"n": 1}}
"""A stage with these has the answers of `fixed_rollouts.py`."""
LORA = {"r": 4, "alpha": 8, "dropout": 0.0}

Launch = Callable[[Sequence[Sequence[str]]], str]


@pytest.fixture(scope="module")
def alone(launch) -> Launch:
    """`alone(runs)`: one process; what it wrote to standard error."""

    def start(runs: Sequence[Sequence[str]]) -> str:
        done = launch(sys.executable, "-m", MODULE, json.dumps(runs))
        assert done.code == 0, done.err[-4000:]
        return done.err

    return start


@pytest.fixture(scope="module")
def together(launch) -> Launch:
    """`together(runs)`: two processes under the launcher."""

    def start(runs: Sequence[Sequence[str]]) -> str:
        launcher = Path(sys.executable).with_name("deepspeed")
        options = ("--num_accelerators", 2, "--master_port", free_port(), "--module")
        done = launch(launcher, *options, MODULE, json.dumps(runs))
        assert done.code == 0, done.err[-4000:]
        return done.err

    return start


def add_unequal_rows(data: Path, folder: Path) -> dict[str, Path]:
    """The synthetic rows, and two of another task: one has pictures alone, the other sound alone."""
    made = {}
    for part in ("train", "rl"):
        rows = [json.loads(line) for line in (data / f"{part}.jsonl").read_text().splitlines()]
        seen, heard = [row for row in rows if row["task"] == "tree"][:2]
        common = {"task": "caption", "answer": "a smile", "subtitle": None}
        pictures = {"face": seen["face"], "video": None, "id": "seen"}
        sound = {"audio": heard["video"], "face": None, "video": None, "id": "heard"}
        rows += [seen | common | pictures, heard | common | sound]
        written = [json.dumps({key: value for key, value in row.items() if value is not None}) for row in rows]
        made[part] = folder / f"{part}.jsonl"
        made[part].write_text("\n".join(written) + "\n")
    return made


@pytest.fixture(scope="module")
def runs(once, data, write_recipe, make_stage, alone) -> dict[str, list[str]]:
    """Optimiser and recipe of 'lora', 'full' and 'whole'; beside each recipe, in `alone`, what one process came to."""

    def supervised(name: str, task: str, **settings: Any) -> dict[str, Any]:
        fixed = {"steps": 3, "learning_rate": 0.1, "weight_decay": 0.1, "mixture": {task: 1.0}}
        return make_stage(name, **fixed, **settings)

    def rollouts(name: str, task: str) -> dict[str, Any]:
        fixed = {"steps": 2, "learning_rate": 0.1, "mixture": {task: 1.0}, "rewards": REWARDS, **FIXED}
        return make_stage(name, "grpo", **fixed)

    cells = [
        supervised("sft-equal", "attribute_closed", accumulation=2),
        supervised("sft-unequal", "caption", batch_size=2),
        rollouts("grpo-equal", "attribute_closed"),
        rollouts("grpo-unequal", "caption"),
    ]
    whole = [
        make_stage("attribute", steps=4, accumulation=2, weight_decay=0.1, mixture={"attribute_closed": 1.0}),
        # In every step, the group of one process lacks sound and that of the other pictures.
        make_stage(*("unequal", "grpo"), steps=4, num_iterations=2, mixture={"caption": 1.0}, rewards=REWARDS, **FIXED),
        make_stage("grpo", "grpo", steps=2, beta=0.1, exchanges=1),
        make_stage(
            *("empathy", "empathy"),
            mixture={"emotion_label": 1.0},
            plugins={"emotion": {"encoder": "scratch", "epochs": 1}, "cause": {}},
            evidence_dropout=0.3,
            evidence_corruption=0.2,
        ),
    ]

    def make(folder: Path) -> None:
        files = {part: str(data / f"{part}.jsonl") for part in ("train", "dev", "test", "text")}
        unequal = {part: str(path) for part, path in add_unequal_rows(data, folder).items()}
        rows = {**unequal, "text": files["text"], "media_root": str(data)}  # no test rows: nothing is scored
        write_recipe(folder / "full", cells, data=rows)
        write_recipe(folder / "lora", cells, data=rows, model=TINY | {"lora": LORA})
        write_recipe(folder / "whole", whole, data={**files, "rl": unequal["rl"], "media_root": str(data)})
        alone([[*words(folder, name), f"output={folder / name / 'alone'}"] for name in (*ADAPTERS, "whole")])

    def words(folder: Path, name: str) -> list[str]:
        return ["adamw" if name == "whole" else "sgd", str(folder / name / "recipe.yaml")]

    folder = once("deepspeed", make)
    return {name: words(folder, name) for name in (*ADAPTERS, "whole")}


def under(level: str, run: list[str]) -> list[str]:
    """A run on several processes, into the folder named like its level."""
    return [*run, f"output={Path(run[-1]).with_name(level)}", f"deepspeed=deepspeed_configs/{level}.json"]


@pytest.fixture(scope="module")
def said(once, runs, together) -> str:
    """What the launch of the quick cells and of the whole recipe wrote to standard error."""

    def make(folder: Path) -> None:
        quick = [under(level, runs[adapter]) for level, adapter in QUICK]
        said = together([*quick, *(under(level, runs["whole"]) for level in WHOLE)])
        (folder / "said").write_text(said)

    return (once("deepspeed-together", make) / "said").read_text()


def log(folder: Path, stage: str) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage]


def assert_same_course(folder: Path, alone: Path, stage: str, names: Sequence[str]) -> None:
    """What was logged of a stage is the same on several processes as on one."""
    found, expected = log(folder, stage), log(alone, stage)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    for name in names:
        values, wanted = ([row[name] for row in rows if name in row] for rows in (found, expected))
        assert values == pytest.approx(wanted, abs=1e-4), (stage, name)


def assert_same_cells(run: list[str], level: str) -> None:
    """Four stages, each from the checkpoint of the one before, come to the same weights."""
    alone, folder = Path(run[-1]).with_name("alone"), Path(run[-1]).with_name(level)
    before = load_file(next((alone.parent / "cache").glob("base-*")) / "model.safetensors")
    for stage in STAGES:
        assert_same_course(folder, alone, stage, ("loss", "kl", "reward", "grad_norm"))
        assert len(log(folder, stage)) == (3 if stage.startswith("sft") else 2)
        files = [path.name for path in (alone / "checkpoints" / stage).glob("*model.safetensors")]
        assert len(files) == 1
        weights, wanted = (load_file(run / "checkpoints" / stage / files[0]) for run in (folder, alone))
        assert all(value.numel() for value in weights.values()), "a file of empty tensors: the shards were not gathered"
        assert_same_but_for_rounding(weights, wanted, before)
        if files[0] == "adapter_model.safetensors":
            assert any(bool(value.any()) for name, value in weights.items() if "lora_B" in name), "an adapter of zeros"
        before = wanted
    # In a step of the unequal stage, one process read pictures alone and the other sound alone.
    read = [json.loads(line) for rank in (0, 1) for line in (folder / f"rows-{rank}.jsonl").read_text().splitlines()]
    unequal = [step["rows"][0] for step in read if step["run"].endswith("sft-unequal")]
    assert any(one != other for one, other in zip(unequal[:3], unequal[3:], strict=True)), unequal


@pytest.mark.parametrize(("level", "adapter"), QUICK)
def test_two_processes_come_to_what_one_comes_to(runs, said, level, adapter):
    assert_same_cells(runs[adapter], level)


@pytest.mark.slow
@pytest.mark.parametrize(("level", "adapter"), [cell for cell in product(LEVELS, ADAPTERS) if cell not in QUICK])
def test_so_they_do_under_the_other_levels(runs, together, level, adapter):
    together([under(level, runs[adapter])])
    assert_same_cells(runs[adapter], level)


def words_loss(checkpoint: Path) -> float:
    """The loss of a checkpoint on some text: the mean of many numbers that each hang on many weights."""
    model, info = AutoModelForImageTextToText.from_pretrained(checkpoint, output_loading_info=True)
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
    ids = torch.arange(10, 250)[None]
    with torch.no_grad():
        return float(model(input_ids=ids, labels=ids).loss)


def test_all_kinds_of_stages_learn_by_adamw_as_one_process_does(runs, said):
    assert "Traceback" not in said
    alone = Path(runs["whole"][-1]).with_name("alone")
    losses = [row["loss"] for row in log(alone, "attribute")]
    assert losses[-1] < losses[0] < 8
    for level in WHOLE:
        folder = alone.with_name(level)
        # One process writes the log, and it tells the loss of the whole batch.
        assert [row["step"] for row in log(folder, "attribute")] == [1, 2, 3, 4]
        assert_same_course(folder, alone, "attribute", ("loss",))
        assert [row["step"] for row in log(folder, "grpo")] == [1, 2]
        assert log(folder, "grpo")[0]["kl"] == pytest.approx(0, abs=1e-6)
        names = ("loss", "kl", "entropy", "reward", "completion_length", "grad_norm")
        assert [row["step"] for row in log(folder, "unequal")] == [1, 2, 3, 4]
        assert_same_course(folder, alone, "unequal", names)
        assert all(sum(name in row for row in log(folder, "unequal")) >= 2 for name in names)
        assert log(folder, "unequal")[-1]["kl"] > 1e-4
        for stage in ("attribute", "unequal"):
            found, expected = (words_loss(run / "checkpoints" / stage) for run in (folder, alone))
            assert found == pytest.approx(expected, abs=1e-4), stage
        for stage in ("grpo", "empathy"):
            assert words_loss(folder / "checkpoints" / stage) < 20
        report = json.loads((folder / "report.json").read_text())
        assert [entry["name"] for entry in report["stages"]] == ["attribute", "unequal", "grpo", "empathy"]
        assert report["stages"][-1]["empathy"]["n"] == 6
        assert len(log(folder, "empathy")) == 3
        assert list((folder / "checkpoints").glob("*.steps")) == []
