"""Reading of facial action units from free answers: `AU6, AU12`, `AU 6+12`, `action units 6 and 12`."""

from __future__ import annotations

import re

from affectgpt.answers.assertion import judge_spans
from affectgpt.answers.labels import NOTHING
from affectgpt.answers.plain import normalise
from affectgpt.answers.statement import answer_text

_NUMBER = r"0{0,2}\d{1,2}(?!\d|\.\d)"
_UNITS = re.compile(
    rf"(?i)(?<![A-Za-z0-9])(?:aus\b|action units\b|au|action unit)[\s_:-]{{0,2}}{_NUMBER}"
    rf"(?:\s?\+\s?(?:au)?{_NUMBER}|(?<=[0-9])(?:\s?[,/&、]\s?|,?\s(?:and|or)\s|和){_NUMBER}(?!\s?[%A-Za-z]))*"
)
_SINGLE = re.compile(rf"(?i)(?<![A-Za-z0-9])(?:au|action unit)[\s_:-]{{0,2}}{_NUMBER}(?:\s?\+\s?(?:au)?{_NUMBER})*")
_PLURAL = re.compile(r"(?i)(?:aus|action units)\b")


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
    return units if units or normalise(text) in NOTHING else None
