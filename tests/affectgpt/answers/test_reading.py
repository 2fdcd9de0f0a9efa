"""Reading of answers that say several things: the last statement counts, the longest label, none of several."""

from __future__ import annotations

import pytest

from affectgpt.answers.reading import LIMIT, clean, read_label, read_letters, read_set

OPTIONS = {"A": "happy", "B": "sad", "C": "angry"}


@pytest.mark.parametrize(
    "answer",
    [
        "The answer is A. No, on second thoughts the answer is B.",
        "<answer>A</answer> I take that back: <answer>B</answer>",
        "<think>A?</think> A. <think>No, that was the first clip.</think> B",
        "Option C was my first guess, but I choose option B now.",
    ],
)
def test_what_is_said_last_counts(answer: str) -> None:
    assert read_letters(answer, OPTIONS) == {"B"}


def test_the_end_of_a_long_answer_is_read() -> None:
    answer = "So many words. " * LIMIT + "The answer is B."
    assert len(clean(answer)) <= LIMIT + 1
    assert read_letters(answer, OPTIONS) == {"B"}


@pytest.mark.parametrize("longer", ["joy mixed with fear", "quiet joy"])
def test_a_label_within_a_longer_one_is_not_named(longer: str) -> None:
    labels = ["joy", longer, "fear"]
    answer = f"What this person feels is {longer}, I think."
    assert read_set(answer, labels) == {longer}
    assert read_label(answer, labels) == longer


def test_an_answer_that_names_several_labels_has_none() -> None:
    assert read_label("It may be joy, it may be fear.", ["joy", "fear"]) is None
    assert read_label("It is not joy, it is fear.", ["joy", "fear"]) == "fear"


def test_letters_that_are_no_options_are_not_chosen() -> None:
    assert read_letters("(E) bored", OPTIONS) == frozenset()


@pytest.mark.parametrize(
    ("answer", "label"),
    [
        ("The speaker is angry.", "anger"),
        ("joyful", "joy"),
        ("Surprised", "surprise"),
        ("Sad.", "sadness"),
        ("He is furious rather than sad.", "anger"),
        ("She feels grief, no anger at all", "sadness"),
        ("neutral", "neutral"),
        ("not angry", None),
        ("angry and joyful", None),
        ("calm", None),
        ("a table", None),
        ("", None),
    ],
)
def test_the_wheel_reads_other_words_for_a_label_if_it_is_asked_to(answer: str, label: str | None) -> None:
    meld = ["anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise"]
    assert read_label(answer, meld, by_wheel=True) == label
    assert read_label(answer, meld) == (label if label == answer else None)


def test_a_word_that_two_labels_may_stand_for_stands_for_none() -> None:
    assert read_label("sorrowful", ["sad", "unhappy", "angry"], by_wheel=True) is None
    assert read_label("sadly", ["sad", "unhappy", "angry"], by_wheel=True) == "sad"
