"""The one judge of closed answers: rewards, scores, reports and evaluators use it, so that they cannot disagree.

The rules hold up as a reward. An answer that names several options chooses none of them, so that naming all of them
pays nothing; an answer that cannot be read is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from affectgpt.answers.reading import clean, normalise, read_label, read_letters, read_options
from affectgpt.tasks import TASKS

_LEAD = re.compile(
    r"^(?:(?:so|therefore|thus),? )?(?:the )?(?:(?:correct|right|best) )?(?:answer|option|choice)(?: is)?:? "
)


def read_choice(response: object, question: str = "", options: Sequence[str] | None = None) -> str | None:
    """Read which option of a closed question an answer chooses; None where it chooses none or several.

    Args:
        response: what a model wrote; thoughts and tags around the answer do not count.
        question: the text that was asked. Where it lists options by letters, these are what can be chosen.
        options: the closed set, if the question lists none. Without either, the whole answer is the choice.

    Returns:
        The option in the form in which labels are compared (`normalise`).

    >>> question = "What is the mouth like? A. open B. pressed together"
    >>> [read_choice(answer, question) for answer in ("B", "(B) Pressed together", "A, B")]
    ['pressed together', 'pressed together', None]
    """
    listed = read_options(question)
    if listed:
        letters = read_letters(response, listed)
        return normalise(listed[next(iter(letters))]) if len(letters) == 1 else None
    if options:
        label = read_label(response, options)
        return None if label is None else normalise(label)
    return normalise(_LEAD.sub("", normalise(clean(response)))) or None


def question_for(gold: str, question: str) -> str:
    """Return the question, or "" if what it numbers are no options, as the gold answer is none of them.

    So it is with `1. Look at the face. 2. Name the emotion.`
    """
    listed = read_options(question)
    return "" if "1" in listed and not read_letters(gold, listed) else question


def gold_choice(gold: str, question: str = "") -> str | None:
    """Read the gold answer of a closed question, a text or a letter; None if the question does not list it."""
    listed = read_options(question)
    if not listed:
        return normalise(gold)
    letters = read_letters(gold, listed)
    return normalise(listed[next(iter(letters))]) if len(letters) == 1 else None


def is_right(response: object, gold: str, question: str = "", options: Sequence[str] | None = None) -> bool:
    """Tell whether an answer to a closed question is right; see `read_choice`."""
    question = question_for(gold, question)
    right = gold_choice(gold, question)
    if right is None:  # the letters belong to something else
        question, right = "", normalise(gold)
    return read_choice(response, question, options) == right


def closed_sets(rows: Iterable[tuple[str, object]]) -> dict[str, list[str]]:
    """Collect the closed set of each task, for rows without options of their own: every label that is gold in some row.

    Args:
        rows: task and gold answer of each.
    """
    found: dict[str, set[str]] = {}
    for task, gold in rows:
        if task in TASKS and TASKS[task].judged == "choice" and isinstance(gold, str):
            found.setdefault(task, set()).add(gold)
    return {task: sorted(labels) for task, labels in found.items()}
