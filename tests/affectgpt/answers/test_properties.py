"""Properties of every answer: the label reads as itself, a denied or mentioned one never counts, nothing raises."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affectgpt.answers.judge import is_right
from affectgpt.answers.reading import (
    gives_up,
    normalise,
    read_label,
    read_letters,
    read_members,
    read_number,
    read_options,
    read_set,
    read_units,
)
from affectgpt.emotions.matcher import VocabularyMatcher
from tests.support.limits import cpu_seconds

quick = settings(deadline=None, derandomize=True, max_examples=100)

WORDS = [
    "happy", "very happy", "sad", "colère", "Überraschung", "Spaß", "KIZGIN", "kızgın", "İyi", "ﬁne", "愤怒（生气）",
    "高兴", "悲しみ", "행복", "เศร้า", "радость", "χαρά", "weakly-positive", "lack_of_interest", "-1", "+1", "0",
    "ＪＯＹ", "l'amour", "don’t know", "not sure", "ångest", "joie de vivre", "N/A", "neutral (calm)", "C++", "فرح",
    "שמחה", "ख़ुशी", "😀", "A1",
]  # fmt: skip
labels = st.sampled_from(WORDS)
FORMS = ("NFC", "NFD", "NFKC", "NFKD")


def full_width(text: str) -> str:
    return "".join(chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text)


unicode_forms = st.sampled_from(
    [*(lambda text, form=form: unicodedata.normalize(form, text) for form in FORMS), full_width]
)
WRAPS = (
    "{}", " {}\n", "**{}**", "*{}*", '"{}"', "“{}”", "`{}`", "「{}」", "{}.", "{}。", "The answer is {}.",
    "Answer: {}", "**Answer:** {}", "答案：{}", "<answer>{}</answer>", "<think>one or the other?</think>{}",
    "\\boxed{{{}}}", "- {}", "1. {}", "```\n{}\n```", "# {}", "<p>{}</p>", "Final answer: **{}**",
)  # fmt: skip


@quick
@given(labels, st.lists(labels, max_size=6), unicode_forms, st.sampled_from(WRAPS))
def test_a_label_reads_as_itself_in_every_form_and_wrapping(label, others, form, wrap):
    closed = list(dict.fromkeys([*(other for other in others if normalise(other) != normalise(label)), label]))
    answer = wrap.format(form(label))
    assert read_label(answer, closed) == label
    assert read_label(answer, [form(other) for other in closed]) == form(label)
    assert is_right(answer, label, options=closed)


@quick
@given(labels, unicode_forms)
def test_normalising_twice_changes_nothing_and_forms_agree(label, form):
    assert normalise(normalise(label)) == normalise(label) == normalise(form(label))


LETTERS = {"A": "happy", "B": "sad", "C": "angry", "D": "neutral"}
DENIALS = (
    "not {}", "Definitely not {}.", "It is not {}.", "It isn't {}", "It isn’t {}.", "It cannot be {}: he frowns.",
    "neither {}", "Never {}!", "I would rule out {}.", "anything but {}", "It is unlikely to be {}.", "{} is wrong",
    "{} is incorrect.", "{} can be ruled out", "{} does not fit", "{} isn't it", "I doubt it is {}.", "far from {}",
    "I don't think that it is {}", "The answer is not {}.", "It’s by no means {}", "{} is out of the question.",
    "everything except {}", "The opposite of {}", "There is no sign of {}", "{}: wrong", "nicht {}", "不是{}",
    "绝对不是{}。", "{}是错的", "{} would be right if he smiled.", "He fails to look {}", "{} seems very unlikely",
    "hardly {}",
)  # fmt: skip
MENTIONS = (
    "{}?", "Is it {}?", "Could it be {}?", 'The question asks whether "{}"', "The question asks if it is {}.",
    "You ask whether it is {}.", "The options include {}.", "The options are {} and more.",
    "If it were {}, he would cry.", "I was asked about {}", 'The word "{}" is in the question.',
    'He says "I think {} is right".', "是否{}", "它是{}吗？", "{} is one of the options.", "Some would say {}.",
    "It depends on whether it is {}", "At first I thought {}.",
)  # fmt: skip
STATEMENTS = ("The answer is {}.", "It is {}.", "So, {}.", "选{}", "**{}**", "My choice: {}")
unasserted = st.sampled_from(DENIALS + MENTIONS)


@quick
@given(unasserted, st.sampled_from(list(LETTERS)), st.sampled_from(["{0}", "({0})", "option {0}", "{1}", "{0}. {1}"]))
def test_what_is_denied_or_mentioned_never_counts(pattern, key, written):
    answer = pattern.format(written.format(key, LETTERS[key]))
    assert read_letters(answer, LETTERS) == frozenset()
    question = "Which?\n" + "\n".join(f"{letter}. {text}" for letter, text in LETTERS.items())
    assert not is_right(answer, key, question)
    if written == "{1}":
        assert read_label(answer, LETTERS.values()) is None
        assert not read_set(answer, LETTERS.values())


@quick
@given(unasserted, st.permutations(list(LETTERS)), st.sampled_from(STATEMENTS))
def test_a_statement_after_a_denial_counts(pattern, keys, statement):
    answer = f"{pattern.format(keys[0])}\n{statement.format(keys[1])}"
    assert read_letters(answer, LETTERS) == {keys[1]}


@quick
@given(st.sampled_from(["think", "thinking", "Thought", "REASONING", "reflection"]), st.sampled_from(list(LETTERS)))
def test_a_thought_without_an_end_is_no_answer(name, key):
    for opening in (f"<{name}>", f"<{name} depth='2'>", f"＜{name}＞", f"&lt;{name}&gt;", f"[{name}]", f"< {name} >"):
        for thought in (key, f"The answer is {key}.", f"<answer>{key}</answer>", f"{LETTERS[key]}"):
            answer = opening + thought
            assert read_letters(answer, LETTERS) == frozenset(), answer
            assert read_label(answer, LETTERS.values()) is None
            assert gives_up(answer)


ALPHABET = st.one_of(
    st.characters(),
    st.sampled_from("ABCDabcd123.,:;?!()[]{}<>\"'*_-+/\n \u0000\ud800\udfff不是没无，。、（）＜＞"),
)
PIECES = [
    "not ", "B", "(B)", "sad", "<think>", "</think>", "<answer>", "The answer is ", "is wrong", "或", "不是", "高兴",
    "AU12", "0.5", "{", "}", '"answer": ', "\\boxed{", "&lt;", "if ", "options: ", "and ", ", ",
]  # fmt: skip
SOUP = st.lists(st.one_of(st.sampled_from(PIECES), st.text(ALPHABET, max_size=5)), max_size=20).map("".join)


@quick
@given(SOUP)
def test_reading_never_raises_and_says_the_same_twice(text):
    for read in (
        lambda answer: read_letters(answer, LETTERS),
        lambda answer: read_label(answer, ["happy", "sad", "高兴"]),
        lambda answer: read_label(answer, ["joy", "sadness"], by_wheel=True),
        lambda answer: read_set(answer, ["happy", "sad", "高兴"]),
        lambda answer: read_members(answer, ["AU1", "AU12"]),
        read_number,
        read_units,
        read_options,
        gives_up,
        lambda answer: VocabularyMatcher().extract([answer]),
    ):
        assert read(text) == read(text)
    label = read_label(text, ["happy", "sad", "高兴"])
    assert label is None or read_label(label, ["happy", "sad", "高兴"]) == label


@quick
@given(st.lists(st.text(ALPHABET, min_size=1, max_size=8), min_size=1, max_size=5), SOUP)
def test_any_closed_set_can_be_read_with(closed, text):
    read_label(text, closed)
    read_set(text, closed)
    read_letters(text, dict(zip("ABCDE", closed, strict=False)))
    normalise(closed[0])


HEAVY = [
    "<think>", "<think ", "</think>", "<answer>", "[", "<", "&lt;", "&amp;", "not ", "not B, ", "B ", "(A", '"B" ',
    '"', "?", "B? ", "sad ", "sad, ", "sad and ", "if ", "options ", "options: ", "the answer is ", "the answer is B ",
    "不", "不是高兴", "高兴、", "答案是", "AU1+", "AU1, ", "AUs 1 and ", "0.", "0.5 ", "1,", "-", "- ", "{", '{"a":',
    "\\boxed{", "a ", "I ", "\n", "\n\n", "would ", "B would ", "is ", "B is the ", "*", "\u0301", "\ud800", "\u0000",
    "ｓａｄ", "on a scale of ", "minus ", "n't ", "'", "A. ", "1. ", "|", "—", "[THINK]", "<|channel|>", "scale 1 to ",
    "sad is ", "sad would ",
]  # fmt: skip


@pytest.mark.parametrize("piece", HEAVY)
def test_a_hundred_thousand_characters_are_read_in_linear_time(piece):
    text = piece * (100_000 // len(piece))
    with cpu_seconds(10):
        read_letters(text, LETTERS)
        read_label(text, ["happy", "sad", "高兴"], by_wheel=True)
        read_set(text, ["happy", "sad", "高兴"])
        read_members(text, ["AU1", "AU12"])
        read_number(text)
        gives_up(text)
        read_options(text)
