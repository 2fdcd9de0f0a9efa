"""Other models through the same recipes: features made anew, packs, video models of the Hub, models made of parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from affectgpt.clip import read_clips
from affectgpt.model.loading import load_model
from tests.support.hub_models import tiny_hub_model
from tests.support.models import TEXTS
from train.monitor import Console
from train.prepare import prepare
from train.recipe_file import load_recipe
from train.tiny_model import train_tokenizer

KINDS = ("qwen2_5_vl", "qwen3_vl")


def parts(folder: Path) -> dict[str, Any]:
    """A tiny language model and towers as checkpoints; the settings of a model made of them."""
    torch.manual_seed(0)
    tokenizer = train_tokenizer(TEXTS, 320)
    lm = hf.Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    hf.Qwen2ForCausalLM(lm).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    vit = hf.Dinov2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2
    )
    hf.Dinov2Model(vit).save_pretrained(folder / "vision")
    ViTImageProcessorPil(size={"height": 28, "width": 28}).save_pretrained(folder / "vision")
    hubert = hf.HubertConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, conv_dim=(8, 8),
        conv_kernel=(10, 8), conv_stride=(5, 64), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    hf.HubertModel(hubert).save_pretrained(folder / "audio")
    hf.Wav2Vec2FeatureExtractor().save_pretrained(folder / "audio")
    return {
        "parts": {name: str(folder / name) for name in ("llm", "vision", "audio")},
        "pooling": "attention_paper",
        "fusion": "attention_paper",
        "prompt_style": "paper",
        "audio_layers": [-2, -1],
        "audio_sampling": "windows",
        "lora": {"r": 2, "dropout": 0.0},
    }


@pytest.fixture(scope="module")
def runs(once, train_in_turn, write_recipe, make_stage) -> dict[str, Path]:
    """Run folders by name; all of them trained in one process."""
    mixed = [make_stage("attribute", steps=4, mixture={"attribute_closed": 0.8, "text": 0.2})]
    packed = [make_stage("attribute", batch_size=2, mixture={"attribute_closed": 1.0}, packing=256,
                         modality_dropout=0.5)]  # fmt: skip

    def make(root: Path) -> None:
        calls = {}
        for name in ("stored", "online"):
            recipe = write_recipe(root / name, mixed)
            calls[name] = [recipe, f"data.features={name}"]
        calls["packed"] = [write_recipe(root / "packed", packed)]
        both = [make_stage("tree", steps=2), make_stage("rl", "grpo", steps=1)]
        calls["parts"] = [write_recipe(root / "parts", both, model=parts(root / "checkpoints"))]
        for kind in KINDS:
            path = str(tiny_hub_model(kind, root / "checkpoints" / kind))
            model = {"path": path, "num_frames": 4, "max_pixels": 1024}
            lora = {"lora": {"r": 2, "dropout": 0.0}} if kind == "qwen3_vl" else {}
            calls[kind] = [write_recipe(root / kind, both, model=model | lora)]
        for done in train_in_turn(*calls.values()):
            assert done.code == 0, done.err
            assert "Traceback" not in done.err

    root = once("models", make)
    return {name: root / name / "run" for name in ("stored", "online", "packed", "parts", *KINDS)}


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_stored_and_online_features_train_to_the_same_losses(runs):
    stored, online = ([row["loss"] for row in log(runs[name])] for name in ("stored", "online"))
    assert len(stored) == 4
    assert stored == online
    assert (runs["stored"].parent / "cache" / "features").is_dir()
    assert not (runs["online"].parent / "cache" / "features").exists()


def test_packs_are_nearly_full(runs):
    shares = [row["useful_tokens"] for row in log(runs["packed"])]
    assert len(shares) == 3
    assert min(shares) > 0.85


@pytest.mark.parametrize("name", [*KINDS, "parts"])
def test_other_models_train_generate_and_load_again(runs, name):
    rows = log(runs[name])
    assert [(row["stage"], row["step"]) for row in rows] == [("tree", 1), ("tree", 2), ("rl", 1)]
    assert all(abs(row["loss"]) < 20 for row in rows)
    report = json.loads((runs[name] / "report.json").read_text())
    assert [entry["name"] for entry in report["stages"]] == ["tree", "rl"]
    said = (runs[name] / "predictions" / "rl-test.jsonl").read_text().splitlines()
    assert len(said) > 6
    # A checkpoint gives the same logits however often it is loaded, to rows that are read anew.
    recipe = load_recipe(runs[name] / "recipe.yaml")
    prepared = prepare(recipe, Console({}, quiet=True))
    clips = [clip for clip in read_clips(recipe.data.test) if clip.task == "tree"][:2]
    from affectgpt.inputs.batch import supervised_batch

    batch = supervised_batch(prepared.reader.read(clips), prepared.reader.tokenizer.pad_token_id)
    with torch.no_grad():
        one, two = (load_model(runs[name] / "checkpoints" / "rl")(**batch).logits for _ in range(2))
    assert torch.isfinite(one).all()
    torch.testing.assert_close(one, two)
    adapted = (runs[name] / "checkpoints" / "rl" / "adapter_config.json").is_file()
    assert adapted == (recipe.model.lora is not None)
