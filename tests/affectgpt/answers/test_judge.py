"""The judge of closed answers, and that everybody who judges asks it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from affectgpt.answers.judge import closed_sets, gold_choice, is_right, read_choice
from affectgpt.clip import Clip
from affectgpt.tasks import TASKS
from eval.answers.rows import read_rows
from eval.metrics.task_scores import score_task
from eval.predict.answers import as_prediction
from eval.report.scores import score
from videmo.reward_run import BoundReward
from videmo.rewards import accuracy_reward, label_reward

OPTIONS = ["happy", "very happy", "sad", "not sure", "angry"]
LETTERS = "Which is it?\nA. happy\nB. very happy\nC. sad\nD. not sure\nE. angry"
CLOSED = [name for name, task in TASKS.items() if task.judged == "choice"]


@pytest.mark.parametrize(
    ("response", "choice"),
    [
        ("sad", "sad"),
        (" Sad.\n", "sad"),
        ("<think>happy or angry?</think>sad", "sad"),
        ("<ANSWER>sad</ANSWER>", "sad"),
        ("<answer>happy</answer> no: <answer>sad</answer>", "sad"),
        ("The answer is sad", "sad"),
        ("She is very happy", "very happy"),
        ("not happy, but sad", "sad"),
        ("happy sad angry", None),
        ("happy or sad", None),
        ("", None),
        ("certainly not angry", None),
    ],
)
def test_what_an_answer_chooses(response, choice):
    assert read_choice(response, "What does she feel?", OPTIONS) == choice


def test_letters_stand_for_the_options_that_the_question_lists():
    assert read_choice("C", LETTERS) == "sad"
    assert read_choice("(B)", LETTERS, ["other"]) == "very happy"
    assert read_choice("A, C", LETTERS) is None
    assert gold_choice("C", LETTERS) == gold_choice("sad", LETTERS) == "sad"
    assert gold_choice("bored", LETTERS) is None
    assert is_right("C", "sad", LETTERS)
    assert not is_right("C", "happy", LETTERS)


def test_without_a_closed_set_the_whole_answer_is_the_choice():
    assert is_right("The answer is: Joy.", "joy")
    assert not is_right("joy and fear", "joy")
    assert not is_right("not joy", "joy")


def test_a_gold_answer_that_the_letters_do_not_list_is_compared_as_text():
    assert is_right("bored", "bored", LETTERS)


def test_closed_sets_are_the_gold_labels_of_a_task():
    rows = [("emotion_label", "joy"), ("emotion_label", "fear"), ("emotion_label", "joy"), ("caption", "A smile.")]
    assert closed_sets(rows) == {"emotion_label": ["fear", "joy"]}


def hostile_answers(count: int) -> list[str]:
    """Answers put together at random from what models write around, before and instead of an answer."""
    rng = np.random.default_rng(7)
    pieces = [
        *OPTIONS, *(option.upper() for option in OPTIONS), *"ABCDE", "(C)", "B.", "[A]", "not", "never", "but", "or",
        "The answer is", "answer:", "<answer>", "</answer>", "<ANSWER>", "<think>", "</think>", "\n", ",", ".", "-",
        "Definitely", "I cannot tell", "ｓａｄ", "happy_", "unhappy", "sad-ish", "None", "", "&lt;answer&gt;", "\u202e",
        "A. happy\nB. very happy", "*sad*", '"angry"', "final", "😀", "```", "happy/sad", "{", "1.", "than", "n't",
    ]  # fmt: skip
    return [" ".join(rng.choice(pieces, rng.integers(1, 7))) for _ in range(count)]


@pytest.mark.parametrize("question", ["What does she feel?", LETTERS], ids=["options", "letters"])
@pytest.mark.parametrize("options", [OPTIONS, None], ids=["named", "of the file"])
def test_rewards_scores_and_evaluators_agree_on_a_thousand_hostile_answers(tmp_path: Path, question, options):
    responses = hostile_answers(1000)
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "x"}]
    clips = [
        Clip(id=f"{index}", task=CLOSED[index % 3], messages=turns, answer=OPTIONS[index % 5], options=options)
        for index in range(len(responses))
    ]
    sets = closed_sets((clip.task, clip.answer) for clip in clips)
    asked = [clip.options or sets[clip.task] for clip in clips]
    judged = [
        float(is_right(response, clip.answer, question, closed))
        for response, clip, closed in zip(responses, clips, asked, strict=True)
    ]
    assert 50 < sum(judged) < 950

    completions = [[{"role": "assistant", "content": response}] for response in responses]
    for reward in (accuracy_reward, label_reward):
        bound = BoundReward("reward", reward, clips)
        assert bound([None] * len(clips), completions, list(range(len(clips)))) == judged

    predictions = [as_prediction(clip, response) for clip, response in zip(clips, responses, strict=True)]
    path = tmp_path / "predictions.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in predictions))
    report = score(clips, predictions, resamples=10).metrics
    names = {"attribute_closed": "attribute_accuracy", "expression_single": "expression_accuracy"}
    for task, rows in read_rows([path]).items():
        mine = np.mean([value for clip, value in zip(clips, judged, strict=True) if clip.task == task])
        assert score_task(rows).tallies["accuracy"].value == pytest.approx(mine, abs=1e-6)
        assert report[names.get(task, f"{task}_accuracy")]["value"] == pytest.approx(mine, abs=1e-6)
