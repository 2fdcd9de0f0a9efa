"""Assertion: which of the things that a text names it asserts, and which it denies, asks about or only mentions.

`not B`, `B is wrong`, `neither A nor B`, `anything but B`, `A or B?`, `the options are A and B`, `whether it is B`
assert nothing; `not A but B` asserts B. A negation reaches over the next few words, up to the end of the clause; after
it has met one thing, it goes on only to others in the same list. What the rules cannot decide is not asserted, so that
an answer that is hard to read counts as unread, never as a choice.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from affectgpt.answers.phrases import CHOSEN, DENIED_AFTER, DENIED_AFTER_UNSPACED, HIDING, LISTED, PHRASES, UNSPACED
from affectgpt.emotions.lemmas import word_set

_REACH = 8
"""Words over which a negation reaches."""
_REACH_AFTER = 2
_REACH_OF_MENTION = 14
_LOOK_AHEAD = 12
_FAR = 160
"""Distance in characters beyond which words do not reach."""
_WITHIN_LIST = 40
"""Most characters between two spans of a list."""

UNSPACED_SCRIPTS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
"""Characters of scripts in which words meet without a space, or take endings: Thai, Lao, Burmese, Khmer, Chinese,
Japanese, Korean."""

_TOKEN = re.compile(
    rf"[^\S\n]*(?:(?P<word>[^\W\d_{UNSPACED_SCRIPTS}]+(?:'[a-z]+)*)|(?P<number>\d+)|(?P<end>[.!?;\n。…|]+|——?)|"
    rf"(?P<colon>:|-(?=\s)|->|=>|[→⇒])|(?P<comma>[,、/&])|(?P<sign>[^\w\s{UNSPACED_SCRIPTS}])|"
    + "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in UNSPACED.items())
    + rf"|(?P<unspaced>[{UNSPACED_SCRIPTS}]))"
)
_AFTER = re.compile(DENIED_AFTER, re.IGNORECASE)
_AFTER_UNSPACED = re.compile(DENIED_AFTER_UNSPACED)
_SENTENCE_END = re.compile(r"[.!?;\n。…|]+(?=[\s\"')*\]]|$)|[?。\n]|——?")
_QUOTE = re.compile(r'"([^"\n]{1,300})"')
_SAYS = re.compile(
    r"(?i)\b(?:says?|said|saying|asks?|asked|reads?|words?|terms?|phrase|states?|stated|repl(?:y|ies|ied)|exclaims?|"
    r"shouts?|whispers?|called|title|subtitle|caption|text|string)[,:]?\s*$|[说问写][:,]?\s*$"
)
_ANSWERS = re.compile(r"(?i)(?:\b(?:answer|choice|option|label|emotion)\b|答案)\W{0,4}(?:is|are|是|为)?\W*$")
_PREFIX = re.compile(r"(?i)\b(?:non|un|anti|pseudo|quasi)-$")
_SUSPECT_WORDS = (
    frozenset(first for first, phrases in PHRASES.items() if any(kind in ("denies", "mentions") for _, kind in phrases))
    | LISTED
    | word_set(
        """
        would among option choice possibility alternative candidate distractor first initial second missing gone too
        questionable unsupported one makes make out off inaccurate invalid unsuitable inappropriate untenable fails
        non un anti pseudo quasi what mistake error stretch poor bad weak worst worse inactive help assist
        scheidet exclu n
        """
    )
)
"""Words of which one occurs in every text of plain English that may deny or only mention something."""
_ASCII_WORD = re.compile(r"[a-z]+")
_CROSSES = "❌✗✘¬≠☐"
_OTHER_THAN = frozenset(("but", "other", "except"))
_ONCE = frozenset(
    ("instead of", "rather than", "in place of", "as opposed to", "unlike", "far from", "other than", "apart from",
     "aside from", "except", "contrary to")
)  # fmt: skip
"""Phrases that a clause may open with: after `Instead of A,` something else is asserted."""


class Named(NamedTuple):
    """Something that a text names, from `start` to before `end`: a label, or the key of an option."""

    start: int
    end: int
    value: str
    is_plain: bool = False
    """Whether it is a letter within running text, without a mark such as `B.` or `(B)`."""
    is_text: bool = False
    """Whether it is the text of an option."""


class Assertion(NamedTuple):
    """Judgement on a span of a text."""

    holds: bool
    """Whether the text asserts what the span names."""
    chain: int
    """Number of the list that the span stands in: B, C and D of `B, C and D` share one."""
    alternative: bool
    """Whether the span stands in a list joined by `or`."""
    denied: bool = False
    """Whether the text denies what the span names, rather than asks about it or mentions it."""


def judge_spans(text: str, spans: Sequence[tuple[int, int]]) -> list[Assertion]:
    """Judge spans of a text, in order and apart, as `affectgpt.answers.plain.lines_of` gives it."""
    is_suspect = _is_suspect(text)
    if len(spans) == 1 and not is_suspect:
        return [Assertion(True, 0, False)]
    walk = _Walk(text, spans)
    start = 0
    for begin, end in spans:
        if is_suspect or begin - start <= _WITHIN_LIST:
            walk.pass_over(start, begin)
        else:
            walk.leave_list()
        walk.meet(begin, end)
        start = end
    walk.finish_sentence(start)
    return [
        Assertion(holds, chain, chain in walk.alternatives, denied)
        for holds, chain, denied in zip(walk.holds, walk.chains, walk.denied, strict=True)
    ]


def asserted(text: str, named: Sequence[Named]) -> list[tuple[Named, Assertion]]:
    """Return what a text asserts of what it names, and does not deny afterwards (`It is B. No, it is not B.`)."""
    judged = judge_spans(text, [(one.start, one.end) for one in named]) if named else []
    pairs = list(enumerate(zip(named, judged, strict=True)))
    denials = {one.value: index for index, (one, judgement) in pairs if judgement.denied}
    return [
        (one, judgement) for index, (one, judgement) in pairs if judgement.holds and denials.get(one.value, -1) < index
    ]


def _is_suspect(text: str) -> bool:
    """Tell quickly whether a text may deny or only mention what it names."""
    if not text.isascii() or "?" in text or "0" in text or '"' in text or "n't" in text.lower():
        return True
    return not _SUSPECT_WORDS.isdisjoint(_ASCII_WORD.findall(text.lower()))


class _Walk:
    """Walk through a text from span to span that knows how far a negation reaches."""

    def __init__(self, text: str, spans: Sequence[tuple[int, int]]) -> None:
        self.text = text
        self.holds: list[bool] = []
        self.chains: list[int] = []
        self.denied: list[bool] = []
        self.alternatives: set[int] = set()
        self._quoted = _quoted(text, spans) if '"' in text else frozenset()
        self._sentence = 0
        """Number of spans before this sentence."""
        self._left = 0
        """Number of words over which a negation still reaches."""
        self._since = 0
        """Number of words since the negation."""
        self._met = self._mentions = self._once = False
        """Whether the negation has met a span, only mentions what follows, and ends at the next comma."""
        self._in_list = self._joined = self._or = False
        """Whether nothing but a list went on since the last span, a word joined it, and this was `or`."""

    def meet(self, begin: int, end: int) -> None:
        """Judge the span that comes next."""
        text = self.text
        chain = self.chains[-1] + (not self._in_list) if self.chains else 0
        if self._in_list and self._or:
            self.alternatives.add(chain)
        prefixed = begin and text[begin - 1] == "-" and _PREFIX.search(text, max(0, begin - 8), begin)
        self.holds.append(not (self._left or prefixed or begin in self._quoted))
        self.denied.append(bool(self._left) and not self._mentions)
        self.chains.append(chain)
        if _AFTER.match(text, end) or (not text.isascii() and _AFTER_UNSPACED.match(text, end)):
            first = len(self.holds) - 1
            while self._joined and self._in_list and first and self.chains[first - 1] == chain:
                first -= 1
            self.holds[first:] = [False] * (len(self.holds) - first)
            self.denied[first:] = [True] * (len(self.holds) - first)
        if self._left:
            self._left, self._met = _REACH_AFTER, True
        self._in_list, self._joined, self._or = True, False, False

    def pass_over(self, start: int, stop: int) -> None:
        """Follow the words between two spans; of many words, the end of the sentence and those within reach."""
        if stop - start > _FAR:
            self.finish_sentence(start)
            start = stop - _FAR
        matches = _TOKEN.finditer(self.text, start, stop)
        tokens = [(kind, match[kind].lower()) for match in matches if (kind := match.lastgroup)]
        at = 0
        while at < len(tokens):
            if not (self._left or self._in_list) and tokens[at][0] == "word" and _is_plain(tokens[at][1]):
                at += 1
                continue
            kind, length = _phrase_at(tokens, at) if tokens[at][0] == "word" else (tokens[at][0], 1)
            after = tokens[at + length : at + length + _LOOK_AHEAD + 1] if kind in ("denies", "comma") else []
            at += self._step(kind, tokens[at : at + length], after)

    def leave_list(self) -> None:
        """Begin a new list with the next span."""
        self._in_list = False

    def finish_sentence(self, start: int) -> None:
        """Look how the sentence goes on and ends after a span."""
        end = _SENTENCE_END.search(self.text, start)
        self._end_sentence(end is not None and "?" in end[0])

    def _step(self, kind: str, phrase: list[tuple[str, str]], after: list[tuple[str, str]]) -> int:
        """Follow a word, phrase or sign, and return how many tokens were passed."""
        token = phrase[0][1]
        if kind == "end":
            self._end_sentence("?" in token)
        elif kind == "colon":
            self._in_list = False
            if not self._mentions and (self._met or self._since):
                self._left = 0
        elif kind == "comma":
            if self._left and not (self._met and self._goes_on(after)):
                self._left = 0
        elif kind in ("and", "or"):
            self._joined, self._or = True, self._or or kind == "or"
            if kind == "and" and not self._met and not self._mentions:
                self._left = 0
        elif kind == "denies":
            if passed := _affirms(after):
                return len(phrase) + passed
            self._begin(_REACH, False)
            self._once = " ".join(word for _, word in phrase) in _ONCE
        elif kind == "mentions":
            self._begin(_REACH_OF_MENTION, True)
        elif self._met if kind == "goes_on" else kind == "breaks" and (self._met or self._since):
            self._left, self._in_list = 0, False
        elif kind == "sign" and token in _CROSSES and len(self.holds) == self._sentence:
            self._begin(_REACH, False)
        elif kind != "sign" and not (kind == "filler" and self._in_list):
            self._in_list = False
            self._since += len(phrase) if kind != "filler" else 0
            self._left = max(0, self._left - len(phrase))
        return len(phrase)

    def _begin(self, reach: int, mentions: bool) -> None:
        self._left, self._since, self._met, self._mentions = reach, 0, False, mentions
        self._once = self._in_list = False

    def _goes_on(self, after: list[tuple[str, str]]) -> bool:
        """Tell whether a comma stands within a list, of which nothing but the next span follows."""
        if len(after) > _LOOK_AHEAD:
            return False
        kinds = [_phrase_at(after, index)[0] if kind == "word" else kind for index, (kind, _) in enumerate(after)]
        if not all(kind in ("comma", "and", "or", "filler", "sign") for kind in kinds):
            return False
        return not self._once or "or" in kinds or "and" in kinds

    def _end_sentence(self, is_question: bool) -> None:
        if is_question:
            self.holds[self._sentence :] = [False] * (len(self.holds) - self._sentence)
        self._sentence, self._left, self._since = len(self.holds), 0, 0
        self._met = self._in_list = False


def _phrase_at(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    """Return what the phrase that begins at a word does, and its length in words."""
    word = tokens[at][1]
    phrases = PHRASES.get(word)
    if phrases is None:
        return ("denies" if word.endswith("n't") else "word"), 1
    if word in LISTED:
        if at and tokens[at - 1][1] in CHOSEN:
            return "word", 1
        if at + 1 < len(tokens) and tokens[at + 1][1] in (":", "("):
            return "mentions", 1
    for phrase, kind in phrases:
        if len(phrase) == 1 or tuple(token for _, token in tokens[at : at + len(phrase)]) == phrase:
            return kind, len(phrase)
    return "word", 1


def _is_plain(word: str) -> bool:
    return word not in PHRASES and not word.endswith("n't")


def _affirms(after: list[tuple[str, str]]) -> int:
    """Return how many tokens after a negation undo it: `cannot hide`, `can't be anything but`, `do not doubt`."""
    words = [token for _, token in after[:6]]
    if words and (words[0] in HIDING or words[0] == "doubt"):
        return 1
    for at, (word, following) in enumerate(pairwise(words)):
        if word == "anything" and following in _OTHER_THAN:
            return at + 2 + (following == "other")
    return 0


def _quoted(text: str, spans: Sequence[tuple[int, int]]) -> frozenset[int]:
    """Return where spans begin that stand in somebody's words: within a longer quote, or after `says`."""
    found: set[int] = set()
    begins = [begin for begin, _ in spans]
    for match in _QUOTE.finditer(text):
        inside = spans[bisect_left(begins, match.start()) : bisect_left(begins, match.end())]
        if not inside or not (text[: match.start()].strip() or text[match.end() :].strip()):
            continue
        before = text[max(0, match.start() - 40) : match.start()]
        named = sum(end - begin for begin, end in inside)
        is_longer = len(match[1].strip(" .,;:!*()")) > named + 4 * len(inside)
        if _SAYS.search(before) or (is_longer and not _ANSWERS.search(before)):
            found |= {begin for begin, _ in inside}
    return frozenset(found)
