"""GRPO with media: scored and weighed as a plain model would, on the parts of TRL that are its own affair."""

from __future__ import annotations

import inspect
import json
import math
import shutil
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText
from trl import GRPOTrainer
from trl.trainer.utils import nanstd

from affectgpt.clip import Clip
from affectgpt.inputs.reader import ClipReader
from tests.support.tiny_rows import tiny_rows
from train.config.sections import LoraSettings, Recipe, StageConfig
from train.stages import grpo_trainer as grpo
from train.stages.grpo import run_grpo
from train.stages.rollout import are_equal, split_groups, to_exchange
from train.stages.run import add_adapter, load_stage_model
from videmo.rewards import REWARDS

INTERNALS = {
    "_prepare_inputs": ["generation_batch"],
    "_generate_and_score_completions": ["inputs"],
    "_generate": ["prompts"],
    "_tokenize_prompts": ["prompts"],
    "_generate_single_turn": ["prompt_ids", "images", "multimodal_fields", "num_generations"],
    "_calculate_rewards": ["inputs", "prompts", "completions", "completion_ids_list"],
    "_get_per_token_logps_and_entropies": ["model", "input_ids", "attention_mask", "logits_to_keep", "batch_size"],
    "_compute_loss": ["model", "inputs"],
}


@pytest.mark.parametrize("name", INTERNALS)
def test_trl_still_has_what_is_overridden(name):
    method = getattr(GRPOTrainer, name, None)
    assert method is not None, f"TRL's GRPOTrainer has no {name} any more: MediaGRPOTrainer must find another place"
    found = [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]
    assert found[: len(INTERNALS[name])] == INTERNALS[name], f"{name} of TRL's GRPOTrainer takes {found} now"
    assert name in vars(grpo.MediaGRPOTrainer)


def test_trl_uses_what_the_overrides_rely_on():
    source = inspect.getsource(GRPOTrainer)
    for word in ("self.eos_token_ids", "self.generation_config", "self._buffered_inputs[", "fused_lm_head=True"):
        assert word in source, f"TRL's GRPOTrainer does not use {word} any more"


@pytest.fixture
def rows(tiny) -> tuple[list[Clip], ClipReader]:
    """Four prompts of unequal length: both modalities, one, none."""
    return tiny_rows(tiny)


@pytest.fixture
def train(tiny, rows, tmp_path, monkeypatch) -> Callable[..., grpo.MediaGRPOTrainer]:
    """`train(reward, model=None, order=None, **stage settings)` runs a stage and returns its trainer."""
    clips, reader = rows

    def run(
        reward: Any,
        model: Any = None,
        order: list[int] | None = None,
        output: str = "",
        world_size: int = 1,
        **settings: Any,
    ) -> grpo.MediaGRPOTrainer:
        monkeypatch.setitem(REWARDS, "label", reward)
        defaults = {"steps": 1, "batch_size": 8, "generations": 4, "learning_rate": 1e-3, "max_new_tokens": 6}
        fixed = {"name": "rl", "kind": "grpo", "mixture": {"tree": 1.0}, "rewards": {"label": 1.0}}
        stage = StageConfig(**(fixed | defaults | {"log_steps": 1, "warmup_ratio": 0.0} | settings))
        recipe = Recipe(
            output=tmp_path / output, data={"train": "x"}, model={"path": str(tiny.folder)}, stages=(stage,)
        )
        model = model or AutoModelForImageTextToText.from_pretrained(tiny.folder)
        prompts = stage.steps * stage.batch_size // stage.generations
        order = order or [index % len(clips) for index in range(prompts)]
        torch.manual_seed(0)
        recipe.output.mkdir(exist_ok=True)
        return run_grpo(recipe, stage, model, clips, order, reader, recipe.output / "steps", [], world_size)

    return run


def dull(completions: list[str], id: list[str], **_: Any) -> list[float]:
    """The same for every completion of two of the rows."""
    return [0.5 if name in ("row0", "row1") else value for name, value in zip(id, letters(completions), strict=True)]


def letters(completions: list[str], **_: Any) -> list[float]:
    """Share of small letters: easy to learn, different between samples."""
    return [sum("a" <= letter <= "z" for letter in text) / max(1, len(text)) for text in completions]


def logged(trainer: grpo.MediaGRPOTrainer, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def rollouts(trainer: grpo.MediaGRPOTrainer, rows: list[int]) -> dict[str, Any]:
    inputs = [{"prompt": trainer.clips[row].prompt, "row": row} for row in rows for _ in range(4)]
    return trainer._generate_and_score_completions(inputs)


def plain_scores(trainer: grpo.MediaGRPOTrainer, model: Any, tiny: Any, rows: list[int], output: dict) -> list:
    """Log-probabilities of each completion, one prompt at a time, without padding, TRL or a cache."""
    scores = []
    for index, row in enumerate(row for row in rows for _ in range(4)):
        [read] = trainer.reader.read([trainer.clips[row]])
        said = output["completion_ids"][index][output["completion_mask"][index].bool()]
        prompt = torch.tensor(read.prompt_ids)
        ids = torch.cat([prompt, said])[None]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), **read.inputs).logits[0]
        scores.append(logits[len(prompt) - 1 : -1].log_softmax(-1).gather(-1, said[:, None])[:, 0])
    return scores


def test_scores_loss_and_gradient_are_those_of_a_plain_model(tiny, rows, train):
    trainer = train(letters, loss_type="grpo")
    model = trainer.model
    output = rollouts(trainer, [0, 1, 2, 3])
    assert output["completion_mask"].any(dim=1).all()
    keep = output["completion_ids"].shape[1]
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    assert output["row"].tolist() == [row for row in range(4) for _ in range(4)]
    expected = plain_scores(trainer, model, tiny, [0, 1, 2, 3], output)

    trainer._take_rows(output["row"].tolist())
    for size, shares in ((None, True), (3, True), (None, False), (3, False)):  # also in chunks that do not divide
        trainer.shares_prompts = shares
        found, entropy, _ = trainer._get_per_token_logps_and_entropies(
            model, ids, mask, keep, batch_size=size, compute_entropy=True
        )
        assert found.shape == entropy.shape == output["completion_ids"].shape
        for index, alone in enumerate(expected):
            seen = output["completion_mask"][index].bool()
            torch.testing.assert_close(found[index][seen], alone, rtol=0, atol=1e-5)

    # Whether they may be shared is found out, not assumed.
    trainer.shares_prompts = None
    trainer._get_per_token_logps_and_entropies(model, ids, mask, keep)
    assert trainer.shares_prompts
    # At the first step the ratio is 1: the loss is minus the advantages, its gradient that of REINFORCE.
    advantages = output["advantages"]
    assert advantages.abs().max() > 0.1
    model.train()
    loss = trainer._compute_loss(model, dict(output))
    torch.testing.assert_close(loss, -advantages.mean(), rtol=0, atol=1e-5)
    weights = [model.model.soft_tokens.project["multi"].weight, model.get_input_embeddings().weight]
    found_gradients = torch.autograd.grad(loss, weights)
    reinforce = -sum(a * alone.mean() for a, alone in zip(advantages, expected, strict=True)) / len(advantages)
    for one, two in zip(found_gradients, torch.autograd.grad(reinforce, weights), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_features_stay_with_their_rows_when_trl_shuffles_and_accumulates(tiny, rows, train, monkeypatch):
    seen = []
    original = grpo.MediaGRPOTrainer._compute_loss

    def watch(self: Any, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = original(self, model, inputs)
        for prompt, number in zip(inputs["prompt_ids"], self.numbers, strict=True):
            text = tiny.processor.tokenizer.decode(prompt)
            row = next(index for index, clip in enumerate(self.clips) if clip.prompt[0]["content"] in text)
            seen.append(self.read[number].id == f"row{row}" and number == row)
        return loss

    monkeypatch.setattr(grpo.MediaGRPOTrainer, "_compute_loss", watch)
    train(letters, batch_size=16, accumulation=2)
    assert seen == [True] * 16


def test_micro_batches_hold_whole_groups():
    torch.manual_seed(0)
    rollouts = {"completion_ids": torch.arange(24).view(12, 2), "row": torch.arange(12) // 3, "n": torch.tensor(5)}
    parts = split_groups(rollouts, 3, 2)
    assert [len(part["row"]) for part in parts] == [6, 6]
    assert sorted(int(row) for part in parts for row in part["row"]) == sorted(rollouts["row"].tolist())
    for part in parts:
        assert part["n"] == 5
        assert part["row"].view(2, 3).eq(part["row"].view(2, 3)[:, :1]).all()
        assert (part["completion_ids"][:, 0] // 6).equal(part["row"])


def test_a_model_that_cannot_share_says_so_once(train, capsys, monkeypatch):
    monkeypatch.setattr(grpo.MediaGRPOTrainer, "_score_groups", lambda *_: (torch.full((4, 6), -3.0), None))
    trainer = train(letters, steps=2)
    assert trainer.shares_prompts is False
    said = capsys.readouterr().err
    assert said.count("prompts are read with every rollout: shared, log-probabilities differ by") == 1


def test_gradient_checkpointing_shares_prompts_too(train, tmp_path):
    losses = []
    for checkpointing in (False, True):
        shutil.rmtree(tmp_path / "steps", ignore_errors=True)
        trainer = train(letters, steps=2, gradient_checkpointing=checkpointing, beta=0.1)
        assert trainer.shares_prompts
        losses.append((logged(trainer, "grad_norm"), logged(trainer, "reward")))
    assert losses[1][1] == losses[0][1]
    assert losses[1][0] == pytest.approx(losses[0][0], rel=1e-3)


def test_the_reference_is_the_model_that_the_stage_starts_from(train):
    trainer = train(letters, beta=0.1, steps=3, learning_rate=1e-2)
    kl = logged(trainer, "kl")
    assert abs(kl[0]) < 1e-6
    assert kl[-1] > 1e-4


def test_the_reference_of_an_adapter_is_the_adapter_that_the_stage_starts_from(tiny, rows, train, tmp_path):
    recipe = Recipe(
        output=tmp_path,
        data={"train": "x"},
        model={"path": str(tiny.folder), "lora": LoraSettings(r=2, dropout=0.0)},
        stages=(StageConfig(name="a", kind="sft", steps=1, batch_size=1, learning_rate=1, mixture={"tree": 1}),),
    )
    start = add_adapter(AutoModelForImageTextToText.from_pretrained(tiny.folder), recipe.model.lora)
    with torch.no_grad():  # a stage before this one has moved adapter and fusion
        for parameter in start.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    start.save_pretrained(tmp_path / "stage")
    model = load_stage_model(tmp_path / "stage", recipe, trainable=True)
    trainer = train(letters, model=model, beta=0.1, steps=3, learning_rate=1e-2)
    kl = logged(trainer, "kl")
    assert abs(kl[0]) < 1e-6
    assert kl[-1] > 1e-5
    # The reference, an adapter too, is no part of the result.
    trainer.save_model(str(tmp_path / "result"))
    assert [path.name for path in (tmp_path / "result").rglob("*.safetensors")] == ["adapter_model.safetensors"]


def test_groups_of_equal_rewards_are_counted_in_spite_of_rounding():
    # The mean of equal numbers can be another number in float32, so that a spread taken from it is not 0.
    rewards = torch.tensor([[tenth / 10 + 0.01] * 8 for tenth in range(10)] + [[0.5] * 7 + [0.501]] * 5)
    assert nanstd(rewards, dim=1)[:10].max() > 1e-8
    assert are_equal(rewards).tolist() == [True] * 10 + [False] * 5


def test_every_process_draws_as_many_groups_anew():
    equal = torch.tensor([[False, True, False, True], [False, False, True, False]])
    places = to_exchange(equal)
    assert places.tolist() == [[1, 3], [2, 0]]
    assert to_exchange(torch.zeros(2, 4, dtype=torch.bool)).shape == (2, 0)


def test_groups_that_teach_nothing_are_exchanged_for_others(train, tmp_path):
    asked = []

    def reward(completions: list[str], id: list[str], **_: Any) -> list[float]:
        asked.append(sorted(set(id)))
        return [
            0.5 if name in ("row0", "row1") else value for name, value in zip(id, letters(completions), strict=True)
        ]

    order = [0, 2, 0, 1, 1, 3]
    trainer = train(reward, order=order, steps=3, exchanges=4)
    kept = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert {line["id"] for line in kept} <= {"row2", "row3"}
    for line in kept:
        assert line["rewards/label"] == pytest.approx(letters([line["completion"]])[0], abs=1e-4) == line["reward"]
    shares = logged(trainer, "exchanged_share")
    assert shares == [0.5, 1.0, 0.5]
    assert logged(trainer, "zero_variance_share") == [0.0, 0.0, 0.0]
    assert all(value > 0 for value in logged(trainer, "grad_norm"))
    assert asked[0] == ["row0", "row2"]  # each batch first as it was drawn
    plain = train(reward, order=order, steps=3, output="plain")
    assert logged(plain, "zero_variance_share") == [0.5, 1.0, 0.5]
    assert logged(plain, "grad_norm")[1] == 0
    assert "exchanged_share" not in plain.state.log_history[0]


def test_a_row_keeps_its_rollouts_when_groups_are_exchanged(train):
    trainer = train(dull, exchanges=3, order=[0, 1, 2, 3], steps=2)
    trainer.model.train()
    torch.manual_seed(1)
    output = rollouts(trainer, [0, 0, 1, 3])
    assert output["row"].unique().tolist() == [2, 3]
    said = trainer.reader.tokenizer.batch_decode(output["completion_ids"], skip_special_tokens=True)
    values = torch.tensor(letters(said)).view(4, 4)
    expected = (values - values.mean(1, keepdim=True)) / (values.std(1, keepdim=True) + 1e-4)
    torch.testing.assert_close(output["advantages"].view(4, 4), expected, rtol=0, atol=1e-4)
    lengths = [len(trainer.read[row].prompt_ids) for row in output["row"].tolist()]
    assert output["prompt_mask"].sum(1).tolist() == lengths


def test_rewards_of_no_weight_do_not_make_groups_unequal(train, monkeypatch):
    """What teaches is the weighted sum: only groups whose sum is equal are told and exchanged."""
    monkeypatch.setitem(REWARDS, "format", letters)
    dull_alone = {"label": 1.0, "format": 0.0}
    trainer = train(dull, order=[0, 1], rewards=dull_alone)
    assert logged(trainer, "zero_variance_share") == [1.0]
    trainer = train(dull, order=[0, 1, 2, 3], steps=2, output="exchanged", rewards=dull_alone, exchanges=1)
    assert logged(trainer, "exchanged_share") == [1.0, 0.0]
    trainer = train(dull, order=[0, 1], output="both", rewards={"label": 1.0, "format": 0.5})
    assert logged(trainer, "zero_variance_share") == [0.0]


def test_the_reward_is_the_sum_by_the_weights_of_the_recipe(train, monkeypatch):
    monkeypatch.setitem(REWARDS, "format", lambda completions, **_: [1.0] * len(completions))
    trainer = train(letters, rewards={"format": 3.0, "label": 0.5})
    [total], [own] = logged(trainer, "reward"), logged(trainer, "rewards/label/mean")
    assert own > 0
    assert total == pytest.approx(3.0 + 0.5 * own, abs=1e-5)


def test_settings_of_a_reward_reach_it(train, monkeypatch):
    def scaled(completions: list[str], factor: float = 1.0, **_: Any) -> list[float]:
        return [factor + len(text) / 100 for text in completions]

    trainer = train(scaled, rewards={"label": {"weight": 1.0, "factor": 30.0}})
    assert logged(trainer, "reward")[0] > 30
    came = threading.Event()
    with pytest.raises(ValueError, match=r"did not return within 0\.05 s"):
        train(lambda **_: came.wait(5), output="late", reward_limit_s=0.05)
    came.set()


def test_prompts_are_shared_only_where_every_process_can(train, monkeypatch):
    trainer = train(letters)
    output = rollouts(trainer, [0, 1])
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1)
    mask = torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1)
    for other in (True, False):
        monkeypatch.setattr(
            trainer.accelerator, "gather", lambda mine, other=other: torch.cat([mine, torch.tensor([other])])
        )
        trainer.shares_prompts = None
        trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, output["completion_ids"].shape[1])
        assert trainer.shares_prompts is other
        assert trainer.model.training


def test_rollouts_are_drawn_without_dropout(train, monkeypatch):
    modes = []
    original = grpo.generate_groups

    def watch(model: Any, *args: Any, **kwargs: Any) -> Any:
        modes.append({module.training for module in model.modules()})
        return original(model, *args, **kwargs)

    monkeypatch.setattr(grpo, "generate_groups", watch)
    trainer = train(letters, steps=2)
    assert modes == [{False}, {False}]
    assert trainer.model.training


def test_settings_of_the_recipe_reach_trl(train):
    settings = {
        "generations": 2,
        "batch_size": 4,
        "accumulation": 2,
        "temperature": 0.7,
        "top_p": 0.9,
        "max_new_tokens": 5,
        "beta": 0.02,
        "loss_type": "dr_grpo",
        "importance_sampling": "sequence",
        "num_iterations": 3,
        "epsilon": 0.1,
        "epsilon_high": 0.3,
        "rewards": {"label": 0.75},
    }
    arguments = train(letters, **settings).args
    assert (arguments.num_generations, arguments.per_device_train_batch_size) == (2, 2)
    assert (arguments.gradient_accumulation_steps, arguments.steps_per_generation) == (2, 2)
    assert (arguments.temperature, arguments.top_p, arguments.max_completion_length) == (0.7, 0.9, 5)
    assert (arguments.beta, arguments.loss_type, arguments.importance_sampling_level) == (0.02, "dr_grpo", "sequence")
    assert (arguments.num_iterations, arguments.epsilon, arguments.epsilon_high) == (3, 0.1, 0.3)
    assert arguments.reward_weights == [0.75]


def test_processes_exchange_for_prompts_that_none_of_them_has_tried(train, monkeypatch):
    """Of two, each with a group of equal reward; each draws for both, and takes its own."""
    trainer = train(letters, order=[0, 1, 2, 3])
    both = torch.tensor([0] * 4 + [1] * 4)
    rewards = [torch.zeros(8, 1), torch.arange(8.0)[:, None]]
    monkeypatch.setattr(GRPOTrainer, "_generate", lambda self, prompts: ([[1]] * 4, [[2]] * 4, None, ["a"] * 4))
    monkeypatch.setattr(trainer, "exchanges", 1)
    for step in range(5):
        trainer.state.global_step = step
        taken = []
        for rank in (0, 1):
            place = {"num_processes": 2, "process_index": rank, "device": "cpu", "gather": lambda mine: both}
            monkeypatch.setattr(trainer, "accelerator", SimpleNamespace(**place))
            answers = iter(rewards)
            monkeypatch.setattr(trainer, "_rewards_of", lambda *_, answers=answers: next(answers).clone())
            trainer.inputs = [{"prompt": [], "row": rank}] * 4
            trainer._take_rows([rank] * 4)
            trainer._exchange_equal_groups([[0]] * 4, [[0]] * 4, [""] * 4)
            taken.append({item["row"] for item in trainer.inputs})
            assert trainer.known_rewards[:, 0].tolist() == [*range(8)]
        assert sorted(taken, key=min) == [{2}, {3}]


def test_groups_are_exchanged_whole(train):
    with pytest.raises(ValueError, match="exchanges needs whole groups on every process"):
        train(letters, batch_size=8, exchanges=1, world_size=4)


def test_each_line_of_the_log_comes_with_a_group_and_the_time_of_its_parts(train, tmp_path):
    trainer = train(letters, steps=2, beta=0.1)
    lines = [json.loads(line) for line in (tmp_path / "rollouts.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"], line["id"]) for line in lines] == [
        *[("rl", 1, "row0")] * 4,
        *[("rl", 2, "row2")] * 4,
    ]
    assert [line["rewards/label"] for line in lines] == pytest.approx(
        letters([line["completion"] for line in lines]), abs=1e-4
    )
    for part in ("rollout", "reward", "scoring", "update"):
        assert len(logged(trainer, f"seconds/{part}")) == 2
        assert min(logged(trainer, f"seconds/{part}")) >= 0
    seconds, speeds = logged(trainer, "seconds/update"), logged(trainer, "tokens_per_s/update")
    tokens = [spent * speed for spent, speed in zip(seconds, speeds, strict=True)]
    assert all(8 <= count <= 8 * 6 + 1 for count in tokens)
    assert logged(trainer, "zero_variance_share") == [0.0, 0.0]
    assert logged(trainer, "parse_rate") == [0.0, 0.0]
    assert logged(trainer, "advantage_std") == pytest.approx([math.sqrt(6 / 7)] * 2, abs=1e-2)


def test_a_reward_that_can_be_learnt_rises(train):
    trainer = train(letters, steps=10, batch_size=16, generations=8, learning_rate=3e-2, schedule="constant")
    rewards = logged(trainer, "reward")
    assert len(rewards) == 10
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2


@pytest.mark.parametrize("failing", ["row0", "row0 row1"])
def test_a_reward_that_fails_stops_or_is_left_out_as_the_recipe_says(train, capsys, failing):
    def reward(completions: list[str], id: list[str], **_: Any) -> list[float]:
        if not set(failing.split()).isdisjoint(id):
            raise KeyError("no")
        return letters(completions)

    with pytest.raises(ValueError, match=r"reward 'label' raised KeyError: 'no' .*: row row0, completion"):
        train(reward)
    trainer = train(reward, reward_failure="drop")
    assert all(math.isfinite(loss) for loss in logged(trainer, "loss"))
    said = capsys.readouterr().err
    assert said.count("Left out with its group") == 1
    assert f"reward 'label' was left out of {4 * len(failing.split())} of 8 completions" in said
