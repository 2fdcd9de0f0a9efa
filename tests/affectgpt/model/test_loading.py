"""What is loaded, in which precision, and what is said where it cannot be."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from transformers import BitsAndBytesConfig

from affectgpt.inference.assistant import Assistant
from affectgpt.model import loading
from affectgpt.model.loading import (
    load_model,
    load_processor,
    model_folder,
    quantization,
    require_model,
    resolve_attention,
    resolve_dtype,
)
from affectgpt.problems import InputError
from tests.support.text_models import KINDS, tiny_text_model
from train.config.model import LoraSettings
from train.model_setup import add_adapter


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


@pytest.fixture
def text_folder(tmp_path) -> Path:
    return tiny_text_model("qwen2", tmp_path / "text")


def change_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("kind", KINDS)
def test_a_language_model_is_loaded_as_any_other(kind, tmp_path):
    folder = tiny_text_model(kind, tmp_path)
    model = load_model(folder, "bfloat16", "eager")
    assert model.config.model_type == kind
    assert (model.dtype, model.config._attn_implementation) == (torch.bfloat16, "eager")
    assert load_processor(folder).eos_token == "<|im_end|>"


def test_a_model_that_writes_no_text_is_refused(tmp_path):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    hf.BertForMaskedLM(hf.BertConfig(vocab_size=9, **small)).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match=r"expected a causal language model, .* got bert \(BertForMaskedLM\)"):
        load_model(tmp_path / "bert")
    hf.ViTModel(hf.ViTConfig(image_size=8, patch_size=4, **small)).save_pretrained(tmp_path / "vit")
    with pytest.raises(InputError, match=r"got vit \(ViTModel\)"):
        load_model(tmp_path / "vit")


def test_a_reward_model_of_a_language_model_is_refused(text_folder):
    change_config(text_folder, architectures=["Qwen2ForSequenceClassification"])
    with pytest.raises(InputError, match=r"got qwen2 \(Qwen2ForSequenceClassification\)"):
        load_model(text_folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 64}, "ignore_mismatched_sizes"),
        ({"num_hidden_layers": 3}, "num_hidden_layers"),
        ({"model_type": "nonsense"}, "nonsense"),
    ],
)
def test_a_configuration_that_does_not_fit_is_explained(text_folder, change, message):
    change_config(text_folder, **change)
    with pytest.raises(InputError, match=f"the model: expected files that transformers can load, got .*{message}"):
        load_model(text_folder)


def test_weights_that_are_cut_off_are_explained(text_folder):
    weights = text_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="the model: expected files that transformers can load"):
        load_model(text_folder)


def test_weights_that_are_not_there_are_not_made_up(text_folder):
    weights = load_file(text_folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, text_folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"its weights: expected .* got all but 1, such as model\.norm\.weight"):
        load_model(text_folder)


def test_a_hub_id_that_cannot_be_reached_is_explained():
    for load in (load_model, load_processor):
        with pytest.raises(InputError, match=r"owner/no-such-model: .* expected files that transformers can load"):
            load("owner/no-such-model")


def test_a_folder_without_a_tokenizer_gets_no_empty_one(text_folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (text_folder / name).unlink()
    with pytest.raises(InputError, match=r"the tokenizer: expected the files of one, such as tokenizer\.json"):
        load_processor(text_folder)


def test_a_tokenizer_without_an_end_token_is_refused(tmp_path):
    folder = tiny_text_model("llama", tmp_path, eos_token=None)
    with pytest.raises(InputError, match=r"expected an end token \(eos_token\), got none"):
        load_processor(folder)


def write(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


def remove(*names: str):
    return lambda folder: [(folder / name).unlink() for name in names]


def index(content: bytes):
    def spoil(folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_bytes(content)

    return spoil


UNLOADABLE = {
    "no configuration": (remove("config.json"), "expected config.json of a model, found none"),
    "an empty configuration": (write("config.json", b""), "not a valid JSON file"),
    "a configuration that is cut off": (write("config.json", b'{"model_type": "qwe'), "not a valid JSON file"),
    "a configuration that is a list": (write("config.json", b"[]"), "Unrecognized model"),
    "a configuration that is nothing": (write("config.json", b"null"), "TypeError"),
    "a configuration of bytes": (write("config.json", b"\xff\xfe\x00"), "not a valid JSON file"),
    "no weights": (remove("model.safetensors"), "expected its weights"),
    "empty weights": (write("model.safetensors", b""), "header too small"),
    "weights that are text": (write("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n"), "header"),
    "weights of zeros": (write("model.safetensors", bytes(100)), "invalid JSON in header"),
    "an index that is cut off": (index(b"{"), "the index: expected JSON whose 'weight_map'"),
    "an index of nothing": (index(b"{}"), "the index: expected JSON whose 'weight_map'"),
    "an index of a list": (index(b'{"weight_map": []}'), "the index: expected JSON whose 'weight_map'"),
    "an index of files that are lost": (index(b'{"weight_map": {"a": "b.safetensors"}}'), "b.safetensors missing"),
}


@pytest.mark.parametrize("what", UNLOADABLE)
def test_a_folder_that_cannot_be_loaded_is_explained(what, text_folder):
    spoil, said = UNLOADABLE[what]
    spoil(text_folder)
    with pytest.raises(InputError) as caught:
        load_model(text_folder)
    assert said in str(caught.value)
    assert str(text_folder) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": "abc"},
        {"hidden_size": -4},
        {"num_attention_heads": 0},
        {"num_attention_heads": 3},
        {"hidden_act": "nope"},
        {"dtype": "float99"},
        {"rope_parameters": {"rope_type": "nope"}},
        {"quantization_config": 3},
        {"quantization_config": {"quant_method": "gptq", "bits": 4}},
        {"model_type": None},
        {"model_type": 5},
        {"architectures": [3]},
    ],
    ids=str,
)
def test_a_configuration_that_makes_no_sense_is_explained(change, text_folder):
    change_config(text_folder, **change)
    with pytest.raises(InputError, match="the model: expected files that transformers can load"):
        load_model(text_folder)


def test_errors_of_the_machine_are_no_errors_of_the_files(text_folder, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(loading, "load_causal", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        load_model(text_folder)


@pytest.mark.parametrize("path", ["a/b/c", "/nowhere/model", "./model"])
def test_a_path_at_which_nothing_is_goes_to_no_hub(path):
    with pytest.raises(InputError, match="expected a model folder, found nothing"):
        load_model(path)


@pytest.mark.parametrize("kind", ["gemma2", "mamba", "bloom"])
def test_a_model_without_sdpa_is_loaded_all_the_same(kind, tmp_path):
    small = {"vocab_size": 20, "hidden_size": 16, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "intermediate_size": 16}
    model = {
        "gemma2": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**small, **heads)),
        "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(**small, state_size=4)),
        "bloom": lambda: hf.BloomForCausalLM(hf.BloomConfig(vocab_size=20, hidden_size=16, n_layer=1, n_head=2)),
    }[kind]()
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path, "float32").config._attn_implementation == "eager"
    with pytest.raises(InputError, match="scaled_dot_product_attention"):
        load_model(tmp_path, "float32", "sdpa")


@pytest.fixture
def text_adapter(text_folder, tmp_path) -> Path:
    add_adapter(load_model(text_folder), LoraSettings(r=2)).save_pretrained(tmp_path / "words")
    return tmp_path / "words"


def change_adapter(folder: Path, **changes: object) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("/gone/base", "base_model_name_or_path: expected the adapted model, got nothing at /gone/base"),
        ("../gone", "base_model_name_or_path: expected the adapted model, got nothing at ../gone"),
        ("owner/gone", "It is the model that the adapter"),
        (None, "base_model_name_or_path: expected the adapted model, got None"),
        ("", "base_model_name_or_path: expected the adapted model, got ''"),
        (".", "expected the adapted model, got the adapter itself"),
    ],
)
def test_an_adapter_whose_model_is_not_there_says_so(text_adapter, base, said):
    change_adapter(text_adapter, base_model_name_or_path=base)
    with pytest.raises(InputError) as caught:
        load_model(text_adapter)
    assert said in str(caught.value)


ADAPTERS = {
    "settings that are cut off": (write("adapter_config.json", b"{"), "the file: expected JSON"),
    "settings of a list": (write("adapter_config.json", b"[]"), "peft_type: expected 'LORA', got []"),
    "no weights": (remove("adapter_model.safetensors"), "expected its weights, adapter_model.safetensors"),
    "weights that are text": (write("adapter_model.safetensors", b"abc"), "the adapter: expected files that"),
    "another rank": (lambda folder: change_adapter(folder, r=5), "size mismatch"),
    "a rank of words": (lambda folder: change_adapter(folder, r="x"), "the adapter: expected files that"),
    "modules that are not there": (lambda folder: change_adapter(folder, target_modules=["nope"]), "'nope'"),
}


@pytest.mark.parametrize("what", ADAPTERS)
def test_an_adapter_that_cannot_be_loaded_is_explained(what, text_adapter):
    spoil, said = ADAPTERS[what]
    spoil(text_adapter)
    with pytest.raises(InputError) as caught:
        load_model(text_adapter)
    assert said in str(caught.value)


def test_an_adapter_of_the_hub_is_loaded_like_a_folder(text_folder, text_adapter, tmp_path, monkeypatch):
    """Repositories as the Hub's client keeps them, found without a network."""
    commit = "0" * 40
    for name, source in (("adapter", text_adapter), ("base", text_folder)):
        repository = tmp_path / "hub" / f"models--owner--{name}"
        shutil.copytree(source, repository / "snapshots" / commit)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
    change_adapter(
        tmp_path / "hub" / "models--owner--adapter" / "snapshots" / commit, base_model_name_or_path="owner/base"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    ids = torch.tensor([[5, 6, 7]])
    there = load_model("owner/adapter", "float32")
    assert torch.equal(there(ids).logits, load_model(text_adapter, "float32")(ids).logits)
    assert there.peft_config["default"].base_model_name_or_path == "owner/base"
    assert model_folder("owner/adapter") == "owner/base"
    assert load_processor("owner/adapter").eos_token == "<|im_end|>"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for", "end of template"),
        ("{{ raise_exception('not this one') }}", "not this one"),
        ("{{ ''.__class__.__mro__ }}", "is unsafe"),
        ("{{ nothing.at.all }}", "undefined"),
        ("{{ messages[7].content }}", "no element 7"),
    ],
)
def test_a_chat_template_that_does_not_render_is_explained(template, said, tmp_path):
    folder = tiny_text_model("qwen2", tmp_path, chat_template=template)
    with pytest.raises(InputError, match=f"its chat template: expected one that renders .*{said}"):
        Assistant.from_pretrained(folder, "cpu").ask("What now?", max_new_tokens=2)
