"""What is loaded, in which precision, and what is said where it cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from affectgpt.model import loading
from affectgpt.model.loading import load_model, quantization, require_model, resolve_attention, resolve_dtype
from affectgpt.problems import InputError


def test_auto_is_what_the_machine_can_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_dtype("auto") == torch.float32
    assert resolve_attention("auto", torch.float32) == "sdpa"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    assert resolve_dtype("auto") == torch.bfloat16
    assert resolve_dtype("float16") == torch.float16
    for installed, capability, dtype, expected in [
        (True, (9, 0), torch.bfloat16, "flash_attention_2"),
        (False, (9, 0), torch.bfloat16, "sdpa"),
        (True, (7, 5), torch.bfloat16, "sdpa"),
        (True, (9, 0), torch.float32, "sdpa"),
    ]:
        monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name, found=installed: found or None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda value=capability: value)
        assert resolve_attention("auto", dtype) == expected
    assert resolve_attention("eager", torch.bfloat16) == "eager"


def test_quantised_loading_says_what_it_needs(monkeypatch):
    assert quantization(None, torch.bfloat16) == {}
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"model\.lora\.bits: 4 needs bitsandbytes .* pip install bitsandbytes"):
        quantization(4, torch.bfloat16)


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


def test_a_whole_folder_is_loaded(folder):
    require_model(folder)
    assert load_model(folder).config.model_type == "affectgpt"


def test_soft_tokens_keep_their_precision_beside_any_language_model(tiny):
    model = load_model(tiny.folder, "bfloat16")
    kept = tiny.template.model.soft_tokens.state_dict()
    assert {value.dtype for value in model.model.language_model.parameters()} == {torch.bfloat16}
    for name, value in model.model.soft_tokens.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, kept[name]), name


def test_a_folder_without_weights_says_what_is_there(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"expected its weights \(model\.safetensors, .* found .*config\.json"):
        load_model(folder)


def test_a_folder_without_a_configuration(folder):
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"expected config\.json .* RUN/checkpoints/STAGE"):
        load_model(folder)


def test_shards_that_are_missing_are_named(folder):
    names = {f"w{index}": f"model-{index:05}-of-00003.safetensors" for index in (1, 2, 3)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / names["w2"]).write_bytes(b"")
    with pytest.raises(
        InputError, match=r"model-00001-of-00003\.safetensors, model-00003-of-00003\.safetensors missing"
    ):
        require_model(folder)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(InputError, match="expected a model folder, there is nothing"):
        require_model(tmp_path / "nowhere")
    require_model("owner/name")  # left to the Hub
