"""Reads the affective tree in a free caption without a model. It is lenient, for evaluation; training reads strictly.

    The woman is probably embarrassed, because of her forced smile with raised eyebrows.

    a1 gender: woman
    a2 eyebrow: raised
    e1 forced smile <- a2
    m1 embarrassed <- e1

Attributes are told apart by the 15 aspects about which Emo-CFG (VidEmo, table 7) asks open questions, and by the voice;
the words of each are this project's. Emotions are the wheel's words (`affectgpt.emotions.matcher`). Rationale words
("because", "with", "suggests") give the edges. Levels are never skipped: an attribute that is given for an emotion,
without an expression between them, stays unlinked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from affectgpt.emotions.lemmas import base_forms, word_set
from affectgpt.emotions.matcher import mentions
from affectgpt.emotions.taxonomy import wheel
from videmo.tree import LEVELS, AffectiveTree, Node, parse_tree

PARTS = {
    "eye": "eye eyes gaze eyelid eyelids",
    "eyebrow": "eyebrow eyebrows brow brows forehead",
    "mouth": "mouth lip lips teeth",
    "nose": "nose nostril nostrils",
    "hair": "hair hairstyle bangs ponytail",
    "chin": "chin jaw jawline",
    "shape": "face",
    "skin": "skin complexion",
    "head action": "head",
    "voice": "voice tone pitch speech",
}
"""Aspect -> words for a part; its value is what the caption says about it."""

TRAITS = {
    "feature": "wrinkle wrinkles dimple dimples mole scar freckle freckles beard mustache moustache stubble tear tears",
    "accessory": "glasses sunglasses hat cap earring earrings necklace scarf mask headphones tie helmet headband",
    "age": "young old elderly teenage teenager middle-aged child baby toddler",
    "gender": "man woman male female boy girl",
    "head action": "nod nodding shaking tilting bowing",
    "face action": "blink blinking squint squinting talk talking speak speaking yawn yawning wink winking chewing",
    "body action": """
        sit sitting stand standing walk walking lean leaning gesture gesturing gestures wave waving point pointing shrug
        shrugging hugging dancing clapping crouching
        """,
}
"""Aspect -> words that are values themselves."""

EXPRESSIONS = word_set(
    """
    smile frown scowl grimace smirk grin laugh laughter giggle cry sob weep sigh glare stare pout sneer wince gasp
    scream shout whisper expression look grieving weeping
    """
)
"""Base forms of words for an expression of face or voice."""

_ASPECTS = {word: aspect for table in (PARTS, TRAITS) for aspect, words in table.items() for word in words.split()}
_IS_PART = word_set(" ".join(PARTS.values()))
_ALONE = word_set(f"{TRAITS['age']} {TRAITS['gender']}")
_COPULAS = word_set(
    "is are was were be been appear appears appeared seem seems seemed look looks remain remains become"
)
_EMPTY = word_set(
    """
    a an the this that these those his her their its my your our he she they it i we you person speaker someone and or
    but to of in on at by for from into over under with while where who when has have had having wear wears wearing very
    slightly somewhat quite rather somehow clearly also then there can could may might will would be seen visible
    gives give giving shows show showing puts put
    """
) | word_set("because as since so which if than not no never without")
_NEGATIONS = word_set("no not never without nor cannot")
_LONGEST_VALUE = 3
_MOST_CHARACTERS, _MOST_NODES = 20_000, 999

_SENTENCE = re.compile(r"[.!?;\n\r]+")
_TOKEN = re.compile(r"[a-z]+(?:['-][a-z]+)*|,")
_RATIONALE = re.compile(
    r"\b(?:(?P<evidence>because(?: of)?|since|due to|owing to|given(?: that)?|with"
    r"|as(?! (?:if|though|well|for|to|a|an)\b)"
    r"|(?:evidenced|shown|indicated|suggested|marked|accompanied|supported|revealed|conveyed) by|(?:seen|reflected) in)"
    r"|(?P<conclusion>so(?! \w+ that)|therefore|thus|hence|consequently"
    r"|(?:suggest|indicat|convey|express|reveal|impl|reflect|signal|mean|show)(?:s|es|ies|ing|ying|e|y)?(?: that)?))\b"
)


def read_caption(text: str) -> AffectiveTree:
    """Read the tree of a caption; never raises. A text in tree syntax is parsed as such, an empty one is empty."""
    tree = parse_tree(text)
    if tree.is_valid:
        return tree
    drafted = _Draft()
    before: _Nodes = {level: [] for level in LEVELS}
    for sentence in _SENTENCE.split(text[:_MOST_CHARACTERS].replace("’", "'").lower()):
        for relation, part in _parts(sentence):
            attributes = _attributes(part)
            nodes = {"a": attributes, "e": _expressions(part), "m": _emotions(part, attributes)}
            if not any(nodes.values()):
                continue
            drafted.add(nodes)
            if relation == "evidence":
                drafted.link(nodes, before)
            elif relation == "conclusion":
                drafted.link(before, nodes)
            before = nodes
    return drafted.tree()


_Nodes = dict[str, list[str]]


@dataclass
class _Draft:
    """Labels of each level in order of first mention, each with the labels that support it."""

    levels: dict[str, dict[str, set[str]]] = field(default_factory=lambda: {level: {} for level in LEVELS})

    def add(self, nodes: _Nodes) -> None:
        for level, labels in nodes.items():
            for label in labels:
                if len(self.levels[level]) < _MOST_NODES:
                    self.levels[level].setdefault(label, set())

    def link(self, evidence: _Nodes, conclusion: _Nodes) -> None:
        for below, above in pairwise(LEVELS):
            for label in conclusion[above]:
                if label in self.levels[above]:
                    self.levels[above][label].update(known for known in evidence[below] if known in self.levels[below])

    def tree(self) -> AffectiveTree:
        levels: list[tuple[Node, ...]] = []
        position: dict[str, int] = {}
        for level in LEVELS:
            labels = self.levels[level]
            levels.append(
                tuple(Node(level, label, tuple(sorted(position[low] for low in labels[label]))) for label in labels)
            )
            position = {label: index for index, label in enumerate(labels)}
        return AffectiveTree(levels[0], levels[1], levels[2])


def _parts(sentence: str) -> list[tuple[str | None, str]]:
    """Cut a sentence at its rationale words: each part, and its relation to the part before.

    Where a sentence begins with the evidence ("Because of ..., she ..."), its first comma ends the evidence.
    """
    parts: list[tuple[str | None, str]] = []
    relation, begin = None, 0
    for match in _RATIONALE.finditer(sentence):
        parts.append((relation, sentence[begin : match.start()]))
        relation, begin = match.lastgroup, match.end()
    parts.append((relation, sentence[begin:]))
    if len(parts) > 1 and parts[1][0] == "evidence" and not _TOKEN.search(parts[0][1]):
        evidence, comma, rest = parts[1][1].partition(",")
        parts[:2] = [(None, evidence), ("conclusion", rest)] if comma else [(None, evidence)]
    return parts


def _attributes(part: str) -> list[str]:
    tokens = _TOKEN.findall(part)
    labels = []
    for at, token in enumerate(tokens):
        aspect = _ASPECTS.get(token)
        if aspect is None:
            continue
        if token in _ALONE:
            value = [token]
        elif token not in _IS_PART:
            if _is_negated(tokens, at):
                continue
            value = [*_before(tokens, at), token]
        elif tokens[at + 1 : at + 2] and tokens[at + 1] in _COPULAS:
            value = _after(tokens, at + 2)
        else:
            value = _before(tokens, at) or _after(tokens, at + 1)
        if value:
            labels.append(f"{aspect}: {' '.join(value)}")
    return labels


def _expressions(part: str) -> list[str]:
    tokens = _TOKEN.findall(part)
    labels = []
    for at, token in enumerate(tokens):
        base = _expression_of(token)
        if base and not _is_negated(tokens, at):
            modifiers = _before(tokens, at)
            # These two alone say nothing: "her expression", "she looks".
            if modifiers or base not in ("expression", "look"):
                labels.append(" ".join([*modifiers, base]))
    return labels


def _emotions(part: str, attributes: list[str]) -> list[str]:
    """Return the emotion words, except ambiguous ones that describe something else: `her voice is low`."""
    values = {word for label in attributes for word in label.split()}
    return [label for label in mentions(part) if not (label in values and label in wheel().weak)]


@lru_cache(maxsize=1 << 14)
def _expression_of(token: str) -> str | None:
    return next((form for form in base_forms(token) if form in EXPRESSIONS), None)


def _is_negated(tokens: list[str], at: int) -> bool:
    return any(token in _NEGATIONS or token.endswith("n't") for token in tokens[max(at - 2, 0) : at])


def _before(tokens: list[str], at: int) -> list[str]:
    """Return the words right before this one that modify it: those that have content and are not known themselves."""
    begin = at
    while begin > 0 and at - begin < _LONGEST_VALUE and _has_content(tokens[begin - 1]):
        begin -= 1
    return [token for token in tokens[begin:at] if token not in wheel().hedges]


def _after(tokens: list[str], at: int) -> list[str]:
    """Return the words that describe the thing before: the next ones with content, after function words."""
    while at < len(tokens) and tokens[at] in _EMPTY | _COPULAS and tokens[at] not in _NEGATIONS:
        at += 1
    end = at
    while end < len(tokens) and end - at < _LONGEST_VALUE and _has_content(tokens[end]):
        end += 1
    return [token for token in tokens[at:end] if token not in wheel().hedges]


def _has_content(token: str) -> bool:
    return not (token == "," or token in _EMPTY or token in _COPULAS or token in _ASPECTS or _expression_of(token))
