"""Closed set of labels, compiled so that they are found in answers however these are written."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from affectgpt.answers.assertion import UNSPACED_SCRIPTS
from affectgpt.answers.plain import fold, normalise, unify
from affectgpt.answers.statement import Named

_LEAD = re.compile(
    r"(?i)\s*(?:[-*•#>]+\s+|\d{1,2}[.)]\s+)?(?:(?:so|therefore|thus|hence),? )?(?:the |my )?"
    r"(?:(?:correct|right|best|final) )?"
    r"(?:(?:answer|option|choice|label|emotion)(?:\s*(?:is|:|=))+|答案(?:\s*[是为:])+|\\boxed\s?\{)[\s:]*"
)
_GAP = re.compile(r"(?<=[^\W_])-+(?=[^\W_])|[_\s]+")


class LabelIndex:
    """Closed set of labels, ready to be found in answers."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self._exact = {unify(label).strip(): label for label in labels}
        self._same: dict[str, list[str]] = {}
        for label in labels:
            self._same.setdefault(normalise(label), []).append(label)
        self._pattern = _pattern(labels)

    def exact(self, text: str) -> str | None:
        """Return the label that a text is, as it is written or, if no other label is like it, in another way."""
        text = text.strip()
        if label := self._exact.get(text):
            return label
        for part in (text, _LEAD.sub("", text, count=1)):
            same = self._same.get(normalise(part), ())
            if len(same) == 1:
                return same[0]
        return None

    def named(self, text: str) -> list[Named]:
        """Return the labels that a text names, asserted or not, in order; of overlapping ones, the longest."""
        if self._pattern is None:
            return []
        matches = ((match, self._label_of(match[0])) for match in self._pattern.finditer(text))
        return [Named(match.start(), match.end(), label) for match, label in matches if label is not None]

    def _label_of(self, text: str) -> str | None:
        """Return the label that is written so; None if several labels may be meant."""
        same = self._same.get(normalise(text), [])
        return same[0] if len(same) == 1 else self._exact.get(text)


def _pattern(labels: Iterable[str]) -> re.Pattern[str] | None:
    spellings = {spelling for label in labels for spelling in _spellings(unify(label).strip())}
    patterns = [_bounded(spelling) for spelling in sorted(spellings, key=len, reverse=True) if spelling]
    return re.compile("|".join(patterns), re.IGNORECASE) if patterns else None


def _spellings(label: str) -> set[str]:
    """Return a label in the capitalisations that a pattern without regard to case does not take for the same."""
    return {label} if label.isascii() else {label, fold(label), label.casefold(), label.upper(), label.lower()}


def _bounded(label: str) -> str:
    """Return the pattern of a label that is no part of a longer word, or of a number."""
    unspaced = re.compile(f"[{UNSPACED_SCRIPTS}]")
    gap = r"[\s_-]*" if unspaced.search(label) else r"[\s_-]+"
    inner = gap.join(map(re.escape, filter(None, _GAP.split(label))))
    if len(label) == 1 and unspaced.match(label):
        return rf"(?:(?<![{UNSPACED_SCRIPTS}])|(?<=[很是为太好])){inner}(?![{UNSPACED_SCRIPTS}])"
    before = after = ""
    if not unspaced.match(label[0]):
        before = rf"(?<![^\W_{UNSPACED_SCRIPTS}])" if label[0].isalnum() else r"(?<![\w])" if label[0] in "+-" else ""
        before += r"(?<![-+.,]\b)(?<![-+])" if label[0].isdecimal() else ""
    if not unspaced.match(label[-1]):
        after = rf"(?![^\W_{UNSPACED_SCRIPTS}]|[\u0300-\u036f\u0900-\u0dff])" if label[-1].isalnum() else ""
        after += r"(?![.,]?\d)" if label[-1].isdecimal() else ""
    return before + inner + after


@lru_cache(maxsize=256)
def label_index(labels: tuple[str, ...]) -> LabelIndex:
    """Return the index of a closed set; it is made once."""
    return LabelIndex(labels)
