"""Closed set of labels, compiled so that they are found in answers however these are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from affectgpt.answers.assertion import UNSPACED_SCRIPTS, Named
from affectgpt.answers.plain import fold, normalise, unify

_LEAD = re.compile(
    r"(?i)\s*(?:[-*•#>]+\s+|\d{1,2}[.)]\s+)?(?:(?:so|therefore|thus|hence),? )?(?:the |my )?"
    r"(?:(?:correct|right|best|final) )?"
    r"(?:(?:answer|option|choice|label|emotion)(?:\s*(?:is|:|=))+|答案(?:\s*[是为:])+|\\boxed\s?\{)[\s:]*"
)
_AROUND_LABEL = 100
"""Most characters around a label in an answer that is still compared as a whole."""
_GAP = re.compile(r"(?<=[^\W_])-+(?=[^\W_])|[_\s]+")


class LabelIndex:
    """Closed set of labels, ready to be found in answers."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = labels
        self._written = {label.strip(): label for label in labels}
        self._exact = _alone(_grouped(labels, lambda label: unify(label).strip()))
        self._same = _grouped(labels, normalise)
        self._spelt = _alone(self._same) | self._exact
        self._longest = max(map(len, self._same), default=0) + _AROUND_LABEL
        self._pattern = _pattern(labels)

    def exact(self, answer: object, text: str) -> str | None:
        """Return the label that an answer is: to the letter, else by its plain text, else if it is like no other."""
        text = text.strip()
        written = self._written.get(answer.strip()) if isinstance(answer, str) else None
        if label := written or self._exact.get(text):
            return label
        if len(text) > self._longest:
            return None
        return self._spelt_so(text) or self._spelt_so(_LEAD.sub("", text, count=1))

    def _spelt_so(self, text: str) -> str | None:
        same = self._same.get(normalise(text), ())
        return same[0] if len(same) == 1 else None

    def named(self, text: str) -> list[Named]:
        """Return the labels that a text names, asserted or not, in order; of overlapping ones, the longest.

        Where a spelling may stand for several labels, it names none.
        """
        if self._pattern is None:
            return []
        named = []
        for match in self._pattern.finditer(text):
            spelling = match[0]
            label = self._spelt.get(spelling) or self._spelt_so(spelling)
            if label is not None:
                named.append(Named(match.start(), match.end(), label))
        return named


def _grouped(labels: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(key(label), []).append(label)
    return groups


def _alone(groups: dict[str, list[str]]) -> dict[str, str]:
    return {key: labels[0] for key, labels in groups.items() if len(labels) == 1}


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
