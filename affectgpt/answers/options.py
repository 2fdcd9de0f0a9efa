"""The options that a question lists, and the one or several that an answer chooses by letter, digit or text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from affectgpt.answers.assertion import Named
from affectgpt.answers.label_index import LabelIndex, label_index
from affectgpt.answers.plain import unify, without_tags
from affectgpt.answers.statement import answer_text, is_stated, stated

_MOST_MARKS = 1000
_MOST_LISTS = 50


def _mark(key: str, before: str) -> re.Pattern[str]:
    """Return the pattern of what stands before an option: `A.`, `A)`, `(A)`, `【A】`, `A:`, `"A":`, `A -`, `**A.**`."""
    bare = rf"\*{{0,2}}({key})\*{{0,2}}[\"']? ?(?:[.):、]\*{{0,2}}(?!\w\.|\d)|(?<= )[-—|=>](?= ))"
    return re.compile(rf"(?:[(\[【{{]({key})[)\]】}}][.:]?|(?<![{before}]){bare})[ \t]*")


_KINDS = {
    "A": _mark("[A-Z]", "A-Za-z0-9"),
    "a": _mark("[a-z]", r"\w'’.-"),
    "0": _mark(r"\d{1,2}", r"\w'’.-"),
    "1": _mark(r"[1-9]\d?", r"\w'’.-"),
}
"""First key of a list -> pattern of its marks; tried in this order."""
_END_OF_LAST = re.compile(r"[.?!](?:\s|$)|[。;]|[\"'][\])}]")
_NO_TEXT = frozenset(("", "or", "and"))
"""Words after a key that a question only mentions: `Answer with A. or B.`"""


@lru_cache(maxsize=4096)
def _options(question: str) -> tuple[tuple[str, str], ...]:
    text = unify(without_tags(question))
    for first, pattern in _KINDS.items():
        texts = _longest_list(text, list(pattern.finditer(text))[:_MOST_MARKS], first)
        if len(texts) >= 2:
            return tuple((_key(first, index).upper(), option) for index, option in enumerate(texts))
    return ()


def _texts(text: str, marks: Sequence[re.Match[str]]) -> list[str]:
    """Return the texts of the options that marks begin; nothing where one has none."""
    ends = [match.start() for match in marks[1:]] + [len(text)]
    lines = [text[match.end() : end].strip().split("\n", 1)[0] for match, end in zip(marks, ends, strict=True)]
    lines[-1:] = [_END_OF_LAST.split(line, maxsplit=1)[0] for line in lines[-1:]]
    texts = [line.strip(" ,;.\t*|/、。\"'") for line in lines]
    return texts if _NO_TEXT.isdisjoint(map(str.lower, texts)) else []


def read_options(question: str) -> dict[str, str]:
    """Return key -> text of the options that a question lists; empty if it lists fewer than two.

    Keys are letters A, B, ... or digits from 0 or 1, in order; small letters count as capitals. Accepted are
    `A. happy`, `A) happy`, `(A) happy`, `A: happy`, `[A] happy`, `A、高兴`, `A - happy`, `"A": "happy"`, on lines of
    their own or in one line, and full-width and circled signs.
    """
    return dict(_options(question))


def _key(first: str, place: int) -> str:
    return str(int(first) + place) if first.isdigit() else chr(ord(first) + place)


def _longest_list(text: str, marks: Sequence[re.Match[str]], first: str) -> list[str]:
    """Return the texts of the longest list A, B, C, ... that marks begin; of equally long ones, of the last."""
    best: list[str] = []
    starts = [start for start, match in enumerate(marks) if (match[1] or match[2]) == first]
    for start in starts[:_MOST_LISTS]:
        run: list[re.Match[str]] = []
        for match in marks[start:]:
            if (match[1] or match[2]) == _key(first, len(run)):
                run.append(match)
        if len(run) >= max(len(best), 2) and (texts := _texts(text, run)):
            best = texts
    return best


_VERB_AFTER_A = (
    r"and|or|nor|because|since|as|is|isn't|was|seems?|fits?|but|rather|instead|can|cannot|can't|could|may|might|would|not|"
    r"than|does|doesn't|must|should|has|makes?|looks?"
)
_LETTER = re.compile(
    # A and I, which are also words, only where no sentence follows
    rf"(?<![A-Za-z0-9])(?<![A-Za-z0-9]['-])(?<!\bN/)(?<!\bn/)(?:([B-HJ-Z]|A(?!\s+(?!(?:{_VERB_AFTER_A})\b)[a-z])|"
    r"I(?!\s+(?!(?:and|or|nor|because)\b)[a-z]))(?!['-]?[A-Za-z0-9])"
    r"|([a-z]|\d{1,2})(?!['-]?[A-Za-z0-9]|[.,]\d))"
)
_ALONE = re.compile(r"[ \t]*(?:[.,;:!?)\]}*\"'\n。、]|$|- )|\s+(?:because|since|and|or)\b")
_MARKED = re.compile(r"\*{0,2}(?:[).:、](?!\w)|[)\]])")
_TEXT_FOLLOWS = re.compile(r"[\s.):、\]*\"'=-]{0,6}")
_DOUBT = re.compile(r"[?✗✘❌×¬≠☐]")
_REASONS = re.compile(r"[.,:;)\]*\"' ]*(?:\n|$|(?:because|since|as|for|given|weil|因为)(?![a-z]))", re.IGNORECASE)
_CALLED = re.compile(
    r"(?i)\b(?:persons?|people|speakers?|characters?|actors?|m[ae]n|wom[ae]n|mr|mrs|ms|dr|vitamin|plan|type|grade|team|"
    r"group|part|section|figure|panel|video|clip|image|scene|frame|column|row|hepatitis)\.? ?\Z"
)
"""Words after which a letter is a name."""
_BARE_WORDS = frozenset(("and", "option", "options", "choice", "choices", "letter", "letters"))


def read_letters(answer: object, options: Mapping[str, str]) -> frozenset[str]:
    """Return the options that an answer chooses, as the keys of `read_options`; empty if it chooses none.

    Tried in turn until one matches: the text of an option and nothing else; keys and nothing else (`B`, `(B)`, `BF`,
    `B, F`); what is stated (`the answer is B`); what the answer begins with (`B. happy`, `B, because`); keys that it
    asserts (`(B)`, `option B`, `it is B`), unless it also asserts the text of another option; texts that it asserts.
    What it denies, asks about or only mentions is not chosen (`affectgpt.answers.assertion`).
    """
    text = answer_text(answer)
    index = label_index(tuple(options.values()))
    if (option := index.exact(answer, text)) is not None:
        return frozenset(key for key, other in options.items() if other == option)
    if bare := _bare_keys(text, options):
        return bare
    named = _named(text, options, index)
    chosen = stated(text, named) if named else []
    first = _beginning(text, chosen, named)
    keys = frozenset(one.value for one in first or chosen if not one.is_text)
    texts = {options[one.value] for one in chosen if one.is_text}
    by_text = frozenset(key for key, option in options.items() if option in texts)
    if not keys or first or not by_text:
        return keys or by_text
    return keys if keys & by_text else frozenset()  # `person A is sad`: the letter is no option


def _bare_keys(text: str, options: Mapping[str, str]) -> frozenset[str]:
    if len(text) > 4 * len(options) + 40 or _DOUBT.search(text):
        return frozenset()
    tokens = [token for token in re.findall(r"[^\W_]+", text) if token.casefold() not in _BARE_WORDS]
    upper = [token.upper() if len(token) == 1 else token for token in tokens]
    if len(tokens) == 1 and tokens[0] not in options and tokens[0].isalpha():
        upper = list(tokens[0].upper() if len(tokens[0]) == 1 else tokens[0])
    found = frozenset(upper)
    return found if len(found) == len(upper) and found <= options.keys() else frozenset()


def _named(text: str, options: Mapping[str, str], index: LabelIndex) -> list[Named]:
    """Return the keys that a text names, each with its option's text if that follows, and other options' texts."""
    keys: list[Named] = []
    end = 0
    texts = index.named(text)
    at = {one.start: one for one in texts}
    for match in _LETTER.finditer(text):
        key = (match[1] or match[2]).upper()
        start = match.start()
        if key not in options or start < end or not (match[1] or _may_stand_for(text, match)):
            continue
        if _CALLED.search(text, max(0, start - 12), start):
            continue
        end = match.end()
        after = at.get(_TEXT_FOLLOWS.match(text, end).end())  # type: ignore[union-attr]
        if after is not None and after.value == options[key]:
            end = after.end
        marked = bool(_MARKED.match(text, match.end())) or end > match.end()
        keys.append(Named(start, end, key, is_plain=not marked))
    key_of = {option: key for key, option in options.items()}
    free = [one._replace(value=key_of[one.value], is_text=True) for one in texts]
    return _merged(keys, free)


def _merged(keys: list[Named], texts: list[Named]) -> list[Named]:
    """Return keys and the texts that do not overlap them, in order."""
    merged: list[Named] = []
    for one in sorted([*keys, *texts], key=lambda one: (one.start, one.is_text)):
        if not merged or one.start >= merged[-1].end:
            merged.append(one)
        elif not one.is_text and merged[-1].is_text and one.start < merged[-1].end:
            continue
    return merged


def _may_stand_for(text: str, match: re.Match[str]) -> bool:
    """Tell whether a small letter or a digit is a key here: in brackets, where a line begins, or where it is stated."""
    start, end = match.span()
    if text[start - 1 : start] in ("(", "[") and text[end : end + 1] in (")", "]"):
        return True
    if not _ALONE.match(text, end):
        return False
    begins = not text[:start].rpartition("\n")[2].strip(" *\"'>#-")
    return bool(begins and _MARKED.match(text, end)) or is_stated(text, start)


def _beginning(text: str, chosen: Sequence[Named], named: Sequence[Named]) -> list[Named]:
    """Return the key with which an answer begins, where it gives reasons after it: `B, since C is too much`, `B\\n...`.

    Nothing where the answer goes on to other marked options, or where the first that it names is not asserted.
    """
    if not chosen or chosen[0] != named[0] or chosen[0].is_text or text[: chosen[0].start].strip(" \n*\"'([#>-"):
        return []
    first = chosen[0]
    has_text = first.end - first.start > len(first.value)
    if not (has_text or _REASONS.match(text, first.end)):
        return []
    return [first] if all(one.is_plain or one.is_text for one in chosen[1:]) else []
