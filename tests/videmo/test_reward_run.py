"""Rewards that fail, and rewards of a user's own file: what is said, when, and what becomes of the rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from affectgpt.clip import Clip
from affectgpt.problems import InputError
from tests.support.limits import PATIENCE_S
from train.recipe_file import load_recipe, save_recipe
from videmo.reward_run import BoundReward, RewardError
from videmo.rewards import REWARDS
from videmo.user_rewards import reward_function, user_functions

TURNS = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "m1 joy"}]
CLIPS = [Clip(id=f"row{index}", messages=TURNS, task="tree", answer="m1 joy", subtitle="Oh.") for index in range(3)]


def call(reward: BoundReward, texts: list[str], rows: list[int], **given: Any) -> list[float | None]:
    said = [[{"role": "assistant", "content": text}] for text in texts]
    return reward(prompts=["p"] * len(texts), completions=said, row=rows, **given)


def test_rewards_get_texts_columns_and_what_trl_gives():
    got: dict[str, Any] = {}

    def reward(**columns: Any) -> list[Any]:
        got.update(columns)
        return [None, np.float32(0.5)]

    bound = BoundReward("mine", reward, CLIPS)
    assert call(bound, ["one", "two"], [2, 0], trainer_state="state", completion_ids=[[1], [2]]) == [None, 0.5]
    assert bound.__name__ == "mine"
    assert (got["completions"], got["id"], got["answer"]) == (["one", "two"], ["row2", "row0"], ["m1 joy"] * 2)
    assert (got["subtitle"], got["trainer_state"], got["completion_ids"]) == (["Oh."] * 2, "state", [[1], [2]])
    assert (bound.scored, bound.dropped) == (2, 0)


def test_fields_of_the_rows_win_over_columns_of_their_name():
    got: dict[str, Any] = {}

    def reward(**columns: Any) -> list[float]:
        got.update(columns)
        return [0.0]

    assert call(BoundReward("mine", reward, CLIPS), ["one"], [1], answer=["m1 other"], id=["other"]) == [0.0]
    assert (got["answer"], got["id"]) == (["m1 joy"], ["row1"])


def test_what_a_reward_does_to_its_arguments_stays_with_it():
    def vandal(**columns: Any) -> list[float]:
        columns["messages"][0][1]["content"] = "m1 anger"
        columns["completion_ids"][0].clear()
        for column in columns.values():
            column.clear()
        return [0.0]

    rows = [Clip(id="row0", messages=deepcopy(TURNS), task="tree", answer="m1 joy")]
    ids = [[1, 2]]
    assert call(BoundReward("mine", vandal, rows), ["one"], [0], completion_ids=ids) == [0.0]
    assert rows[0].messages == TURNS
    assert ids == [[1, 2]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0], "reward 'mine' returned 1 values for 2 completions: row row0, completion 'one'"),
        (None, "reward 'mine' returned None where a list of 2 values was expected"),
        ([1.0, float("nan")], "reward 'mine' gave nan: row row1, completion 'two'"),
        ([float("inf"), 1.0], "reward 'mine' gave inf: row row0, completion 'one'"),
        ([1.0, torch.tensor(-torch.inf)], r"reward 'mine' gave tensor\(-inf\): row row1"),
        ([-1e9, 1.0], "reward 'mine' gave -1000000000.0: row row0"),
        ([0.0, "0.5"], "reward 'mine' gave '0.5': row row1"),
        ([0.0, [0.5]], r"reward 'mine' gave \[0.5\]: row row1"),
    ],
)
def test_rewards_that_return_nonsense_stop_and_are_named(values: Any, words: str):
    with pytest.raises(RewardError, match=words):
        call(BoundReward("mine", lambda **_: values, CLIPS), ["one", "two"], [0, 1])


def fails_at_bad(completions: list[str], **_: Any) -> list[float]:
    if "bad" in completions:
        raise KeyError("bad")
    return [1.0] * len(completions)


def test_a_reward_that_raises_names_the_row_at_fault_and_the_line():
    words = r"reward 'mine' raised KeyError: 'bad' \(test_reward_run.py, line \d+\): row row1, completion 'bad'"
    with pytest.raises(RewardError, match=words) as caught:
        call(BoundReward("mine", fails_at_bad, CLIPS), ["one", "bad", "two"], [0, 1, 2])
    assert isinstance(caught.value.__cause__.__cause__, KeyError)
    assert "reward_failure: drop" in str(caught.value)


def test_dropping_leaves_out_the_group_counts_it_and_says_so_once():
    said: list[str] = []
    bound = BoundReward("mine", fails_at_bad, CLIPS, "drop", say=said.append)
    assert call(bound, ["one", "two", "bad", "four"], [0, 0, 1, 1]) == [1.0, 1.0, None, None]
    assert call(bound, ["bad", "bad"], [2, 2]) == [None, None]
    assert call(bound, ["one", "two"], [2, 2]) == [1.0, 1.0]
    assert (bound.scored, bound.dropped, len(said)) == (8, 4, 1)
    assert "row row1, completion 'bad'" in said[0]


def test_dropping_takes_what_is_no_number_and_what_fails_only_together():
    bound = BoundReward("mine", lambda **_: [0.5, float("nan")], CLIPS, "drop", say=lambda _: None)
    assert call(bound, ["one", "two"], [0, 1]) == [0.5, None]
    together = BoundReward("mine", lambda **_: [0.5], CLIPS, "drop", say=lambda _: None)
    assert call(together, ["one", "two"], [0, 1]) == [None, None]
    assert together.dropped == 2


def test_a_reward_that_ends_the_program_is_a_failure_too():
    def reward(**_: Any) -> list[float]:
        raise SystemExit(0)

    with pytest.raises(RewardError, match="raised SystemExit"):
        call(BoundReward("mine", reward, CLIPS), ["one"], [0])


def test_a_reward_that_does_not_come_back_is_not_waited_for_nor_called_again():
    begun, come_back, calls = threading.Event(), threading.Event(), []

    def reward(completions: list[str], **_: Any) -> list[float]:
        calls.append(completions)
        begun.set()
        come_back.wait(PATIENCE_S)
        return [1.0] * len(completions)

    with pytest.raises(RewardError, match=r"did not return within 0.05 s: row row0, completion 'one', and 1 more"):
        call(BoundReward("mine", reward, CLIPS, limit_s=0.05), ["one", "two"], [0, 1])
    bound = BoundReward("mine", reward, CLIPS, "drop", limit_s=0.05, say=lambda _: None)
    begun.wait(PATIENCE_S)
    calls.clear()
    begun.clear()
    assert [call(bound, ["one"], [0]) for _ in range(3)] == [[None]] * 3
    begun.wait(PATIENCE_S)
    assert (calls, bound.dropped) == ([["one"]], 3)
    late = bound._late
    assert late is not None
    come_back.set()
    late.join(PATIENCE_S)
    bound.limit_s = PATIENCE_S
    assert call(bound, ["one"], [0]) == [1.0]


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """`recipe(**keys of the GRPO stage)` writes a recipe; `my_rewards.py` lies beside it."""
    (tmp_path / "my_rewards.py").write_text(
        "from __future__ import annotations\n"
        "from videmo.rewards import tree_reward\n\n"
        "def mine(completions, answer, factor: float = 2.0, **_) -> list[float | None]:\n"
        "    return [factor * (text == gold) for text, gold in zip(completions, answer)]\n\n"
        "def positional(completions, answer): return [0.0]\n\n"
        "async def later(completions, **_): return [0.0]\n\n"
        "def misspelt(completions, anwser, **_): return [0.0]\n\n"
        "number = 3\n"
    )

    def write(**stage: Any) -> Path:
        fixed = {
            "name": "rl",
            "kind": "grpo",
            "steps": 1,
            "batch_size": 8,
            "learning_rate": 1e-6,
            "mixture": {"tree": 1},
        }
        values = {"output": "x", "data": {"train": "x"}, "model": {"tiny": {}}, "stages": [fixed | stage]}
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return path

    return write


def complaint(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    return str(caught.value)


def test_a_number_is_a_weight_and_a_mapping_has_settings_and_both_survive_saving(recipe, tmp_path):
    files = [str(tmp_path / "my_rewards.py")]
    rewards = {"tree": 1, "wheel_f1": {"weight": 0.5, "penalty": "p2"}, "mine": {"factor": 3}}
    loaded = load_recipe(recipe(rewards=rewards, reward_files=files, reward_failure="drop"))
    found = loaded.stages[0].rewards
    assert [(name, reward.weight, reward.settings) for name, reward in found.items()] == [
        ("tree", 1.0, {}),
        ("wheel_f1", 0.5, {"penalty": "p2"}),
        ("mine", 1.0, {"factor": 3}),
    ]
    save_recipe(loaded, tmp_path / "saved.yaml")
    assert load_recipe(tmp_path / "saved.yaml") == loaded
    bound = reward_function("mine", found["mine"].settings, loaded.stages[0].reward_files)
    assert bound(completions=["a", "b"], answer=["a", "a"], task=["text"] * 2) == [3.0, 0.0]


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ({}, "give at least one reward"),
        ({"wheel_f": 1}, "unknown reward 'wheel_f'. Did you mean 'wheel_f1'?"),
        ({"mne": 1}, "unknown reward 'mne'. Did you mean 'mine'?"),
        ({"number": 1}, "unknown reward 'number'"),
        ({"tree_reward": 1}, "unknown reward 'tree_reward'"),
        (
            {"format": {"penalty": "p1"}},
            "videmo.rewards: reward 'format': unknown setting 'penalty'. It has none besides",
        ),
        ({"wheel_f1": {"penalt": "p1"}}, "unknown setting 'penalt'. Did you mean 'penalty'?"),
        ({"wheel_f1": {"penalty": "p4"}}, "setting 'penalty': expected 'none', 'p1', 'p2' or 'p3', got 'p4'"),
        ({"repetition": {"n": 0}}, "setting 'n': expected greater than or equal to 1, got 0"),
        ({"mine": {"factor": "much"}}, "my_rewards.py: reward 'mine': setting 'factor': expected a valid number"),
        ({"positional": 1}, "expected the signature 'def positional(completions, answer, **_)"),
        ({"later": 1}, "got 'async later(completions, **_)'"),
        ({"misspelt": 1}, "'anwser' is no column and has no value. Did you mean 'answer'?"),
        ({"tree": "much"}, "'stages.0.rewards.tree.weight': expected a valid number"),
        ({"tree": {"weight": float("nan")}}, "expected a finite number"),
    ],
)
def test_what_is_wrong_with_a_reward_is_said_when_the_recipe_is_read(recipe, tmp_path, rewards, words):
    assert words in complaint(recipe(rewards=rewards, reward_files=[str(tmp_path / "my_rewards.py")]))


def test_every_problem_is_said_at_once(recipe):
    text = complaint(recipe(rewards={"tre": 1, "wheel_f1": {"penalty": "p4"}}))
    assert "Did you mean 'tree'?" in text
    assert "got 'p4'" in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "nowhere.py: a file of rewards: expected a file, got nothing there"),
        ("def mine(:", "line 1: expected a file that Python can run, got SyntaxError"),
        ("\nimport nothing_like_this", "line 2: expected a file that Python can run, got ModuleNotFoundError"),
    ],
)
def test_files_that_cannot_be_used_are_explained(recipe, tmp_path, content, words):
    path = tmp_path / "nowhere.py"
    if content is not None:
        path.write_text(content)
    text = complaint(recipe(rewards={"mine": 1}, reward_files=[str(path)]))
    assert words in text
    assert "unknown reward" not in text


def test_a_name_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def tree(**_): return []")
    with pytest.raises(InputError, match=r"reward 'tree' is defined in videmo.rewards and in .*mine.py"):
        reward_function("tree", {}, [path])


def test_a_file_is_run_again_once_it_has_changed(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("def one(**_): return []")
    first = user_functions(path)
    assert user_functions(path) is first
    path.write_text("def two(**_): return []")
    assert list(user_functions(path)) == ["two"]


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_of_the_project_can_be_bound(name):
    settings = {"model": "some/model"} if name.startswith("caption") else {}  # not loaded: no row here is a caption
    assert len(call(BoundReward(name, reward_function(name, settings), CLIPS), ["m1 joy", ""], [0, 1])) == 2
