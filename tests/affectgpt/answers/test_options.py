"""Options in the ways in which questions list them, and answers by letter, digit and text (ai-twinkle/Eval#156)."""

from __future__ import annotations

import pytest

from affectgpt.answers.judge import gold_choice, is_right, read_choice
from affectgpt.answers.reading import read_letters, read_options

TWO = {"A": "happy", "B": "sad"}
LISTS = {
    "A．高兴\nB．悲伤\nC．愤怒": "高兴|悲伤|愤怒",
    "A.高兴 B.悲伤": "高兴|悲伤",
    "请选择：A、高兴 B、悲伤 C、愤怒": "高兴|悲伤|愤怒",
    "（A）高兴（B）悲伤": "高兴|悲伤",
    "A：高兴；B：悲伤。": "高兴|悲伤",
    "ａ．高兴 ｂ．悲伤": "高兴|悲伤",
    "①高兴 ②悲伤": "高兴|悲伤",
    "❶ happy ❷ sad": "happy|sad",
    "Ⓐ happy Ⓑ sad": "happy|sad",
    "1、高兴 2、悲伤": "高兴|悲伤",
    "Which?\n(a) happy\n(b) sad": "happy|sad",
    "a) happy, b) sad, c) calm": "happy|sad|calm",
    "1. happy\n2. sad": "happy|sad",
    "(1) happy (2) sad": "happy|sad",
    "A - happy\nB - sad": "happy|sad",
    "A – happy, B – sad": "happy|sad",
    "**A.** happy\n**B.** sad": "happy|sad",
    "| A | happy |\n| B | sad |": "happy|sad",
    "Options: A.happy, B.sad": "happy|sad",
    "A. happy\r\nB. sad\r\nAnswer with a letter.": "happy|sad",
    "(A)happy(B)sad": "happy|sad",
    "A.happy/B.sad": "happy|sad",
    "【A】高兴【B】悲伤": "高兴|悲伤",
    "{A} happy {B} sad": "happy|sad",
    "A.\nhappy\nB.\nsad": "happy|sad",
    "<b>A.</b> happy<br><b>B.</b> sad": "happy|sad",
    '["A. happy", "B. sad"]': "happy|sad",
    '{"A": "happy", "B": "sad"}': "happy|sad",
    "A. happy B. sad\nOnly answer with A. or B.": "happy|sad",
    "0. happy\n1. sad\n2. angry": "happy|sad|angry",
    "(0) happy (1) sad": "happy|sad",
    "Answer with A. or B.": "",
    "I. happy\nII. sad": "",
    "What e.g. is felt?": "",
    "Rate it from 1. to 5. please": "",
    "Is he happy, b. or sad?": "",
}


@pytest.mark.parametrize(("question", "options"), LISTS.items())
def test_options_are_read_in_many_ways_of_writing(question: str, options: str) -> None:
    listed = read_options(question)
    assert "|".join(listed.values()) == options
    for key, text in listed.items():
        for answer in (key, text, f"({key})", f"{key}. {text}", f"The answer is {key}.", f"答案是{key}。", key.lower()):
            assert read_letters(answer, listed) == {key}, answer
            assert is_right(answer, f"{key}. {text}", question)
            assert gold_choice(f"{key}、{text}", question) == gold_choice(key, question)


def test_a_list_without_texts_makes_no_answer_right() -> None:
    """Options whose texts cannot be found would all be equal."""
    question = "Which?\nA.\n\nB.\n"
    assert read_options(question) == {}
    assert not is_right("B", "A", question)
    assert not is_right("B", "A", "Which?\nA.\nhappy\nB.\nsad")


DIGITS = {
    "2": "2", "2.": "2", "(2)": "2", "②": "2", "Option 2": "2", "The answer is 2.": "2", "2. sad": "2", "选2": "2",
    "not 2": "", "2 people smile": "", "12": "", "I see 2 men; he is happy": "1", "2?": "", "2 and 3": "23",
}  # fmt: skip


@pytest.mark.parametrize(("answer", "keys"), DIGITS.items())
def test_digits_choose_where_options_are_numbered(answer: str, keys: str) -> None:
    assert read_letters(answer, read_options("1. happy\n2. sad\n3. angry")) == frozenset(keys)


def test_numbered_instructions_are_no_options() -> None:
    question = "1. Look at the face. 2. Name the emotion."
    assert is_right("happy", "happy", question, ["happy", "sad"])
    assert not is_right("2", "happy", question, ["happy", "sad"])


@pytest.mark.parametrize(
    ("answer", "key"),
    [
        ("\\boxed{B}", "B"),
        ("The answer is b.", "B"),
        ("B\nBecause he frowns.", "B"),
        ("D，因为他皱眉", "D"),
        ('{"answer": "B", "why": "A is wrong"}', "B"),
        ("```json\n{'answer': 'B'}\n```", "B"),
        ("Choice (b)", "B"),
        ("B)", "B"),
        ("**(B)**", "B"),
        ("- B", "B"),
        ("Ｂ", "B"),
        ("b)", "B"),
    ],
)
def test_keys_are_read_in_many_ways_of_writing(answer: str, key: str) -> None:
    options = {"A": "happy", "B": "sad", "C": "angry", "D": "neutral"}
    assert read_letters(answer, options) == {key}


def test_letters_in_words_choose_nothing() -> None:
    for answer in ("A smile is what I see", "I see a man", "B-roll", "vitamin-B", "a man in a plan", "Z", "(E) bored"):
        assert read_letters(answer, TWO) == frozenset(), answer


def test_options_that_say_no_are_options() -> None:
    options = {"A": "not sad", "B": "sad", "C": "not sure"}
    assert read_letters("not sad", options) == {"A"}
    assert read_letters("The person is not sad.", options) == {"A"}
    assert read_letters("A. not sad", options) == {"A"}
    assert read_letters("(C) not sure", options) == {"C"}


def test_a_question_without_options_is_compared_with_the_closed_set() -> None:
    assert read_choice("他很高兴", "他感觉如何？", ["高兴", "悲伤"]) == "高兴"


@pytest.mark.parametrize(
    "answer",
    ["A (10%), B (90%)", "A, maybe B", "A and maybe B", "A ... no wait, B", "A or B", "The man (A) is sad", "B > A"],
)
def test_an_answer_that_cannot_decide_between_options_chooses_none(answer: str) -> None:
    assert len(read_letters(answer, TWO)) != 1
    assert not is_right(answer, "A", "Which? A. happy B. sad")


@pytest.mark.parametrize("answer", ["Person A is sad.", "Mr. A looks sad", "Speaker A: sad", "[A] no [B] yes", "A=no"])
def test_letters_that_name_somebody_or_are_crossed_out_are_not_chosen(answer: str) -> None:
    assert "A" not in read_letters(answer, TWO)
