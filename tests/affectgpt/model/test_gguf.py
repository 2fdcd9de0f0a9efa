"""Language models in GGUF files: named as any model, unpacked, asked, adapted, saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from affectgpt.inference.assistant import Assistant
from affectgpt.model import gguf as gguf_files
from affectgpt.model.assemble import assemble
from affectgpt.model.gguf import located
from affectgpt.model.loading import load_config, load_model, load_processor, model_folder, weight_files
from affectgpt.problems import InputError
from affectgpt.weights.export import export
from tests.support.gguf_models import smollm2, tiny_gguf
from tests.support.text_models import tiny_text_model
from train.config.model import LoraSettings
from train.model_setup import add_adapter

IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny_text_model("qwen2", tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def file(folder) -> Path:
    (folder.parent / "packed").mkdir()
    return tiny_gguf(folder, folder.parent / "packed" / "tiny.gguf")


def test_the_weights_are_those_that_were_written(folder, file):
    assert torch.equal(
        load_model(file, "float32", "eager")(IDS).logits, load_model(folder, "float32", "eager")(IDS).logits
    )


def test_packed_weights_are_unpacked_in_the_wanted_precision(folder, tmp_path):
    packed = load_model(tiny_gguf(folder, tmp_path / "q8.gguf", quantised=True), "bfloat16")
    assert {value.dtype for value in packed.parameters()} == {torch.bfloat16}
    close = load_model(tmp_path / "q8.gguf", "float32")(IDS).logits - load_model(folder, "float32")(IDS).logits
    assert 0 < close.abs().max() < 0.1


def test_a_folder_with_one_file_is_named_by_itself(file, tmp_path):
    assert located(file.parent) == located(file) == (str(file.parent), {"gguf_file": "tiny.gguf"})
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"expected one GGUF file, got a\.gguf, b\.gguf\. Name one"):
        load_model(tmp_path)


def test_a_folder_with_a_configuration_is_a_model_of_its_own(folder, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    assert located(tmp_path) == (str(tmp_path), {})


def test_a_file_of_the_hub_has_three_parts():
    assert located("owner/name/a.Q4_0.gguf") == ("owner/name", {"gguf_file": "a.Q4_0.gguf"})
    assert located("owner/name") == ("owner/name", {})


@pytest.mark.parametrize("name", ["gone.gguf", "./gone.gguf", "a/b/c/gone.gguf", "/nowhere/gone.gguf", "a/gone.gguf"])
def test_a_file_that_is_not_there_is_named(name):
    with pytest.raises(InputError, match=r"gone\.gguf: the file: expected a GGUF file, got nothing there"):
        load_model(name)


@pytest.mark.parametrize("content", [b"", b"GGU", b"PK\x03\x04", b"\x00" * 100, b"<html>"])
def test_a_file_of_another_kind_is_refused(content, tmp_path):
    (tmp_path / "model.gguf").write_bytes(content)
    with pytest.raises(InputError, match="expected a GGUF file, which begins with 'GGUF'"):
        load_model(tmp_path / "model.gguf")


@pytest.mark.parametrize("kept", [4, 8, 24, 100, 0.3, 0.5, 0.9, 0.99])
def test_a_file_that_is_cut_off_is_explained(file, tmp_path, kept):
    whole = file.read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    with pytest.raises(InputError, match=r"cut\.gguf: the model: expected files that transformers can load"):
        load_model(tmp_path / "cut.gguf", "float32")


def test_what_is_missing_is_named_with_the_line_that_installs_it(file, monkeypatch):
    monkeypatch.setattr(gguf_files, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install -c constraints\.txt -e '\.\[gguf\]'"):
        load_model(file)


def test_bits_are_for_models_that_are_not_packed_yet(file, monkeypatch):
    monkeypatch.setattr("affectgpt.model.loading.quantization", lambda bits, dtype: {})
    with pytest.raises(InputError, match=r"model\.lora\.bits: expected none with a GGUF file, got 4"):
        load_model(file, bits=4)


def test_it_is_asked_like_the_folder_that_it_was_made_of(folder, file):
    plain, packed = (Assistant.from_pretrained(source, "cpu", "float32") for source in (folder, file))
    assert packed.ask("What now?", max_new_tokens=8) == plain.ask("What now?", max_new_tokens=8)
    assert load_config(file).hidden_size == load_config(folder).hidden_size
    assert weight_files(file) == weight_files(file.parent) == [file]


def test_it_is_exported_as_a_folder_without_a_note_of_packing(file, tmp_path):
    export(file, tmp_path / "out", "float32", [])
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    saved = load_model(tmp_path / "out", "float32", "eager")
    assert torch.equal(saved(IDS).logits, load_model(file, "float32", "eager")(IDS).logits)
    assert load_processor(tmp_path / "out").chat_template == load_processor(file).chat_template


def test_an_adapter_finds_the_file_that_it_adapts(file, tmp_path):
    adapted = add_adapter(load_model(file, "float32"), LoraSettings(r=2))
    adapted.save_pretrained(tmp_path / "adapter")
    assert model_folder(tmp_path / "adapter") == str(file)
    assert torch.allclose(load_model(tmp_path / "adapter", "float32")(IDS).logits, adapted.eval()(IDS).logits)
    assert load_processor(tmp_path / "adapter").eos_token == "<|im_end|>"


def test_it_is_the_language_model_of_a_model_of_parts(file, tmp_path):
    assemble(tmp_path / "parts", str(file))
    model = load_model(tmp_path / "parts", "float32", "eager")
    assert torch.equal(model(IDS).logits, load_model(file, "float32", "eager")(IDS).logits)
    model.save_pretrained(tmp_path / "saved")


def test_smollm2_answers_in_words():
    said = Assistant.from_pretrained(smollm2(), "cpu", "float32").ask(
        "What is the capital of France?", max_new_tokens=12
    )
    assert "Paris" in said
