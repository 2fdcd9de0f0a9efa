"""GRPO with media: scored and weighed as a plain model would, on the parts of TRL that are its own affair."""

from __future__ import annotations

import inspect
import json
import math
import shutil
from typing import Any

import pytest
import torch
from transformers import AutoModelForImageTextToText, Trainer
from trl import GRPOTrainer

from tests.support.grpo import letters, logged, rollouts
from tests.support.rounding import sgd_with_momentum
from train.config.model import LoraSettings, ModelConfig
from train.model_setup import add_adapter, load_stage_model
from train.stages import grpo_trainer as grpo
from train.stages.rollout import split_groups

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


def test_gradient_checkpointing_shares_prompts_too(train, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "get_optimizer_cls_and_kwargs", staticmethod(sgd_with_momentum))
    losses = []
    for checkpointing in (False, True):
        shutil.rmtree(tmp_path / "steps", ignore_errors=True)
        trainer = train(letters, steps=2, gradient_checkpointing=checkpointing, beta=0.1, learning_rate=0.1)
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
    settings = ModelConfig(path=str(tiny.folder), lora=LoraSettings(r=2, dropout=0.0))
    start = add_adapter(AutoModelForImageTextToText.from_pretrained(tiny.folder), settings.lora)
    with torch.no_grad():  # a stage before this one has moved adapter and fusion
        for parameter in start.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    start.save_pretrained(tmp_path / "stage")
    model = load_stage_model(tmp_path / "stage", settings, trainable=True)
    trainer = train(letters, model=model, beta=0.1, steps=3, learning_rate=1e-2)
    kl = logged(trainer, "kl")
    assert abs(kl[0]) < 1e-6
    assert kl[-1] > 1e-5
    # The reference, an adapter too, is no part of the result.
    trainer.save_model(str(tmp_path / "result"))
    assert [path.name for path in (tmp_path / "result").rglob("*.safetensors")] == ["adapter_model.safetensors"]


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
