"""Reading of free answers: the option that one chooses, the labels that it names, its number, or whether it gives up.

Only rules are used, so that reading is cheap and deterministic. No text of a model makes these functions raise, and
they read at most `LIMIT` characters of it, so that none takes long. What they cannot be sure of they do not read.
"""

from __future__ import annotations

import re

from affectgpt.answers.labels import named_labels, one_spelling, read_label, read_set, spelling_note
from affectgpt.answers.numbers import read_number
from affectgpt.answers.options import read_letters, read_options
from affectgpt.answers.plain import LIMIT, clean, normalise, words
from affectgpt.answers.units import read_members, read_units

__all__ = [
    "LIMIT",
    "clean",
    "gives_up",
    "named_labels",
    "normalise",
    "one_spelling",
    "read_label",
    "read_letters",
    "read_members",
    "read_number",
    "read_options",
    "read_set",
    "read_units",
    "spelling_note",
    "words",
]

_REFUSAL = re.compile(
    r"(?i)\b(?:unable|not able|impossible|not possible) to\b|\b(?:can ?not|can['’]t|could not|couldn['’]t) "
    r"(?:be )?(?:tell|determine|identif|say|see|judge|assist|help|answer|provide|know)|\b(?:do not|don['’]t) know\b|"
    r"\b(?:not sure|unclear|unknown|undetermined|indeterminate|n/a|no idea|insufficient|as an ai)\b|"
    r"无法|不知道|不确定|^sorry"
)


def gives_up(answer: object) -> bool:
    """Tell whether an answer, in which nothing could be read, is empty or declines to decide."""
    text = clean(answer)
    return not words(text) or bool(_REFUSAL.search(text[:400]))
