"""The scope of a negation in running English: `not angry or sad`, `without any joy`, `rather than anger`.

A negation reaches over the next few words, up to the end of the clause. After it has met an emotion, it continues only
to emotions joined to that one. Phrases that look like negations but are none (`not only`, `no doubt`,
`cannot hide his joy`) do not count.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from affectgpt.emotions.lemmas import word_set

_REACH = 6
_REACH_AFTER_EMOTION = 2
_LOOK_AHEAD = 12
_LISTED = 6
"""Most tokens of a list of emotions that is denied after it."""
_ENDS = frozenset(".;:!?()\n")
_BREAKS = word_set(
    "but however yet though although because since as while whereas when until except instead which who so"
)
_NEGATIONS = """
absence of, anything but, as opposed to, barely, cannot, cease to be, devoid of, doubt that, doubt whether, doubts that,
doubts whether, far from, free from, free of, hardly, i doubt, instead of, lack of, lack, lacks, lacking, lacked,
loss of, neither, never, no, no longer, nobody, none, nor, not, nothing, rather than, scarcely, unlike, we doubt,
without
"""
_NO_NEGATIONS = """
no doubt, no matter, no wonder, not just, not merely, not only, not simply, not to mention,
not without, nothing but, nothing short of, without a doubt, without any doubt, without doubt, not to say, beyond doubt,
beyond a doubt, beyond any doubt
"""
_HIDING = word_set("hide hiding conceal contain suppress help control mask deny disguise stop resist wait")
"""Verbs whose negation affirms the emotion: `cannot hide his joy`."""
_IS = frozenset({"is", "are", "was", "were"})
_GONE = frozenset({"absent", "gone", "lacking", "missing", "isn't", "nowhere"})
_SEEN = word_set("present evident visible shown there apparent detected obvious noticeable expressed")


@cache
def _by_first_word(phrases: str) -> dict[str, list[tuple[str, ...]]]:
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for phrase in phrases.split(","):
        words = tuple(phrase.split())
        by_first.setdefault(words[0], []).append(words)
    return {first: sorted(same, key=len, reverse=True) for first, same in by_first.items()}


def _length_at(phrases: str, tokens: Sequence[str], at: int) -> int:
    for words in _by_first_word(phrases).get(tokens[at], ()):
        if tuple(tokens[at : at + len(words)]) == words:
            return len(words)
    return 0


def emphasis_at(tokens: Sequence[str], at: int) -> int:
    """Return how many tokens from here on look like a negation and are none (`no doubt`); 0 for none."""
    return _length_at(_NO_NEGATIONS, tokens, at)


def negator_at(tokens: Sequence[str], at: int) -> int:
    """Return how many tokens from here on form a negation; 0 for none."""
    if tokens[at].endswith("n't"):
        return 1
    return 0 if emphasis_at(tokens, at) else _length_at(_NEGATIONS, tokens, at)


class Scope:
    """Cursor over tokens that knows whether a negation reaches the current one."""

    def __init__(self) -> None:
        self._left = 0
        """Number of words that the negation still reaches over."""
        self._met = False

    def step(self, tokens: Sequence[str], at: int) -> int:
        """Advance past a token that is no emotion, and return how many tokens were passed."""
        token = tokens[at]
        if passed := emphasis_at(tokens, at):
            return passed
        if passed := negator_at(tokens, at):
            self._left, self._met = _REACH, False
            return passed
        if (
            token in _ENDS
            or token in _BREAKS
            or token in _HIDING
            or (token == "and" and not self._met)
            or (token == "," and not self._continues(tokens, at))
        ):
            self._left = 0
        elif self._left and token != ",":
            self._left -= 1
        return 1

    def holds(self, tokens: Sequence[str], start: int, end: int) -> bool:
        """Advance past an emotion, tokens `start` to `end`, and tell whether it is negated."""
        negated = self._left > 0
        if negated:
            self._left, self._met = _REACH_AFTER_EMOTION, True
        return negated or bool(denial_after(tokens, end))

    def _continues(self, tokens: Sequence[str], at: int) -> bool:
        """Tell whether a comma stands within a negated list: `not angry, sad, or afraid`."""
        if not (self._left and self._met):
            return False
        for token in tokens[at + 1 : at + _LOOK_AHEAD]:
            if token in ("or", "nor"):
                return True
            if token in _ENDS or token in _BREAKS:
                return False
        return False


def denial_after(tokens: Sequence[str], end: int) -> int:
    """Return how many tokens after an emotion deny it: `anger is absent`, `sadness is not evident`; 0 if none do.

    Of `anger and fear are absent`, they are those up to `absent` for both.
    """
    at = end
    while at - end < _LISTED and tokens[at : at + 1] in (["and"], ["or"]):
        at += 2
    first, second, third = (*tokens[at : at + 3], "", "", "")[:3]
    if first in _IS and second in _GONE:
        return at + 2 - end
    if first in _IS and second == "not" and third in _SEEN:
        return at + 3 - end
    return at + 2 - end if first in ("isn't", "aren't", "wasn't") and second in _SEEN else 0
