"""The answer in a response: thoughts, also those that were cut off, are none (lm-evaluation-harness#3382)."""

from __future__ import annotations

import pytest

from affectgpt.answers.reading import read_label, read_letters
from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.emotions.thoughts import LONGEST, answer_of, uncut_answer
from affectgpt.emotions.written import WrittenLabels
from tests.support.limits import cpu_seconds

CUT_OFF = (
    "<think>{}", "<THINK>{}", "<thinking>{}", "<thought>{}", "<reasoning>{}", "<reflection>{}",
    '<think effort="high">{}', "＜think＞{}", "&lt;think&gt;{}", "[THINK]{}", "◁think▷{}", "<|begin_of_thought|>{}",
    "<|START_THINKING|>{}", "<seed:think>{}", "<|channel|>analysis<|message|>{}", "<|channel>thought\n{}",
    "<unused94>thought\n{}", "< think >{}", "<think>a</think><think>{}", "<think><reflection>a</reflection>{}",
    "<think>\n\n{}", "<think>{} <answer>{}</answer>", "<answer><think>{}", "<think {}",
    "<think>{}</think", "<think>{}</thin", "<|thinking|>{}", "<internal_monologue>{}",
)  # fmt: skip
ENDED = {
    "<think>angry?</think>sad": "sad",
    "<thinking>He may be angry.</thinking>sad": "sad",
    "<Thought>angry</THOUGHT>\n\nsad": "sad",
    "angry, I think</think>sad": "sad",
    "angry</think>angry</think>sad": "sad",
    "<think>a <think>b</think> sad": "sad",
    "<think>a<reflection>angry</reflection>b</think>sad": "sad",
    "<think>angry</thinking>sad": "sad",
    "<think>angry</think>sad<think>angry, or": "sad",
    "sad <think>it could be angry</think>": "sad",
    "<think></think>sad": "sad",
    "<|thinking|>angry<|/thinking|>sad": "sad",
    "<internal_monologue>angry</internal_monologue>sad": "sad",
    "<ThInK>angry</tHiNk>sad": "sad",
    "<think/>sad": "sad",
    "[THINK]angry[/THINK]sad": "sad",
    "◁think▷angry◁/think▷sad": "sad",
    "<|channel|>analysis<|message|>angry<|end|><|start|>assistant<|channel|>final<|message|>sad<|return|>": "sad",
    "<|channel>thought\nangry<channel|>sad": "sad",
    "<unused94>thought\nangry<unused95>sad": "sad",
    "<think>angry</think><answer>sad</answer>": "sad",
    "<answer>angry</answer> no, <ANSWER>sad</Answer> as said": "sad",
    "<answer><think>angry</think>sad</answer>": "sad",
    "<final_answer>sad</final_answer>": "sad",
    "<answer type='label'>sad": "sad",
    "&lt;answer&gt;sad&lt;/answer&gt;": "sad",
    "angry <|begin_of_box|>sad<|end_of_box|>": "sad",
}
LABELS = ["happy", "sad", "angry"]


@pytest.mark.parametrize("pattern", CUT_OFF)
def test_a_thought_that_was_cut_off_is_no_answer(pattern: str) -> None:
    for said in ("sad", "The answer is B. sad", "She may be sad or"):
        response = pattern.replace("{}", said)
        assert not uncut_answer(response).strip()
        assert read_label(response, LABELS) is None
        assert read_letters(response, dict(zip("ABC", LABELS, strict=True))) == frozenset()
        assert VocabularyMatcher().extract([response]) == [[]]
        assert WrittenLabels().extract([response]) == [[]]


@pytest.mark.parametrize(("response", "label"), ENDED.items())
def test_what_stands_outside_thoughts_is_the_answer(response: str, label: str) -> None:
    assert read_label(response, LABELS) == label
    assert VocabularyMatcher().extract([response]) == [[label]]


@pytest.mark.parametrize("text", ["sad", "<b>sad</b>", "a < b", "[sad, angry]", "<thoughtful>sad", "I think sad", ""])
def test_a_response_without_thoughts_stays_as_it_is(text: str) -> None:
    assert uncut_answer(text) == text


def test_extractors_read_the_beginning_of_a_long_answer() -> None:
    assert answer_of("<think>x</think>" + "a" * (LONGEST + 5)) == "a" * LONGEST


@pytest.mark.parametrize(
    "piece", ["<think>", "<think ", "</think>", "<think></think>", "<answer>", "<", "&lt;", "[THINK]"]
)
def test_a_million_characters_are_cut_in_one_pass(piece: str) -> None:
    with cpu_seconds(20):  # it takes half a second
        uncut_answer(piece * (1_000_000 // len(piece)))
