"""Reading of facial action units from free answers: `AU6, AU12`, `AU 6+12`, `action units 6 and 12`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from affectgpt.answers.assertion import judge_spans
from affectgpt.answers.labels import is_nothing, read_set
from affectgpt.answers.plain import normalise
from affectgpt.answers.statement import answer_text

_NUMBER = r"0{0,2}\d{1,2}(?!\d|\.\d)"
_UNITS = re.compile(
    rf"(?i)(?<![A-Za-z])(?:aus\b|action units\b|au|action unit)[\s_:-]{{0,2}}{_NUMBER}"
    rf"(?:\s?\+\s?(?:au)?{_NUMBER}|(?<=[0-9])(?:\s?[,/&、]\s?|,?\s(?:and|or)\s|和){_NUMBER}(?!\s?[%A-Za-z]))*"
)
_SINGLE = re.compile(rf"(?i)(?<![A-Za-z])(?:au|action unit)[\s_:-]{{0,2}}{_NUMBER}(?:\s?[+&]\s?(?:au)?{_NUMBER})*")
_PLURAL = re.compile(r"(?i)(?:aus|action units)\b")


_LABEL = re.compile(r"(?i)au[\s_-]?0{0,2}(\d{1,2})")


def read_members(answer: object, labels: Sequence[str]) -> frozenset[str] | None:
    """Return the labels of a closed set that an answer names; action units by number, however they are written.

    Args:
        answer: a text, or a list of texts.
        labels: the closed set. If all are action units (`AU6`, `au_06`), the answer is read as such.

    Returns:
        None if the answer neither names a label nor says that there are none.
    """
    if isinstance(answer, list):
        if not answer:
            return frozenset()
        answer = "\n".join(map(str, answer))
    numbers = [_LABEL.fullmatch(normalise(label)) for label in labels]
    if not labels or not all(numbers):
        return read_set(answer, labels)
    units = read_units(answer)
    if not units:
        return units
    named = [label for label, number in zip(labels, numbers, strict=True) if number and f"AU{int(number[1])}" in units]
    return frozenset(named) or None


def read_units(answer: object) -> frozenset[str] | None:
    """Return the facial action units that an answer names and does not deny, as `AU12`.

    None if it neither names any nor says `none`. `AU6+12` and `AUs 6, 12` name two.
    """
    text = answer_text(answer)
    spans: list[tuple[int, int, str]] = []
    at = 0
    while match := _UNITS.search(text, at):
        if not _PLURAL.match(match[0]):
            match = _SINGLE.match(text, match.start()) or match
        spans.append((match.start(), match.end(), match[0]))
        at = match.end()
    judged = judge_spans(text, [(start, end) for start, end, _ in spans]) if spans else []
    units = frozenset(
        f"AU{int(number)}"
        for (_, _, written), judgement in zip(spans, judged, strict=True)
        if judgement.holds
        for number in re.findall(r"\d+", written)
    )
    return units if units or is_nothing(text) else None
