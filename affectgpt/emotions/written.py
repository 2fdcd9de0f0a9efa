"""Labels that an answer writes as labels: tree lines, answer tags, lists after words such as `emotional state is`.

Nothing here knows which words are emotions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from affectgpt.emotions.lemmas import tidy
from affectgpt.emotions.taxonomy import wheel
from affectgpt.emotions.thoughts import LONGEST, answer_of

__all__ = [
    "LONGEST",
    "Listing",
    "WrittenLabels",
    "answer_of",
    "find_list",
    "label_of",
    "tree_emotions",
]

_TREE_LINE = re.compile(r"m[1-9][0-9]{0,2} +(?=\S)")
_HEAD = 4_000
"""Length of the beginning of a text, in characters, within which a list of labels must end."""
_MOST_ITEMS = 64
_PREAMBLE = re.compile(
    r"\b(?:emotion(?:al|s)?|feelings?|mood|sentiment|labels?)\b"
    r"(?: (?!is\b|are\b)[\w'’]+){0,8}? ?(?:\b(?:is|are)\b *:?|:)"
)
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|[0-9]{1,3}[.)])[ \t]+", re.MULTILINE)
_END = re.compile(r"[.!?。](?=\s|$|[\"')\]])|\n[ \t]*\n")
_BETWEEN = re.compile(r"[,;|/\n，、；]")
_NOT_TEXT = re.compile(r"<[^<>]{0,200}>|[\[\]{}\"“”*]")


class Listing(NamedTuple):
    """List of labels read from an answer, and the text after it that is no part of it."""

    items: list[str]
    announced: bool
    """Whether the answer announced that emotions follow; if not, this may be any short text."""
    rest: str


def tree_emotions(text: str) -> list[str]:
    """Return the labels of the emotion lines of a written tree (`m1 masked distress <- e1 e3`), in order."""
    lines = (line.strip() for line in text.splitlines()) if "m1 " in text else ()
    matches = ((_TREE_LINE.match(line), line) for line in lines)
    return [line[match.end() :].partition("<-")[0].strip() for match, line in matches if match]


def find_list(text: str) -> Listing | None:
    """Find the list of labels that a text opens with or consists of; None for running text."""
    head = _BULLET.sub(" ", _NOT_TEXT.sub(" ", text[:_HEAD]))
    preamble = _PREAMBLE.search(head[:300].lower())
    body = head[preamble.end() :].lstrip() if preamble else head.strip()
    end = _END.search(body)
    listed, rest = (body[: end.start()], body[end.end() :]) if end else (body, "")
    if len(text) > _HEAD:
        if not end:
            return None
        rest += text[_HEAD:]
    items = [item for item in (part.strip() for part in _BETWEEN.split(listed)) if item]
    if not items or len(items) > _MOST_ITEMS or len(listed.split()) > 3 * len(items) + 3:
        return None
    return Listing(items, preamble is not None, rest)


def label_of(item: str) -> str:
    """Reduce an item of a list to its label: tidied, without a lead-in (`positive:`) or a degree (`slightly`)."""
    label = tidy(item.rpartition(":")[2])
    while True:
        lead = next((lead for lead in _leads(label) if lead in _INTRODUCING or lead in wheel().hedges), "")
        if not lead or lead == label:
            return label
        label = label[len(lead) + 1 :]


def _leads(label: str) -> list[str]:
    words = label.split(" ", 4)
    return [" ".join(words[:count]) for count in (4, 3, 2, 1) if count < len(words)]


_INTRODUCING = frozenset({"a", "an", "and", "or", "the", "that of", "one of", "feeling", "being", "both", "including"})


class WrittenLabels:
    """Extractor for the project's own output: emotion lines of a tree, answer tags, announced lists, comma lists.

    Every item counts as a label, whatever it says; any other text has no labels.
    """

    name = "written"
    version = "2"
    settings: Mapping[str, object] = {}

    def extract(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the labels of each text."""
        return [self._labels(text or "") for text in texts]

    def _labels(self, text: str) -> list[str]:
        text = answer_of(text)
        items = tree_emotions(text)
        if not items and (listing := find_list(text)):
            items = listing.items
        return list(dict.fromkeys(label for label in map(label_of, items) if label))
