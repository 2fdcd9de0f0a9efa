"""Reading of free answers: the option that one chooses, the labels that it names, or whether it gives up.

Only rules are used, so that reading is cheap and deterministic. No text of a model makes these functions raise, and
they read at most `LIMIT` characters of it, so that none takes long.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Mapping

from affectgpt.answers.nearest import nearest_label
from affectgpt.emotions.written import answer_of

LIMIT = 20_000
"""Characters of an answer that are read, half from its beginning and half from its end."""

_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>")
_MARK = re.compile(r"(?<![A-Za-z0-9])\(?([A-Z])[).:](?!\w)\s*|(?<![A-Za-z0-9])\[([A-Z])\]\s*")
_LETTER = r"(?:[B-HJ-Z]|[AI](?!\s+(?!and\b|or\b|because\b|since\b|as\b)[a-z]))(?![A-Za-z'’])"
"""Pattern of a capital letter by itself; A and I, which are also words, only where no sentence follows."""
_STATED = re.compile(
    r"\b(?i:answers?|options?|choices?|choose|select|pick)\b[\s:=]{0,5}(?i:is|are|would be)?[\s:*\"'(\[]{0,5}"
    rf"({_LETTER}(?:[\s,/&)\](*]{{0,5}}(?:and\s{{1,3}})?[(\[]?{_LETTER})*)"
)
_NEGATED = re.compile(
    r"(?:\b(?:not|no|never|without|neither|nor|cannot|than|instead of)|n['’]t)(?:\s+(?!but\b)\w+){0,2}\s*$"
)
_AU = re.compile(r"(?i)\bau[\s_-]?0{0,2}(\d{1,2})(?!\d)")
_REFUSAL = re.compile(
    r"(?i)\b(?:unable|not able|impossible|not possible) to\b|\b(?:can ?not|can['’]t|could not|couldn['’]t) "
    r"(?:be )?(?:tell|determine|identif|say|see|judge|assist|help|answer|provide|know)|\b(?:do not|don['’]t) know\b|"
    r"\b(?:not sure|unclear|unknown|undetermined|indeterminate|n/a|no idea|insufficient|as an ai)\b|"
    r"无法|不知道|不确定|^sorry"
)
_NOTHING = frozenset(("none", "none of them", "none of the above", "no action units", "nothing"))
_WORD = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]|[^\W_]+(?:['’][^\W_]+)*")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been being but by for from had has have he her his i in into is it its of on or our she "
        "so that the their them there these they this those to was we were which while who will with you your"
    )
)


def clean(answer: object) -> str:
    """Return an answer as plain text: no thoughts, HTML or control characters, single spaces; "" if it is no text."""
    if not isinstance(answer, str):
        return ""
    text = answer if len(answer) <= LIMIT else f"{answer[: LIMIT // 2]} {answer[-LIMIT // 2 :]}"
    text = unicodedata.normalize("NFKC", html.unescape(_TAG.sub(" ", answer_of(text))))
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def normalise(text: str) -> str:
    """Normalise a label for comparison: lower case, spaces for underscores and hyphens, no punctuation around it."""
    return " ".join(re.sub(r"[_\-]+", " ", text.casefold()).split()).strip(" .,;:!?\"'`*()[]{}<>")


def gives_up(answer: object) -> bool:
    """Tell whether an answer, in which nothing could be read, is empty or declines to decide."""
    text = clean(answer)
    return not words(text) or bool(_REFUSAL.search(text[:400]))


def words(text: str) -> list[str]:
    """List the content words of a text in lower case; the characters of Chinese and Japanese text."""
    return [word for word in _WORD.findall(text.casefold()) if word not in _FUNCTION_WORDS]


def read_options(question: str) -> dict[str, str]:
    """Return letter -> text of the options A, B, ... that a question lists; empty if it lists fewer than two.

    Accepted are `A. happy`, `A) happy`, `(A) happy`, `A: happy` and `[A] happy`, on lines of their own or in one line.
    """
    marks = [(match[1] or match[2], match) for match in _MARK.finditer(question)]
    best: list[re.Match[str]] = []
    for start, (letter, _) in enumerate(marks):
        if letter == "A":
            run: list[re.Match[str]] = []
            for found, match in marks[start:]:
                if found == chr(ord("A") + len(run)):
                    run.append(match)
            best = run if len(run) >= len(best) else best
    if len(best) < 2:
        return {}
    ends = [match.start() for match in best[1:]] + [len(question)]
    texts = [question[match.end() : end].split("\n", 1)[0] for match, end in zip(best, ends, strict=True)]
    texts[-1] = re.split(r"[.?!](?:\s|$)", texts[-1], maxsplit=1)[0]
    return {chr(ord("A") + place): text.strip(" ,;.\t") for place, text in enumerate(texts)}


def read_letters(answer: object, options: Mapping[str, str]) -> frozenset[str]:
    """Return the options that an answer chooses, as letters; empty if it chooses none.

    Tried in turn until one matches: the text of an option and nothing else; letters and nothing else (`B`, `(B)`, `BF`,
    `B, F`); `the answer is B`; marked letters (`B. happy`, `(B)`); texts of options that are named and not negated.
    """
    text = clean(answer)
    if exact := {letter for letter, option in options.items() if normalise(option) == normalise(text)}:
        return frozenset(exact)
    if bare := _bare_letters(text, options):
        return bare
    if stated := _STATED.findall(text):
        letters = frozenset(re.findall(rf"(?<![A-Za-z]){_LETTER}", stated[-1])) & options.keys()
        if letters:
            return letters
    if marked := frozenset(match[1] or match[2] for match in _MARK.finditer(text)) & options.keys():
        return marked
    named = named_labels(text, options.values())
    return frozenset(letter for letter, option in options.items() if option in named)


def _bare_letters(text: str, options: Mapping[str, str]) -> frozenset[str]:
    if len(text) > 4 * len(options) + 20:
        return frozenset()
    tokens = [token for token in re.findall(r"[^\W\d_]+", text) if token.casefold() not in ("and", "option", "options")]
    letters = "".join(tokens).upper() if len("".join(tokens)) == 1 else "".join(tokens)
    bare = len(set(letters)) == len(letters) and set(letters) <= options.keys()
    return frozenset(letters) if bare else frozenset()


def read_label(answer: object, labels: Iterable[str], by_wheel: bool = False) -> str | None:
    """Return the label that an answer equals, or names and does not negate; None if there is none or several.

    Args:
        answer: what a model wrote.
        labels: the closed set.
        by_wheel: where the answer names no label, read the emotion words that it does name as the labels nearest to
            them on the wheel (`angry` as `anger`, `Surprised` as `surprise`); see `affectgpt.answers.nearest`.
    """
    text = clean(answer)
    labels = list(labels)
    known = {normalise(label): label for label in labels}
    if normalise(text) in known:
        return known[normalise(text)]
    named = named_labels(text, known.values())
    if by_wheel and not named:
        return nearest_label(text, labels)
    return next(iter(named)) if len(named) == 1 else None


def read_set(answer: object, labels: Iterable[str]) -> frozenset[str] | None:
    """Return the labels that an answer names and does not negate; None if it neither names any nor says `none`."""
    text = clean(answer)
    named = named_labels(text, labels)
    return named if named or normalise(text) in _NOTHING else None


def read_units(answer: object) -> frozenset[str] | None:
    """Return the facial action units that an answer names, as `AU12`; None if it neither names any nor says `none`."""
    text = clean(answer)
    units = frozenset(f"AU{number}" for number in _AU.findall(text))
    return units if units or normalise(text) in _NOTHING else None


def named_labels(text: str, labels: Iterable[str]) -> frozenset[str]:
    """Return the labels whose words occur in a text and are not negated; of overlapping labels, the longest."""
    known = {normalise(label): label for label in labels if normalise(label)}
    if not known:
        return frozenset()
    either = "|".join(re.escape(label) for label in sorted(known, key=len, reverse=True))
    plain = re.sub(r"[_\-]+", " ", text.casefold())
    return frozenset(
        known[match[0]]
        for match in re.finditer(rf"(?<!\w)(?:{either})(?!\w)", plain)
        if not _NEGATED.search(plain[max(0, match.start() - 60) : match.start()])
    )
