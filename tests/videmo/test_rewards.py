"""Rewards of hand-made completions, and that each row of a mixed batch gets only the rewards of its task."""

from __future__ import annotations

import math

import pytest

from affectgpt.problems import InputError
from affectgpt.tasks import TASKS
from videmo.rewards import (
    REWARDS,
    accuracy_reward,
    format_reward,
    label_reward,
    length_penalty,
    length_reward,
    multi_label_f1_reward,
    repetition_reward,
    tree_reward,
    wheel_f1_reward,
)
from videmo.user_rewards import reward_function

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


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, 1 - 1 / 6),
        ({"scale": 2.0}, 1 - 2 / 6),
        ({"form": "relative"}, math.exp(-1 / 3)),
        ({"form": "published", "scale": 0.5, "distance": "ordered"}, math.exp(-0.5)),
        ({"emotion": 4.0}, 1 - 4 / 12),
        ({"attribute": 2.0, "expression": 0.0}, 1 - 1 / 6),
        ({"rename": "wheel"}, 1 - 0.5 / 6),
    ],
)
def test_settings_of_the_tree_reward(settings: dict, expected: float) -> None:
    gold, said = (f"a1 x\ne1 y <- a1\nm1 {emotion} <- e1" for emotion in ("happy", "cheerful"))
    [value] = reward_function("tree", settings)([said], task=["tree"], answer=[gold], id=["row"])
    assert value == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"form": "square"}, "setting 'form': expected 'linear', 'relative' or 'published', got 'square'"),
        ({"scale": -1}, "setting 'scale': expected"),
        ({"rename": "./nowhere"}, "setting 'rename': expected"),
        ({"lambda": 0.1}, "unknown setting 'lambda'"),
    ],
)
def test_wrong_settings_of_the_tree_reward_are_said(settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said):
        reward_function("tree", settings)


def test_a_tree_in_another_order_is_as_good() -> None:
    gold = "a1 x\na2 y\ne1 p <- a1\ne2 q <- a2\nm1 joy <- e1 e2"
    other = "a1 y\na2 x\ne1 q <- a1\ne2 p <- a2\nm1 joy <- e2 e1"
    assert tree_reward([other], ["tree"], [gold]) == [1.0]


def test_emotions_of_a_tree_are_compared_as_a_set() -> None:
    assert label_reward(["m1 joy\nm2 fear"], ["tree"], ["m1 fear\nm2 joy"]) == [1.0]


@pytest.mark.parametrize("task", ["attribute_closed", "expression_single", "emotion_label"])
def test_label_reward_of_closed_questions(task: str) -> None:
    said = ["joy", " joy\n", "Joy", "joy.", "", "anger"]
    assert label_reward(said, [task] * 6, ["joy"] * 6) == [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]


def test_routing_is_by_row_in_a_mixed_batch() -> None:
    task = ["tree", "caption", "emotion_label", "tree", "valence", "attribute_closed"]
    answer = [GOLD, "A smile.", "joy", GOLD, 0.5, "smiling"]
    columns = {"completions": [GOLD, "A smile.", "joy", "", "0.5", "open"], "task": task, "answer": answer}
    assert tree_reward(**columns) == [1.0, None, None, 0.0, None, None]
    assert format_reward(**columns) == [1.0, None, None, 0.0, None, None]
    assert label_reward(**columns) == [1.0, None, 1.0, 0.0, None, 0.0]


CLOSED = {"attribute_closed", "expression_single", "emotion_label"}
APPLIES = {
    "tree": {"tree"},
    "format": {"tree"},
    "label": {"tree", *CLOSED},
    "accuracy": CLOSED,
    "multi_label_f1": {"expression_multi", "emotion_open"},
    "wheel_f1": {"emotion_open", "emotion_label"},
    "repetition": set(TASKS),
    "length": set(TASKS),
}


@pytest.mark.parametrize("name", APPLIES)
def test_every_reward_answers_every_task_and_ignores_other_columns(name: str) -> None:
    answers = {"tree": GOLD, "labels": ["x"]}
    answer = [answers.get(asked.answer, "x") for asked in TASKS.values()]
    values = REWARDS[name](["x"] * len(TASKS), task=list(TASKS), answer=answer, id=list(TASKS), trainer_state=None)
    assert len(values) == len(TASKS)
    assert {task for task, value in zip(TASKS, values, strict=True) if value is not None} == APPLIES[name]
    assert all(0 <= value <= 1 for value in values if value is not None)


@pytest.mark.parametrize("name", sorted(APPLIES.keys() - {"repetition", "length"}))
def test_columns_of_unequal_length_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="zip"):
        REWARDS[name](["x", "y"], task=["tree"], answer=["m1 joy"])


QUESTION = "What is the mouth like?\nA. open\nB. pressed together\nC. smiling"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pressed together", 1.0),
        ("Pressed-together.", 1.0),
        ("B", 1.0),
        ("(b)", 1.0),
        ("B. pressed together", 1.0),
        ("The correct answer is B.", 1.0),
        ("<think>It may be A.</think><answer>B</answer>", 1.0),
        ("I think A. </think> B", 1.0),
        ("A", 0.0),
        ("A. pressed together", 0.0),
        ("A, B, C", 0.0),
        ("open or pressed together", 0.0),
        ("not pressed together", 0.0),
        ("D", 0.0),
        ("", 0.0),
        ("...", 0.0),
    ],
)
@pytest.mark.parametrize("gold", ["pressed together", "B"])
def test_accuracy_takes_the_text_or_the_letter_of_an_option(text: str, expected: float, gold: str) -> None:
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": gold}]
    assert accuracy_reward([text], ["attribute_closed"], [gold], messages=[turns]) == [expected]


def test_accuracy_takes_letters_from_the_last_question() -> None:
    first = [{"role": "user", "content": "What is felt?\nA. joy\nB. fear"}, {"role": "assistant", "content": "joy"}]
    turns = [*first, {"role": "user", "content": QUESTION}, {"role": "assistant", "content": "open"}]
    said = ["A", "B"]
    assert accuracy_reward(said, ["attribute_closed"] * 2, ["open"] * 2, messages=[turns] * 2) == [1.0, 0.0]


def test_accuracy_knows_letters_only_from_the_question() -> None:
    turns = [{"role": "user", "content": "What is the mouth like?"}, {"role": "assistant", "content": "open"}]
    said = ["open", "A"]
    assert accuracy_reward(said, ["attribute_closed"] * 2, ["open"] * 2, messages=[turns] * 2) == [1.0, 0.0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("frown, raised brow", 1.0),
        ("Raised Brow; frown.", 1.0),
        ("- frown\n- raised brow", 1.0),
        ("frown, and raised brow", 1.0),
        ("<think>smile, glare</think><answer>frown, raised brow</answer>", 1.0),
        ("frown", 2 / 3),
        ("frown, smile", 1 / 2),
        ("frown, frown, frown", 2 / 3),
        ("smile", 0.0),
        ("", 0.0),
    ],
)
def test_multi_label_f1(text: str, expected: float) -> None:
    assert multi_label_f1_reward([text], ["expression_multi"], [["frown", "raised brow"]]) == [pytest.approx(expected)]


def test_wheel_f1_counts_groups_and_not_words() -> None:
    said = ["happy", "joyful", "happy, joyful", "angry", "happy, angry", "", "I see a table."]
    found = wheel_f1_reward(said, ["emotion_open"] * 7, [["happiness"]] * 7, groups="basic")
    assert found == [1.0, 1.0, 1.0, 0.0, pytest.approx(2 / 3), 0.0, 0.0]


def test_wheel_f1_of_both_levels_is_their_mean() -> None:
    columns = {"completions": ["relieved"], "task": ["emotion_label"], "answer": ["cheerful"]}
    basic, fine, both = (wheel_f1_reward(**columns, groups=groups)[0] for groups in ("basic", "fine", "both"))
    assert (basic, fine, both) == (1.0, 0.0, 0.5)


@pytest.mark.parametrize(
    ("said", "gold", "p1", "p2", "p3"),
    [(1, 1, 1, 1, 1), (1, 3, 1, 1, 1), (4, 2, 1 / 3, 1 / 2, math.log(3) / math.log(5)), (2, 1, 1 / 2, 1 / 2, 0.6309)],
)
def test_length_penalties_are_those_of_affectgpt_r1(said: int, gold: int, p1: float, p2: float, p3: float) -> None:
    found = [length_penalty(said, gold, penalty) for penalty in ("none", "p1", "p2", "p3")]
    assert found == pytest.approx([1, p1, p2, p3], abs=1e-4)


def test_wheel_f1_makes_long_lists_of_synonyms_worth_less_by_its_penalty() -> None:
    columns = {"completions": ["happy, joyful, glad"], "task": ["emotion_open"], "answer": [["happy"]]}
    assert wheel_f1_reward(**columns) == [1.0]
    assert wheel_f1_reward(**columns, penalty="p2") == [pytest.approx(1 / 3)]


def test_words_that_the_wheel_does_not_know_are_groups_by_themselves() -> None:
    said = ["zorbed, happy", "happy"]
    found = wheel_f1_reward(said, ["emotion_open"] * 2, [["zorbed", "happy"]] * 2)
    assert found == [1.0, pytest.approx(2 / 3)]


def test_repetition_is_the_share_of_new_n_grams() -> None:
    said = ["", "joy", "one two three four", "joy " * 10, "a b a b a b", "喜悦 喜悦 喜悦 喜悦"]
    assert repetition_reward(said) == [1.0, 1.0, 1.0, 1 / 8, 2 / 4, 2 / 6]
    assert repetition_reward(["joy joy"], n=1) == [0.5]


def test_length_falls_from_longest_to_twice_of_it() -> None:
    said = ["", "a", "a b", "a " * 10, "a " * 15, "a " * 20, "a " * 30]
    assert length_reward(said, shortest=2, longest=10) == [0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0]


TREE = "a1 mouth: smiling\ne1 smile <- a1\nm1 joy <- e1"


@pytest.mark.parametrize("opening", ["<think>", "<thinking>", "<REASONING>", "[THINK]", "＜think＞"])
def test_a_thought_that_was_cut_off_pays_nothing(opening):
    """lm-evaluation-harness#3382: what a model thought aloud was scored as its answer."""
    assert wheel_f1_reward([f"{opening}She may be happy"], ["emotion_open"], [["happy"]]) == [0.0]
    assert multi_label_f1_reward([f"{opening}happy, sad"], ["emotion_open"], [["happy", "sad"]]) == [0.0]
    assert accuracy_reward([f"{opening}happy"], ["emotion_label"], ["happy"]) == [0.0]
    assert label_reward([f"{opening}happy"], ["emotion_label"], ["happy"]) == [0.0]
    assert label_reward([f"{opening}\n{TREE}"], ["tree"], [TREE]) == [0.0]
    assert tree_reward([f"{opening}\n{TREE}"], ["tree"], [TREE])[0] < 0.5
    assert format_reward([f"{opening}\n{TREE}"], ["tree"]) == [0.0]


def test_what_follows_a_thought_is_paid():
    for thought in ("<think>sad?</think>", "<thinking>sad?</thinking>", "sad?</think>", "<think>a<think>b</think>"):
        assert wheel_f1_reward([f"{thought}happy"], ["emotion_open"], [["happy"]]) == [1.0]
        assert multi_label_f1_reward([f"{thought}happy"], ["emotion_open"], [["happy"]]) == [1.0]
        assert accuracy_reward([f"{thought}happy"], ["emotion_label"], ["happy"]) == [1.0]
        assert label_reward([f"{thought}\n{TREE}"], ["tree"], [TREE]) == [1.0]
        assert tree_reward([f"{thought}\n{TREE}"], ["tree"], [TREE]) == [1.0]
        assert format_reward([f"{thought}\n{TREE}"], ["tree"]) == [1.0]


def test_a_denied_or_mentioned_label_pays_nothing():
    options = [["happy", "sad", "angry"]]
    for text in ("not happy", "It isn’t happy.", "happy?", "happy is wrong", "neither happy nor sad", "options: happy"):
        assert accuracy_reward([text], ["emotion_label"], ["happy"], None, options) == [0.0], text


@pytest.mark.parametrize(
    "text", ["happy，sad", "happy、sad", "happy；sad", "happy and sad", "happy/sad", "- happy\n- sad"]
)
def test_labels_may_stand_between_commas_of_any_script(text):
    assert multi_label_f1_reward([text], ["emotion_open"], [["happy", "sad"]]) == [1.0]


def test_joining_words_within_a_label_of_the_row_join_nothing():
    gold = [["shock and awe", "温和", "sad/angry"]]
    assert multi_label_f1_reward(["shock and awe，温和，sad/angry"], ["emotion_open"], gold) == [1.0]
