"""Adapters, frozen parts and the order of rows, apart from any run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText

from affectgpt.clip import Clip
from affectgpt.problems import InputError
from tests.support.rows import make_clip
from tests.support.stages import make_context
from train.config.model import LoraSettings, ModelConfig
from train.model_setup import add_adapter, freeze, load_stage_model, without_adapter
from train.recipe import Recipe
from train.stages.arguments import common_arguments
from train.stages.order import stage_order


def stage(name: str, kind: str = "sft", **settings: object) -> dict[str, object]:
    fixed = {"name": name, "kind": kind, "steps": 5, "batch_size": 4, "learning_rate": 1e-3, "mixture": {"text": 1}}
    return fixed | {"generations": 2} | settings


def recipe(path: Path | str = "x", **settings: object) -> Recipe:
    stages = [stage("one"), stage("two", steps=3, mixture={"caption": 1}, learning_rate=2e-3), stage("rl", "grpo")]
    return Recipe(
        **({"output": "o", "data": {"train": "x"}, "model": {"path": str(path)}, "stages": stages} | settings)
    )


@pytest.fixture
def clips() -> list[Clip]:
    return [make_clip(str(row), task=("text", "caption")[row % 2]) for row in range(20)]


def test_an_adapter_touches_the_language_model_alone_and_reloads_equal(tiny, tmp_path):
    settings = ModelConfig(path=str(tiny.folder), lora=LoraSettings(r=2, dropout=0.0))
    model = load_stage_model(tiny.folder, settings, trainable=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapters = {name for name in trained if "lora_" in name}
    assert adapters
    assert all(".language_model." in name for name in adapters)
    assert {name.split(".")[-4] for name in adapters} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert trained - adapters
    assert all(".soft_tokens.modules_to_save." in name for name in trained - adapters)

    batch = tiny.batch([("joy?", "joy", tiny.features(1)), ("fear?", "fear", tiny.features(2, audio=False))])
    before = model(**batch.inputs).logits.detach()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch.inputs, labels=batch.labels).loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        expected = model(**batch.inputs).logits
        assert (expected - before).abs().max() > 1e-3
        model.save_pretrained(tmp_path)
        assert sum(file.stat().st_size for file in tmp_path.glob("*.safetensors")) < 200_000
        for trainable in (False, True):
            again = load_stage_model(tmp_path, settings, trainable=trainable).eval()
            torch.testing.assert_close(again(**batch.inputs).logits, expected, rtol=0, atol=1e-5)
            assert any(parameter.requires_grad for parameter in again.parameters()) == trainable
        # The model beneath is untouched.
        with model.disable_adapter():
            torch.testing.assert_close(model(**batch.inputs).logits, before, rtol=0, atol=1e-5)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["modules_to_save"] == ["soft_tokens"]


def test_an_adapter_is_as_the_recipe_says(tiny):
    model: Any = add_adapter(tiny.model(), LoraSettings(r=3, alpha=5, dropout=0.25, dora=True))
    made = model.peft_config["default"]
    assert (made.r, made.lora_alpha, made.lora_dropout, made.use_dora) == (3, 5, 0.25, True)


def test_a_model_is_loaded_in_the_precision_and_with_the_attention_of_the_recipe(tiny):
    """What is trained in full is float32 all the same."""

    def kinds(trainable: bool, **model: object) -> tuple[torch.dtype, torch.dtype, str]:
        given = recipe(model={"path": str(tiny.folder), "dtype": "bfloat16", "attention": "eager", **model})
        whole = without_adapter(load_stage_model(tiny.folder, given.model, trainable))
        layer = whole.model.language_model.layers[0]
        return layer.input_layernorm.weight.dtype, whole.config.dtype, layer.self_attn.config._attn_implementation

    half, full = torch.bfloat16, torch.float32
    assert kinds(trainable=False) == (half, half, "eager")
    assert kinds(trainable=True) == (full, full, "eager")
    assert kinds(trainable=True, lora={"r": 2}) == (half, half, "eager")


def test_encoders_of_a_video_model_are_never_trained(hub):
    given = recipe(model={"path": hub("qwen2_5_vl")})
    model = load_stage_model(Path(hub("qwen2_5_vl")), given.model, trainable=True)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert any("language_model" in name for name in trained)
    assert not any("visual" in name for name in trained)


@pytest.mark.parametrize(
    ("parts", "left"),
    [
        ((), {"soft_tokens", "language_model"}),
        (("language_model",), {"soft_tokens"}),
        (("soft_tokens",), {"language_model"}),
    ],
)
@pytest.mark.parametrize("lora", [False, True])
def test_frozen_parts(tiny, parts, left, lora):
    model = AutoModelForImageTextToText.from_pretrained(tiny.folder)
    if lora:
        model = add_adapter(model, LoraSettings())
    freeze(model, parts)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    found = {part for part in ("soft_tokens", "language_model", "lm_head") for name in trained if part in name}
    assert found == left


def test_without_a_curriculum_the_same_rows_are_shuffled(clips):
    plain, mixed = recipe(), recipe(curriculum=False)
    assert [item.name for item in plain.planned] == ["one", "two", "rl"]
    merged, last = mixed.planned
    assert (merged.name, merged.steps, merged.learning_rate, last.name) == ("shuffled", 8, 2e-3, "rl")
    apart = [row for item in plain.stages[:2] for row in stage_order(0, item, clips)]
    together = stage_order(0, merged, clips, mixed.merged)
    assert len(apart) == 32
    assert sorted(apart) == sorted(together)
    assert apart != together


def test_the_order_depends_on_the_seed_and_the_stage(clips):
    orders = [stage_order(seed, recipe().stages[0], clips) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    other = recipe().stages[0].model_copy(update={"name": "other"})
    assert stage_order(0, other, clips) != orders[0]
    assert {clips[row].task for row in orders[0]} == {"text"}
    assert len(stage_order(0, recipe().stages[2], clips)) == 5 * 4 // 2  # prompts


def test_a_batch_that_does_not_split_is_bad_input(tmp_path):
    context, first = make_context(tmp_path), recipe().stages[0]
    assert common_arguments(context, first, tmp_path, 2)["per_device_train_batch_size"] == 2
    with pytest.raises(InputError, match=r"Set stages.one.batch_size to 3 or 6; or"):
        common_arguments(context, first, tmp_path, 3)
    with pytest.raises(InputError, match="batch_size 4 does not split over 8 processes"):
        common_arguments(context, first, tmp_path, 8)


@pytest.mark.parametrize(
    ("settings", "processes", "sizes", "whole"),
    [
        ({"batch_size": 3}, 2, "2 or 4", "stages.one.batch_size=6 stages.one.steps=500"),
        ({"batch_size": 3}, 8, "8", "stages.one.batch_size=24 stages.one.steps=125"),
        ({"batch_size": 24}, 16, "16 or 32", "stages.one.batch_size=384 stages.one.steps=62"),
        ({"batch_size": 6, "accumulation": 2}, 2, "4 or 8", "stages.one.batch_size=12 stages.one.steps=500"),
        ({"kind": "grpo", "batch_size": 12, "generations": 4}, 8, "8 or 16", "stages.one.batch_size=96"),
        ({"kind": "grpo", "batch_size": 8, "generations": 8}, 3, "24", "stages.one.batch_size=24"),
    ],
)
def test_batches_that_would_split_are_named_and_do_split(settings, processes, sizes, whole):
    """AffectGPT's batch of 3 is of one GPU; on several it is 3 on each, or another that divides."""

    def given(**changes: object) -> Recipe:
        return recipe(stages=[stage("one", **{"steps": 1000} | settings | changes)])

    with pytest.raises(InputError) as caught:
        given().stages[0].rows_per_process(processes)
    message = str(caught.value)
    assert f"Set stages.one.batch_size to {sizes};" in message
    assert whole in message
    for size in [*map(int, sizes.split(" or ")), settings["batch_size"] * processes]:
        assert given(batch_size=size).stages[0].rows_per_process(processes) > 0
