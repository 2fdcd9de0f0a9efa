"""What is loaded, in which precision, and what is said where it cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import BitsAndBytesConfig

from affectgpt.model import loading
from affectgpt.model.loading import (
    load_model,
    model_folder,
    quantization,
    require_model,
    resolve_attention,
    resolve_dtype,
)
from affectgpt.problems import InputError
from train.config.sections import LoraSettings
from train.stages.run import add_adapter


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


def test_quantised_loading_is_nf4_or_8_bits(monkeypatch):
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(BitsAndBytesConfig, "post_init", lambda self: None)  # asks for the package
    eight, four = (quantization(bits, torch.bfloat16)["quantization_config"] for bits in (8, 4))
    assert (eight.load_in_8bit, eight.load_in_4bit) == (True, False)
    assert (four.load_in_8bit, four.load_in_4bit) == (False, True)
    assert (four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == ("nf4", True)
    assert four.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


def test_a_whole_folder_is_loaded(folder):
    require_model(folder)
    assert load_model(folder).config.model_type == "affectgpt"


def test_soft_tokens_keep_their_precision_beside_any_language_model(tiny):
    model = load_model(tiny.folder, "bfloat16", "eager")
    assert model.config.text_config._attn_implementation == "eager"
    kept = tiny.template.model.soft_tokens.state_dict()
    assert {value.dtype for value in model.model.language_model.parameters()} == {torch.bfloat16}
    for name, value in model.model.soft_tokens.state_dict().items():
        assert value.dtype == torch.float32, name
        assert torch.equal(value, kept[name]), name
    with torch.no_grad():
        logits = model(**tiny.batch([("What does this person feel?", "joy", tiny.features(0))]).inputs).logits
    assert logits.dtype == torch.bfloat16


@pytest.fixture
def adapter(tiny, tmp_path) -> Path:
    add_adapter(load_model(tiny.folder), LoraSettings(r=2)).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize("trainable", [True, False])
def test_an_adapter_is_loaded_on_its_model_as_it_is_asked_for(tiny, adapter, trainable):
    model = load_model(adapter, "bfloat16", "eager", trainable=trainable)
    assert model_folder(adapter) == tiny.folder
    base = model.get_base_model().model
    assert base.config.text_config._attn_implementation == "eager"
    assert base.language_model.embed_tokens.weight.dtype == torch.bfloat16
    learns = {value.requires_grad for name, value in model.named_parameters() if "lora_" in name}
    assert learns == {trainable}


def test_bits_reach_the_model_and_that_below_an_adapter(tiny, adapter, monkeypatch):
    asked = []
    monkeypatch.setattr(loading, "quantization", lambda bits, dtype: asked.append((bits, dtype)) or {})
    load_model(tiny.folder, "bfloat16", bits=4)
    load_model(adapter, "float32", bits=8)
    assert asked == [(4, torch.bfloat16), (8, torch.float32)]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"peft_type": "IA3"}, r"peft_type: expected 'LORA', got 'IA3'"),
        ({"megatron_config": {"a": 1}}, r"megatron_config: expected none, got one, which names a module to import"),
    ],
)
def test_adapters_of_another_kind_are_not_loaded(adapter, changes, told):
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InputError, match=told):
        load_model(adapter)


@pytest.mark.parametrize("name", ["../elsewhere.safetensors", "weights.bin"])
def test_an_index_names_weights_beside_it_alone(folder, name):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    (folder / "weights.bin").touch()
    (folder.parent / "elsewhere.safetensors").touch()
    with pytest.raises(InputError, match=r"weight_map: expected names of \.safetensors files beside it"):
        require_model(folder)


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
    with pytest.raises(InputError, match="expected a model folder, found nothing"):
        require_model(tmp_path / "nowhere")
    require_model("owner/name")  # left to the Hub
