"""Whether a completion answers a closed question rightly: rules that a reward can stand on.

Strict on purpose. An answer that goes through several options chooses none of them, so that naming all pays nothing.
"""

from __future__ import annotations

import re

from affectgpt.emotions.written import answer_of

_OPTION = re.compile(r"(?:^|(?<=\s))[(\[]?([A-Z])[).:\]]\s*(.+?)(?=\s+[(\[]?[A-Z][).:\]]|\n|$)")
_LEAD = re.compile(
    r"^(?:(?:so|therefore|thus) )?(?:the )?(?:(?:correct |right |best )?(?:answer|option|choice))(?: is)? "
)
_NO_WORD = re.compile(r"[\W_]+")


def chooses(completion: str, gold: str, question: str = "") -> bool:
    """Whether a completion is the right option: its text, the letter that the question gives it, or both.

    Thoughts before `</think>` and tags around the answer do not count, nor capitals, punctuation and `the answer is`.

    Args:
        gold: the right option's text, or its letter.

    >>> question = "What is the mouth like? A. open B. pressed together"
    >>> [chooses(said, "pressed together", question) for said in ("B", "B. Pressed together", "A, B")]
    [True, True, False]
    """
    said = _plain(answer_of(completion))
    forms = {_plain(gold)}
    for letter, text in _OPTION.findall(question):
        if _plain(gold) in (_plain(text), letter.lower()):
            forms |= {letter.lower(), _plain(text), _plain(f"{letter} {text}")}
    return bool(said) and (said in forms or _LEAD.sub("", said) in forms)


def _plain(text: str) -> str:
    return _NO_WORD.sub(" ", text.casefold()).strip()
