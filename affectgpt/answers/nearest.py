"""Reading of emotion words as the labels of a closed set that lie nearest to them on the project's wheel."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from operator import attrgetter

from affectgpt.answers.assertion import asserted
from affectgpt.answers.label_index import LabelIndex
from affectgpt.emotions.matcher import mentions
from affectgpt.emotions.taxonomy import find


def nearest_label(text: str, labels: Sequence[str]) -> str | None:
    """Return the one label that all emotion words of a text stand for; None if one stands for none, or two differ.

    >>> nearest_label("The speaker is angry.", ["anger", "joy"]), nearest_label("angry, joyful", ["anger", "joy"])
    ('anger', None)
    """
    words = list(dict.fromkeys(mentions(text)))
    words_asserted = {one.value for one, _ in asserted(text, LabelIndex(words).named(text))}
    found = {_label_of(word, tuple(labels)) for word in words_asserted}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=1 << 14)
def _label_of(word: str, labels: tuple[str, ...]) -> str | None:
    """Return the only label of a word's family; if no label is of it, the only one of its fine group."""
    entry = find(word)
    if entry is None:
        return None
    entries = [(label, found) for label in labels if (found := find(label))]
    for near in (attrgetter("name"), attrgetter("fine")):
        same = [label for label, other in entries if near(other) == near(entry)]
        if same:
            return same[0] if len(same) == 1 else None
    return None
