"""Weights cut over two processes as ZeRO-3 does it, from mapped files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tests.support.commands import ENV, ROOT, free_port
from tests.support.limits import PATIENCE_S
from train.config.model import LoraSettings, ModelConfig
from train.model_setup import load_stage_model
from train.sharding import cuts_weights

pytest.importorskip("deepspeed")
DTYPES = {"full": torch.float32, "bf16": torch.bfloat16, "lora": torch.float32}
SCRIPT = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
import deepspeed, torch
from train.config.model import LoraSettings, ModelConfig
from train.model_setup import load_stage_model
from train.sharding import cut_weights

deepspeed.init_distributed("gloo")
rank = torch.distributed.get_rank()
found = {}
for name, lora, bf16 in (("full", None, False), ("bf16", None, True), ("lora", LoraSettings(r=2), False)):
    config = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}, "bf16": {"enabled": bf16}}
    torch.manual_seed(rank)  # adapters of the two processes differ; that of the first counts
    settings = ModelConfig(path=sys.argv[1], lora=lora, dtype="float32")
    model = load_stage_model(Path(sys.argv[1]), settings, trainable=True, as_stored=True)
    stored = {str(parameter.dtype) for parameter in model.parameters()}
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    arguments = SimpleNamespace(hf_deepspeed_config=SimpleNamespace(config=config))
    cut_weights(SimpleNamespace(model=model, args=arguments), torch.float32 if lora is None else None)
    parameters = dict(model.named_parameters())
    assert [name for name, parameter in parameters.items() if parameter.requires_grad] == trainable
    found[name] = {
        "stored": sorted(stored),
        "whole": sum(parameter.numel() for parameter in parameters.values()),
        "ours": sum(parameter.ds_tensor.numel() for parameter in parameters.values()),
        "all": sum(parameter.ds_numel for parameter in parameters.values()),
    }
    with deepspeed.zero.GatheredParameters(list(parameters.values())):
        whole = {key: value.detach().clone() for key, value in parameters.items()}
    torch.save(whole, f"{sys.argv[2]}/{name}-{rank}.pt")
Path(sys.argv[2], f"found-{rank}.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A language model whose weights are bfloat16 on disk."""
    folder = tmp_path_factory.mktemp("stored")
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    torch.manual_seed(0)
    config = Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def cut(stored, tmp_path_factory) -> Path:
    """What two processes found, which cut the model in turn for full training, in bf16, and under an adapter."""
    out = tmp_path_factory.mktemp("cut")
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "DS_ACCELERATOR": "cpu"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(stored), str(out)],
            cwd=ROOT,
            env={**ENV, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in started:
        _, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, err[-3000:]
    return out


@pytest.mark.parametrize("name", DTYPES)
def test_a_process_keeps_half_of_every_weight_and_nothing_else(cut, name):
    for rank in range(2):
        found = json.loads((cut / f"found-{rank}.json").read_text())[name]
        assert found["stored"] == (["torch.float32"] if name == "lora" else ["torch.bfloat16"])
        assert found["whole"] == 0
        assert found["all"] / 2 <= found["ours"] < found["all"] * 0.51


@pytest.mark.parametrize("name", DTYPES)
def test_gathered_again_it_is_the_model_that_one_process_loads(cut, stored, name):
    torch.manual_seed(0)
    lora = LoraSettings(r=2) if name == "lora" else None
    model = load_stage_model(stored, ModelConfig(path=str(stored), lora=lora, dtype="float32"), trainable=True)
    expected = {key: value.detach().to(DTYPES[name]) for key, value in model.named_parameters()}
    for rank in range(2):
        found = torch.load(cut / f"{name}-{rank}.pt", weights_only=True)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert found[key].dtype == value.dtype, key
            assert torch.equal(found[key], value), key


def test_weights_as_stored_are_pages_of_their_file(stored):
    settings = ModelConfig(path=str(stored))
    mapped = load_stage_model(stored, settings, trainable=True, as_stored=True)
    assert {parameter.dtype for parameter in mapped.parameters()} == {torch.bfloat16}
    ranges = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(stored) in line]
    bounds = [tuple(int(end, 16) for end in line[0].split("-")) for line in ranges]
    for name, parameter in mapped.named_parameters():
        assert any(low <= parameter.data_ptr() < high for low, high in bounds), name
    whole = load_stage_model(stored, settings, trainable=True)
    assert {parameter.dtype for parameter in whole.parameters()} == {torch.float32}


def test_a_model_with_constants_in_its_dtype_is_loaded_in_that_of_training(stored, monkeypatch):
    """Gemma's scale of embeddings is a buffer that is rounded to the dtype in which the model is built."""
    init = Qwen2ForCausalLM.__init__

    def with_scale(self, config):  # type: ignore[no-untyped-def]
        init(self, config)
        self.register_buffer("scale", torch.tensor(55.4256), persistent=False)

    monkeypatch.setattr(Qwen2ForCausalLM, "__init__", with_scale)
    settings = ModelConfig(path=str(stored))
    for as_stored in (False, True):
        model = load_stage_model(stored, settings, trainable=True, as_stored=as_stored)
        assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("level", "cuts"), [("zero1", False), ("zero2", False), ("zero3", True), ("zero3_offload", True)]
)
def test_only_zero_3_cuts_weights(level, cuts):
    assert cuts_weights(ROOT / "deepspeed_configs" / f"{level}.json") == cuts
    assert not cuts_weights(None)
