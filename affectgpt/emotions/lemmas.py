"""English words as the wheel's table may write them: simplemma undoes inflection, rules undo -ly, -ness and -ful."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import simplemma

_LONGEST = 40
"""Longest English word in characters; anything longer is left as it is."""
_QUOTES = str.maketrans({"’": "'", "‘": "'", "ʼ": "'", "_": " ", "‐": "-", "‑": "-"})
_ENDINGS = (
    ("iness", "y"),
    ("ness", ""),
    ("ily", "y"),
    ("ically", "ic"),
    ("ly", ""),
    ("ly", "le"),
    ("ful", ""),
    ("ing", ""),
    ("ed", ""),
)


def word_set(text: str) -> frozenset[str]:
    """Return the set of words of a text."""
    return frozenset(text.split())


def tidy(word: str) -> str:
    """Normalise a label for comparison: lower case, single spaces, straight apostrophes, no punctuation around it.

    >>> tidy(" “Lack_of  Interest” ")
    'lack of interest'
    """
    word = unicodedata.normalize("NFKC", word).translate(_QUOTES).casefold()
    return " ".join(word.split()).strip(" .,;:!?\"'`“”«»()[]{}<>*#-–—")


def lemma(word: str) -> str:
    """Return a tidy word without its inflection; a phrase, or anything that is no word, stays as it is.

    >>> lemma("angrier"), lemma("at ease")
    ('angry', 'at ease')
    """
    return word if not word or not word.isalpha() or len(word) > _LONGEST else simplemma.lemmatize(word, lang="en")


@lru_cache(maxsize=1 << 16)
def base_forms(word: str) -> tuple[str, ...]:
    """Return what a tidy word may be inflected or derived from, likeliest first, itself included. Some are no words.

    >>> base_forms("angrily")[:2]
    ('angrily', 'angry')
    """
    return tuple(dict.fromkeys(_forms(word)))


def _forms(word: str) -> Iterator[str]:
    yield word
    if "-" in word:
        yield word.replace("-", " ")
        yield word.replace("-", "")
    yield lemma(word)
    for ending, instead in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) > 2:
            yield word.removesuffix(ending) + instead
