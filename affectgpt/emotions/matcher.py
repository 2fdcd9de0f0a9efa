"""The vocabulary matcher: finds emotion words in an answer by the wheel's table, quickly and deterministically.

There are two ways of reading. In a list (`The character's emotional state is happy, slightly tense.`) every item is a
label, even one that the wheel does not know, so that it is counted; items that are negated, or known to name no
emotion, are left out. In running text only the wheel's words are labels, and words that often mean something else count
only where the text says that somebody feels so. Hedges (`possibly sad`) leave a word standing, negations (`not angry`,
`without any sadness`) do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache

from affectgpt.emotions.lemmas import base_forms, tidy, word_set
from affectgpt.emotions.negation import Scope, denial_after, emphasis_at, negator_at
from affectgpt.emotions.taxonomy import find, group_of, wheel
from affectgpt.emotions.written import Listing, answer_of, find_list, label_of, tree_emotions

_TAG = re.compile(r"<[^<>]{0,200}>")
_TOKEN = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*|[.,;:!?()\n]")
_AND = re.compile(r" (?:and/or|and|or|&) ")
_FEELING = word_set(
    """
    am appear appearing appears are be became become becomes been being emotion emotions express expressed expresses
    expressing feel feeling feelings feels felt is look looked looking looks made makes mood remain remains seem seemed
    seems sense show showing shows sound sounded sounds was were
    """
)
_LINKS = frozenset({"and", "or", ",", "yet", "but", "also"})
_JOINS = (["and"], ["or"])
_SENTENCE = re.compile(r"(?<=[.!?;\n。？！])")
_WORDS_OF_A_LABEL = 2
"""Longest unknown item of a list, in words, that is itself a label; a longer one is searched as running text."""


class VocabularyMatcher:
    """Extractor that finds the wheel's vocabulary in texts.

    Args:
        keep_neutral: whether `neutral`, where it is the only label, is kept. The published extractions of MER-UniBench
            drop it, since the benchmark does not score neutral.
    """

    name = "vocabulary"
    version = "2"

    def __init__(self, keep_neutral: bool = True) -> None:
        self.settings: Mapping[str, object] = {"keep_neutral": keep_neutral}
        self._keep_neutral = keep_neutral

    def extract(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the labels of each text in order of first mention."""
        return [self._labels(text or "") for text in texts]

    def _labels(self, text: str) -> list[str]:
        labels = list(dict.fromkeys(_read(answer_of(text))))
        if not self._keep_neutral and all(group_of(label) == "neutral" for label in labels):
            return []
        return labels


def _read(text: str) -> Iterator[str]:
    text = _without_questions(text)
    items = tree_emotions(text)
    listing = None if items else find_list(text)
    if listing and _is_a_list_of_emotions(listing):
        items = listing.items
    for item in items:
        yield from _labels_of_item(label_of(item))
    if not items:
        yield from mentions(text)
    elif listing:
        yield from mentions(listing.rest)


def _without_questions(text: str) -> str:
    """Leave out the sentences of a text that ask something, which asserts nothing."""
    if "?" not in text and "？" not in text:
        return text
    return "".join(part for part in _SENTENCE.split(text) if not part.endswith(("?", "？")))


def _is_a_list_of_emotions(listing: Listing) -> bool:
    """Tell whether some item is a word of the wheel and, where no list was announced, no item is half a sentence."""
    labels = [label_of(item) for item in listing.items]
    if not any(map(find, labels)):
        return False
    if listing.announced:
        alternatives = any(item.startswith(("or ", "nor ")) for item in listing.items)
        return not (alternatives and any(negator_at(label.split(" "), 0) for label in labels))
    return all(" " not in label or find(label) or label in wheel().other for label in labels)


def _labels_of_item(label: str) -> Iterator[str]:
    """Yield the labels that an item of a list stands for: itself, several, or none."""
    words = label.split(" ")
    if find(label):
        yield label
    elif label in wheel().other or not any(map(str.isalpha, label)):
        return
    elif emphasis := emphasis_at(words, 0):
        if rest := " ".join(words[emphasis:]):
            yield from _labels_of_item(rest)
    elif len(words) > 1 and _AND.search(label):
        for part in _AND.split(label):
            yield from _labels_of_item(label_of(part))
    elif len(words) > _WORDS_OF_A_LABEL or negator_at(words, 0):
        yield from mentions(label)
    else:
        yield label


def mentions(text: str) -> Iterator[str]:
    """Yield the emotion words of running text in order, spelt as they are there; negated ones are left out."""
    tokens = _TOKEN.findall(_TAG.sub(" ", text).replace("’", "'").casefold())
    starts = {token for token in set(tokens) if _is_known(token) or token in _phrases()}
    scope = Scope()
    at, last_hit = 0, -9
    while at < len(tokens):
        length = _match(tokens, at) if tokens[at] in starts else 0
        if length and _is_meant(tokens, at, length, last_hit):
            label = " ".join(tokens[at : at + length])
            if not scope.holds(tokens, at, at + length):
                yield label
            last_hit = at + length - 1
            at += length + (
                denial_after(tokens, at + length) if tokens[at + length : at + length + 1] not in _JOINS else 0
            )
        else:
            at += scope.step(tokens, at)


def _match(tokens: list[str], at: int) -> int:
    """Return the length in tokens of the longest word or phrase of the wheel that starts here; 0 for none."""
    for phrase in _phrases().get(tokens[at], ()):
        if tuple(tokens[at : at + len(phrase)]) == phrase:
            return len(phrase)
    return int(_is_known(tokens[at]))


def _is_meant(tokens: list[str], at: int, length: int, last_hit: int) -> bool:
    if not _is_weak(" ".join(tokens[at : at + length])):
        return True
    before = at - 1
    while before >= 0 and tokens[before] in wheel().hedges:
        before -= 1
    if before < 0:
        return False
    return tokens[before] in _FEELING or (tokens[before] in _LINKS and last_hit == before - 1)


@cache
def _phrases() -> dict[str, list[tuple[str, ...]]]:
    """Map the first token of each phrase of the wheel to the phrases that begin with it, longest first."""
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for spelling in wheel().entries:
        if " " in spelling:
            words = tuple(spelling.split(" "))
            by_first.setdefault(words[0], []).append(words)
    return {first: sorted(phrases, key=len, reverse=True) for first, phrases in by_first.items()}


@cache
def _beginnings() -> frozenset[str]:
    return frozenset(spelling[:3] for spelling in wheel().entries)


def _is_known(token: str) -> bool:
    return token[:3] in _beginnings() and _is_entry(token)


@lru_cache(maxsize=1 << 16)
def _is_entry(token: str) -> bool:
    return find(token) is not None


@lru_cache(maxsize=1 << 14)
def _is_weak(label: str) -> bool:
    """Tell whether a word, or the base that it derives from, is in the wheel's list of words with other meanings."""
    bases = base_forms(tidy(label))
    written = next((base for base in bases if base in wheel().entries), label)
    return label in wheel().weak or written in wheel().weak
