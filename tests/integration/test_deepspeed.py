"""Two processes under DeepSpeed's launcher give what one process gives, with weights split and without."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

import affectgpt.model  # noqa: F401  (registers the Auto classes)
from tests.support.commands import free_port

pytest.importorskip("deepspeed")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def rows_with_unequal_media(data) -> Path:
    """The synthetic GRPO rows, and two of another task: one has pictures alone, the other sound alone."""
    lines = (data / "rl.jsonl").read_text().splitlines()
    seen, heard = [json.loads(line) for line in lines if json.loads(line)["task"] == "tree"][:2]
    common = {"task": "caption", "answer": "a smile", "subtitle": None}
    pictures = {"face": seen["face"], "video": None, "id": "seen"}
    sound = {"audio": heard["video"], "face": None, "video": None, "id": "heard"}
    made = [seen | common | pictures, heard | common | sound]
    path = data / "rl_unequal.jsonl"
    rest = [json.dumps({key: value for key, value in row.items() if value is not None}) for row in made]
    path.write_text("\n".join([*lines, *rest]) + "\n")
    return path


def test_zero_2_and_zero_3_train_as_one_process_does(
    launch, write_recipe, make_stage, rows_with_unequal_media, tmp_path
):
    stages = [
        make_stage("attribute", steps=4, accumulation=2, weight_decay=0.1, mixture={"attribute_closed": 1.0}),
        # In every step, the group of one process lacks sound and that of the other pictures.
        make_stage(
            *("unequal", "grpo"),
            steps=4,
            batch_size=8,
            generations=4,
            num_iterations=2,
            beta=0.1,
            max_new_tokens=13,
            mixture={"caption": 1.0},
            rewards={"length": {"shortest": 20}, "repetition": {"n": 1}},
        ),
        make_stage("grpo", "grpo", steps=2, beta=0.1, exchanges=1),
        make_stage(
            *("empathy", "empathy"),
            mixture={"emotion_label": 1.0},
            plugins={"emotion": {"encoder": "scratch", "epochs": 1}, "cause": {}},
            evidence_dropout=0.3,
            evidence_corruption=0.2,
        ),
    ]
    recipe = write_recipe(tmp_path, stages)
    module = "tests.integration.fixed_rollouts"
    common = (recipe, f"data.rl={rows_with_unequal_media}")
    alone = launch(sys.executable, "-m", module, *common, f"output={tmp_path / 'alone'}")
    assert alone.code == 0, alone.err
    launcher = Path(sys.executable).with_name("deepspeed")
    for kind in ("zero2", "zero3"):
        done = launch(
            *(launcher, "--num_accelerators", 2, "--master_port", free_port(), "--module", module, *common),
            *(f"output={tmp_path / kind}", f"deepspeed=deepspeed_configs/{kind}.json"),
        )
        assert done.code == 0, done.err[-4000:]
        assert "Traceback" not in done.err

    def log(kind: str, stage: str) -> list[dict[str, float]]:
        lines = [json.loads(line) for line in (tmp_path / kind / "log.jsonl").read_text().splitlines()]
        return [line for line in lines if line["stage"] == stage]

    def weights(kind: str) -> dict[str, torch.Tensor]:
        return load_file(tmp_path / kind / "checkpoints/attribute/model.safetensors")

    expected = [row["loss"] for row in log("alone", "attribute")]
    assert expected[-1] < expected[0] < 8
    for kind in ("zero2", "zero3"):
        # One process writes the log, and it tells the loss of the whole batch.
        assert [row["step"] for row in log(kind, "attribute")] == [1, 2, 3, 4]
        assert [row["loss"] for row in log(kind, "attribute")] == pytest.approx(expected, abs=1e-4)
        assert [row["step"] for row in log(kind, "grpo")] == [1, 2]
        assert log(kind, "grpo")[0]["kl"] == pytest.approx(0, abs=1e-6)
        unequal, reference = log(kind, "unequal"), log("alone", "unequal")
        assert [row["step"] for row in unequal] == [1, 2, 3, 4]
        for name in ("loss", "kl", "entropy", "reward", "completion_length", "grad_norm"):
            found, expected_there = ([row[name] for row in rows if name in row] for rows in (unequal, reference))
            assert found == pytest.approx(expected_there, abs=1e-4), name
            assert len(found) >= 2
        assert unequal[-1]["kl"] > 1e-4
        found = weights(kind)
        assert weights("alone").keys() <= found.keys()
        for name, value in weights("alone").items():
            assert value.shape == found[name].shape, name
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-4, msg=name)
        for stage in ("attribute", "grpo", "unequal", "empathy"):
            folder = tmp_path / kind / "checkpoints" / stage
            _, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
            assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys")), info
        report = json.loads((tmp_path / kind / "report.json").read_text())
        assert [entry["name"] for entry in report["stages"]] == ["attribute", "unequal", "grpo", "empathy"]
        assert report["stages"][-1]["empathy"]["n"] == 6
        assert len(log(kind, "empathy")) == 3
        assert list((tmp_path / kind / "checkpoints").glob("*.steps")) == []
