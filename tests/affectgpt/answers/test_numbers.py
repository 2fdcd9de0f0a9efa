"""Numbers in free answers: those that are sure are read, all others are not."""

from __future__ import annotations

import math

import pytest

from affectgpt.answers.reading import read_number

READ = {
    "0.8": 0.8, "The valence is 0.1.": 0.1, "0,5": 0.5, "−0.3": -0.3, "－1.2": -1.2, "2,0": 2.0, "２": 2.0,
    "１，５": 1.5, "+0.5": 0.5, ".5": 0.5, "5.": 5.0, "1e-3": 0.001, "about 0.3": 0.3, "~0.3": 0.3,
    "not 0.5 but 0.6": 0.6, "minus 0.3": -0.3, "on a scale from -1 to 1, 0.4": 0.4, "0.4 (scale: -1 to 1)": 0.4,
    '{"valence": 0.1}': 0.1, "The answer is **0.25**.": 0.25, "<think>0.3</think>0.4": 0.4, "- 0.5": -0.5,
    "$0.5$": 0.5, "Answer: 0.5": 0.5, "\\boxed{0.5}": 0.5,
    "moins 0,2": -0.2, "negative 0.2": -0.2, "负0.2": -0.2, "≈ 0.3": 0.3, "效价为0.2": 0.2, "0.2分": 0.2, "0.2점": 0.2,
    "値は0.2です": 0.2, "Answer: - 0.2": -0.2, "the valence is - 0.2": -0.2,
}  # fmt: skip
UNREAD = (
    "", "1_0", "3/5", "between 0.2 and 0.4", "50%", "50 percent", "٠", "1,000", "1 000", "nan", "inf", "-Infinity",
    "1e999", "0.2-0.4", "0.2 to 0.4", "not 0.5", "0.5?", ">0.5", "at least 0.5", "0.5 out of 1", "3 of 5",
    "0.1 or 0.2", "1.2.3", "Valence: 0.3\nArousal: 0.5", "half", "<think>0.3", "0.3±0.1", "0x10", "1st", "AU12 0.3",
    "0.5/1", "0.5*2", "５０％", "I rate it 2 because 3 people smile", "positive", "0 . 5", "2024-01-01",
    "the valence is not 0.3", "12:30", "valence - 0.2", "—0.2", "--0.5", "+-0.5", "0.3/1", "他3岁",
)  # fmt: skip


@pytest.mark.parametrize(("answer", "number"), READ.items())
def test_a_number_that_is_sure_is_read(answer: str, number: float) -> None:
    assert read_number(answer) == pytest.approx(number)


@pytest.mark.parametrize("answer", UNREAD)
def test_a_number_that_is_not_sure_is_not_read(answer: str) -> None:
    assert read_number(answer) is None


def test_values_that_are_no_text() -> None:
    assert [read_number(value) for value in (0.5, 3, -1)] == [0.5, 3.0, -1.0]
    assert [read_number(value) for value in (True, None, math.nan, math.inf, 10**400, ["0.5"], {"a": 1})] == [None] * 7
