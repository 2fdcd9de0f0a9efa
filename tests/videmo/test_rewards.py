"""Rewards of hand-made completions, and that each row of a mixed batch gets only the rewards of its task."""

from __future__ import annotations

import pytest

from affectgpt.clip import TASKS
from videmo.rewards import REWARDS, format_reward, label_reward, tree_reward

GOLD = "a1 mouth: smiling\ne1 forced smile <- a1\nm1 masked distress <- e1"
CASES = {
    "gold": (GOLD, 1.0, 1.0, 1.0),
    "other emotion": (GOLD.replace("masked distress", "joy"), 1 - 1 / 6, 1.0, 0.0),
    "other attribute": (GOLD.replace("smiling", "pressed"), 1 - 1 / 6, 1.0, 1.0),
    "link left out": (GOLD.replace(" <- a1", ""), 1 - 2 / 6, 1.0, 1.0),
    "emotion only": ("m1 masked distress", 1 - 2 / 4, 1.0, 1.0),
    "two emotions": (f"{GOLD}\nm2 joy", 1 - 1 / 7, 1.0, 0.0),
    "chatter before": (f"Let me think.\n{GOLD}", 1 - 1 / 7, 0.0, 1.0),
    "no emotion": ("a1 mouth: smiling\ne1 forced smile <- a1", 1 - 5 / 5, 0.0, 0.0),
    "nothing": ("", 0.0, 0.0, 0.0),
    "noise": ("I see a person.", 0.0, 0.0, 0.0),
}


@pytest.mark.parametrize(("text", "tree", "form", "label"), CASES.values(), ids=CASES.keys())
def test_rewards_of_a_tree_row(text: str, tree: float, form: float, label: float) -> None:
    columns = {"completions": [text], "task": ["tree"], "answer": [GOLD]}
    # What is linked and what hangs loose never pair: deleted in one place, inserted in the other.
    assert tree_reward(**columns) == [pytest.approx(tree)]
    assert format_reward(**columns) == [form]
    assert label_reward(**columns) == [label]


def test_a_tree_in_another_order_is_as_good() -> None:
    gold = "a1 x\na2 y\ne1 p <- a1\ne2 q <- a2\nm1 joy <- e1 e2"
    other = "a1 y\na2 x\ne1 q <- a1\ne2 p <- a2\nm1 joy <- e2 e1"
    assert tree_reward([other], ["tree"], [gold]) == [1.0]


def test_emotions_of_a_tree_are_compared_as_a_set() -> None:
    assert label_reward(["m1 joy\nm2 fear"], ["tree"], ["m1 fear\nm2 joy"]) == [1.0]


@pytest.mark.parametrize("task", ["attribute_closed", "expression_single", "emotion_label"])
def test_label_reward_of_closed_questions(task: str) -> None:
    said = ["joy", " joy\n", "Joy", "joy.", "", "anger"]
    assert label_reward(said, [task] * 6, ["joy"] * 6) == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def test_routing_is_by_row_in_a_mixed_batch() -> None:
    task = ["tree", "caption", "emotion_label", "tree", "valence", "attribute_closed"]
    answer = [GOLD, "A smile.", "joy", GOLD, 0.5, "smiling"]
    columns = {"completions": [GOLD, "A smile.", "joy", "", "0.5", "open"], "task": task, "answer": answer}
    assert tree_reward(**columns) == [1.0, None, None, 0.0, None, None]
    assert format_reward(**columns) == [1.0, None, None, 0.0, None, None]
    assert label_reward(**columns) == [1.0, None, 1.0, 0.0, None, 0.0]


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_answers_every_task_and_ignores_other_columns(name: str) -> None:
    answer = [GOLD if task == "tree" else "x" for task in TASKS]
    values = REWARDS[name](["x"] * len(TASKS), task=list(TASKS), answer=answer, id=list(TASKS), trainer_state=None)
    assert len(values) == len(TASKS)
    applies = {"tree"} | ({"attribute_closed", "expression_single", "emotion_label"} if name == "label" else set())
    assert {task for task, value in zip(TASKS, values, strict=True) if value is not None} == applies


@pytest.mark.parametrize("name", REWARDS)
def test_columns_of_unequal_length_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="zip"):
        REWARDS[name](["x", "y"], task=["tree"], answer=["m1 joy"])
