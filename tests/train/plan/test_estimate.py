"""The plan: counts as training has them, memory as a real small model needs it, and what it says where nothing fits."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM, Qwen2Config, Qwen2ForCausalLM

from affectgpt.problems import InputError
from data_recipes.synthetic.towers import WEIGHTS
from tests.support.rows import make_clip
from train.config.model import LoraSettings, ModelConfig
from train.model_setup import add_adapter, freeze, freeze_encoders, without_adapter
from train.plan.command import main
from train.plan.estimate import Machine, build_model, config_of, count_parameters, make_plan, split_batches, training_of
from train.plan.memory import (
    BUCKET,
    GB,
    STRATEGIES,
    Batch,
    Decoder,
    Training,
    Weights,
    host_memory,
    layer_bytes,
    memory_of,
    states,
)
from train.recipe import Recipe
from train.recipe_file import load_recipe
from train.tiny_model import build_tiny

LLM = {
    "model_type": "qwen2",
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "tie_word_embeddings": False,
}


def stage(name: str = "one", kind: str = "sft", **settings: object) -> dict:
    fixed = {"name": name, "kind": kind, "steps": 5, "batch_size": 16, "learning_rate": 1e-3, "mixture": {"text": 1}}
    return fixed | {"generations": 2} | settings


def recipe(*stages: dict, model: dict | None = None, **settings: object) -> Recipe:
    model = model or {"parts": {"llm": "llm", "configs": {"llm": LLM}}}
    given = {"output": "o", "data": {"train": "x"}, "model": model, "stages": list(stages) or [stage()]}
    return Recipe(**(given | settings))  # type: ignore[arg-type]


def job(trained: int = 0, frozen: int = 0, lora: LoraSettings | None = None, **settings: object) -> Training:
    decoder = Decoder.of(Qwen2Config(**LLM))
    weights = Weights(trained, frozen, 4.0 * frozen)
    fixed = {"in_full": lora is None, "trained_head": 0, "cast": 0, "checkpointing": False, "eager": False}
    return Training(decoder, weights, lora, **(fixed | {"reference": False} | settings))  # type: ignore[arg-type]


def test_affectgpt_as_published():
    settings = load_recipe("affectgpt_7b")
    model = build_model(config_of(settings.model), settings.model, settings.stages[0])
    parts = count_parameters(model)["parts"]
    assert parts["lora"] == {"total": 40_370_176, "trained": 40_370_176}
    assert parts["soft_tokens"] == {"total": 14_042_372, "trained": 14_042_372}
    assert parts["language_model"]["total"] + parts["head"]["total"] == 7_615_616_512  # Qwen2.5-7B
    assert parts["language_model"]["trained"] == parts["head"]["trained"] == 0
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    soft = without_adapter(model).model.soft_tokens.modules_to_save["default"]
    counted = {
        name: sum(parameter.numel() for parameter in soft.get_submodule(name).parameters())
        for name in (
            *("pool.visual", "pool.audio", "project.visual", "project.audio", "project.multi"),
            *("fuse.project_video", "fuse.project_audio", "fuse.mix", "fuse.weigh"),
        )
    }
    assert list(counted.values()) == [
        *(769, 1_025, 2_756_096, 3_673_600, 3_673_600),
        *(787_456, 1_049_600, 2_098_176, 2_050),
    ]


@pytest.mark.parametrize("lora", [None, {"r": 2}, {"r": 2, "dora": True}])
@pytest.mark.parametrize("parts", [(), ("language_model",), ("soft_tokens",)])
def test_counts_are_those_of_a_real_model(tiny, lora, parts):
    settings = ModelConfig(path=str(tiny.folder), lora=lora)  # type: ignore[arg-type]
    planned = recipe(stage(freeze=parts)).stages[0]
    meta = build_model(config_of(settings), settings, planned)
    real = AutoModelForMultimodalLM.from_pretrained(tiny.folder)
    real = add_adapter(real, settings.lora) if settings.lora else real
    freeze_encoders(real)
    freeze(real, parts)
    assert count_parameters(meta) == count_parameters(real)
    assert [(name, p.shape, p.requires_grad) for name, p in meta.named_parameters()] == [
        (name, p.shape, p.requires_grad) for name, p in real.named_parameters()
    ]


@pytest.mark.parametrize("lora", [None, {"r": 2}])
def test_states_are_those_of_a_real_step(tiny, lora):
    settings = ModelConfig(path=str(tiny.folder), lora=lora, dtype="bfloat16")  # type: ignore[arg-type]
    model = AutoModelForMultimodalLM.from_pretrained(tiny.folder, dtype="bfloat16" if lora else "float32")
    model = add_adapter(model, settings.lora) if settings.lora else model
    freeze_encoders(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    batch = tiny.batch([("joy?", "joy", tiny.features(1))])
    model(**batch.inputs, labels=batch.labels).loss.backward()
    optimizer.step()

    def size(tensors):
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    found = states(training_of(model, settings, recipe().stages[0]), STRATEGIES[0], processes=1)
    # Of an adapted model, the untrained original of what is trained in full is kept in float32 too.
    originals = sum(p.numel() for name, p in model.named_parameters() if "original_module" in name)
    assert size(model.parameters()) == found["weights"] + 2 * originals
    # Queries' and keys' weights that no gradient reaches are none here: every trained parameter has one.
    assert size(p.grad for p in model.parameters() if p.grad is not None) == found["gradients"]
    moments = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    assert size(moments) == found["optimiser"]


@pytest.mark.parametrize("mode", ["bf16", "autocast", "lora", "lora without dropout", "lora and DeepSpeed"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_what_autograd_keeps(mode, checkpointing):
    rows, length = 2, 200
    autocast = mode in ("autocast", "lora", "lora without dropout")
    lora = LoraSettings(r=8, dropout=0.5 if mode == "lora" else 0.0) if "lora" in mode else None
    model = AutoModelForCausalLM.from_config(
        Qwen2Config(**LLM), dtype=torch.float32 if mode == "autocast" else torch.bfloat16
    )
    if lora is not None:
        model = add_adapter(model, lora)
        if not autocast:
            model.to(torch.bfloat16)
        model.enable_input_require_grads()
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable()
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    shapes = {tuple(parameter.shape) for parameter in model.parameters()}
    shapes |= {shape[::-1] for shape in shapes}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own and tuple(tensor.shape) not in shapes:  # autocast's copies of weights aside
            kept[storage.data_ptr()] = tensor
        return tensor

    ids = torch.randint(0, 512, (rows, length))
    context = torch.autocast("cpu", torch.bfloat16) if autocast else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), context:
        without_adapter(model)(input_ids=ids, use_cache=False)
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())

    planned = job(lora=lora, checkpointing=checkpointing)
    expected = memory_of(planned, Batch(rows, length), STRATEGIES[0 if autocast else 2], 1)["activations"]
    if checkpointing:  # the layer that is whole comes later
        expected -= rows * length * layer_bytes(planned, autocast, length)
    if mode == "lora":  # dropout on a CPU keeps a mask of 4 bytes instead of 1
        found -= 0 if checkpointing else 3 * rows * length * LLM["num_hidden_layers"] * (6 * 256 + 704)
    assert expected == pytest.approx(found, rel=0.05)


def test_zero_splits_what_it_says():
    trained, frozen, processes = 7 * 10**9, 10**9, 8
    found = {item.title: states(job(trained, frozen), item, processes) for item in STRATEGIES}
    titles = [item.title for item in STRATEGIES]
    whole = 2 * (trained + frozen)
    assert [found[title]["weights"] for title in titles] == [2 * whole, whole, whole, 2 * GB + whole / 8, 2 * GB]
    assert [found[title]["gradients"] / trained for title in titles] == [4, 2, 2 / 8, 2 / 8, 0]
    assert [found[title]["optimiser"] / trained for title in titles] == [8, 12 / 8, 12 / 8, 12 / 8, 0]
    # Every process loads all; what is offloaded stays: 18 bytes a trained parameter, spread over the nodes.
    assert host_memory(job(trained, frozen), STRATEGIES[0], 16, 8) == 8 * 4 * (trained + frozen)
    assert host_memory(job(trained, frozen), STRATEGIES[2], 16, 8) == 8 * 4 * (trained + frozen)
    assert host_memory(job(trained, frozen), STRATEGIES[3], 16, 8) == 4 * (trained + frozen)
    assert host_memory(job(trained), STRATEGIES[4], 1, 1) == 18 * trained
    assert host_memory(job(trained), STRATEGIES[4], 2, 1) == 9 * trained
    assert host_memory(job(trained), STRATEGIES[4], 2, 2) == 18 * trained


def test_buckets_are_those_of_the_shipped_configurations(request):
    for strategy in STRATEGIES[1:]:
        zero = json.loads((request.config.rootpath / str(strategy.config)).read_text())["zero_optimization"]
        assert zero["stage"] == strategy.zero
        assert zero["reduce_bucket_size"] == (BUCKET if strategy.zero < 3 else "auto")
        assert ("offload_param" in zero) == ("offload_optimizer" in zero) == strategy.offload


def test_a_reference_is_what_grpo_copies():
    lora = LoraSettings()
    for trained, adapter, whole in ((10, None, True), (10, lora, False)):
        plain, zero2, zero3 = (
            states(job(trained, 90, adapter, reference=True), item, 2)["reference"] for item in STRATEGIES[:5:2][:3]
        )
        size = 100 if whole else 10
        assert (plain, zero2, zero3) == (4 * size, 2 * size, 0)
    assert states(job(10, 90), STRATEGIES[0], 2)["reference"] == 0


def test_a_rollout_holds_all_its_completions():
    shape = SimpleNamespace(layers=2, keys=64, inner=704, width=256)
    one = memory_of(job(), Batch(1, 100, 50, rollouts=8), STRATEGIES[0], 1)["rollout"]
    assert one == 4 * shape.layers * shape.keys * 8 * 150 + 8 * 100 * (6 * shape.inner + 12 * shape.width)
    plan = make_plan(recipe(stage(kind="grpo", accumulation=4, max_new_tokens=50)), Machine(2), 100)
    found = plan["stages"][0]
    assert (found["rows_per_process"], found["tokens_per_row"], found["tokens_per_step"]) == (2, 150, 2400)
    assert found["options"][0]["memory_mb"]["rollout"] == pytest.approx(one / 1e6, abs=0.1)


def test_what_fits_leaves_a_tenth_of_the_gpu_alone():
    given = recipe()
    peak = make_plan(given, Machine())["stages"][0]["options"][0]["memory_mb"]["peak"] * 1e6
    fits = [
        make_plan(given, Machine(gpu_bytes=peak / share))["stages"][0]["options"][0]["fits"] for share in (0.95, 0.89)
    ]
    assert fits == [False, True]


def test_nodes_count_as_their_gpus_and_hold_what_their_own_processes_load():
    one, two = (make_plan(recipe(), Machine(2, nodes))["stages"][0] for nodes in (1, 2))
    assert (one["rows_per_process"], two["rows_per_process"]) == (8, 4)
    for whole, half in zip(one["options"], two["options"], strict=True):
        shared = 1 if half["deepspeed"] is None else 2
        assert whole["memory_mb"]["optimiser"] == pytest.approx(shared * half["memory_mb"]["optimiser"], abs=0.2)
        offloads = "CPU" in whole["strategy"]
        assert whole["host_mb"] == pytest.approx((2 if offloads else 1) * half["host_mb"], abs=0.2)


def test_tokens_of_a_row():
    def tokens(*arguments: object, **settings: object) -> int:
        return make_plan(recipe(stage(**settings)), Machine(), *arguments)["stages"][0]["tokens_per_row"]  # type: ignore[arg-type]

    assert (tokens(), tokens(packing=512), tokens(64)) == (256, 512, 64)
    affectgpt, videmo = load_recipe("affectgpt_7b"), load_recipe("videmo_7b")
    assert make_plan(affectgpt, Machine())["stages"][0]["tokens_per_row"] == 256 + 3
    assert make_plan(videmo, Machine())["stages"][0]["tokens_per_row"] == 256 + 8 * 128
    deaf = load_recipe("affectgpt_7b", ["model.inputs=[video, text]"])
    assert make_plan(deaf, Machine())["stages"][0]["tokens_per_row"] == 256 + 1


def test_a_language_model_of_text_alone_has_no_tokens_of_media():
    plan = make_plan(recipe(model={"path": "x", "config": LLM}), Machine())["stages"][0]
    assert plan["tokens_per_row"] == 256
    real = Qwen2ForCausalLM(Qwen2Config(**LLM))
    assert plan["parameters"]["total"] == sum(parameter.numel() for parameter in real.parameters())


def test_every_batch_that_does_not_split_is_named():
    given = recipe(stage("one", batch_size=4), stage("two", batch_size=16), stage("three", batch_size=6))
    with pytest.raises(InputError) as caught:
        split_batches(given.stages, 8)
    assert [str(problem).split(":")[0] for problem in caught.value.problems] == ["stage 'one'", "stage 'three'"]
    assert "does not split over 8 processes x 1 accumulation steps" in str(caught.value)
    assert split_batches(recipe(stage(accumulation=2)).stages, 4) == [2]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"path": "nobody/nothing"}, r"model\.config.*hf download nobody/nothing config\.json"),
        ({"parts": {"llm": "nobody/nothing"}}, r"model\.parts\.configs\.llm"),
        ({"path": "x", "config": {"model_type": "qwen2_5_v"}}, r"model\.config\.model_type.*Did you mean 'qwen2_5_vl'"),
        ({"path": "x", "config": {"model_type": "gemma3"}}, "--tokens-per-row"),
    ],
)
def test_what_cannot_be_planned(model, words):
    with pytest.raises(InputError, match=words):
        make_plan(recipe(model=model), Machine())


def test_the_embedded_default_can_be_planned(tmp_path):
    settings = ModelConfig(tiny={"hidden_size": 64, "num_layers": 2})  # type: ignore[arg-type]
    plan = make_plan(recipe(model={"tiny": {"hidden_size": 64, "num_layers": 2}}), Machine())
    rows = [make_clip("a", "joy"), make_clip("b", "fear")]
    torch.manual_seed(0)
    build_tiny(settings, rows, WEIGHTS, 0, tmp_path / "draft", tmp_path / "base")
    real = AutoModelForMultimodalLM.from_pretrained(tmp_path / "draft")
    counted = plan["stages"][0]["parameters"]
    spared = (1024 - real.config.text_config.vocab_size) * 64
    assert counted["total"] == sum(parameter.numel() for parameter in real.parameters()) + spared
    assert plan["stages"][0]["options"][0]["fits"]
    assert all(plan["towers"]["parameters"].values())


def test_towers_count_where_features_are_made_online(tiny):
    model = {"path": str(tiny.folder)}
    stored, online = (
        make_plan(recipe(model=model, data={"train": "x", "features": kind}), Machine())
        for kind in ("stored", "online")
    )
    assert stored["towers"]["parameters"] == online["towers"]["parameters"]
    assert (stored["towers"]["loaded"], online["towers"]["loaded"]) == (False, True)
    total = sum(stored["towers"]["parameters"].values())
    assert total == sum(p.numel() for tower in tiny.towers().values() for p in tower.parameters())
    assert stored["stages"][0]["options"][0]["memory_mb"]["towers"] == 0
    assert online["stages"][0]["options"][0]["memory_mb"]["towers"] == round(4 * total / 1e6, 1)


def advice(machine: Machine, *overrides: str, name: str = "videmo_7b", number: int = 0) -> str:
    return make_plan(load_recipe(name, overrides), machine)["stages"][number]["advice"]


def test_advice():
    eight = Machine(8)
    assert "ZeRO-1 fits: deepspeed=deepspeed_configs/zero1.json" in advice(eight)
    assert "most of it for optimiser" in advice(eight)
    assert advice(eight, "deepspeed=elsewhere/zero2.json") == "fits as it stands (ZeRO-2)"
    long = advice(eight, "stages.attribute.gradient_checkpointing=false", "stages.attribute.accumulation=2")
    assert "does not fit on this machine" in long
    assert "most of it for activations; stages.attribute.gradient_checkpointing=true" in long
    assert "stages.attribute.accumulation=4" in advice(eight, "stages.attribute.accumulation=2")
    small = Machine(1, gpu_bytes=4 * GB)
    assert "most of it for logits; shorter rows" in advice(small, "stages.attribute.accumulation=1024")
    rollouts = advice(Machine(1), "stages.grpo.beta=0", "deepspeed=zero3_offload.json", number=3)
    assert "most of it for rollout" in rollouts
    assert "stages.grpo.batch_size=512, or more GPUs" in rollouts


def test_the_command(capsys):
    arguments = ["videmo_3b", "--gpus", "8", "seed=1", "--json"]
    assert main(arguments) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in printed["stages"]] == ["attribute", "expression", "emotion", "grpo"]
    assert main(arguments[:-1]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "3,085,938,688 of  3,754,622,976" not in text  # the vision tower is no part of the language model
    assert "3,085,938,688 of 3,754,622,976 parameters are trained" in text
    assert max(len(line) for line in text.splitlines() if line.startswith("  GB on a GPU")) < 80
    assert text.count("GB on a GPU") == 2  # three stages alike, and GRPO
    for wrong in (["videmo_3b", "--gpus", "0"], ["videmo_3b", "--gpu-memory", "-1"]):
        with pytest.raises(SystemExit) as caught:
            main(wrong)
        assert caught.value.code == 2
