"""English words as the wheel's table may write them: inflection undone by simplemma, -ly, -ness and -ful by rule."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import simplemma

_LONGEST = 40
"""Characters past which nothing is an English word."""
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
    """The words of a text."""
    return frozenset(text.split())


def tidy(word: str) -> str:
    """A label as it is compared: lower case, one space between words, straight apostrophes, no marks around it.

    >>> tidy(" “Lack_of  Interest” ")
    'lack of interest'
    """
    word = unicodedata.normalize("NFKC", word).translate(_QUOTES).casefold()
    return " ".join(word.split()).strip(" .,;:!?\"'`“”«»()[]{}<>*#-–—")


def lemma(word: str) -> str:
    """A tidy word without its inflection; what is no single word stays as it is.

    >>> lemma("angrier"), lemma("at ease")
    ('angry', 'at ease')
    """
    return word if not word or not word.isalpha() or len(word) > _LONGEST else simplemma.lemmatize(word, lang="en")


@lru_cache(maxsize=1 << 16)
def base_forms(word: str) -> tuple[str, ...]:
    """What a tidy word may be a form of, likeliest first, itself included. Candidates, some of which are no word.

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
