"""What a recipe sets of GRPO: rewards, their weights and failures, groups exchanged for others."""

from __future__ import annotations

import json
import math
import threading
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from trl import GRPOTrainer
from trl.trainer.utils import nanstd

from tests.support.grpo import dull, letters, logged, rollouts
from train.stages.rollout import are_equal, to_exchange
from videmo.rewards import REWARDS


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
