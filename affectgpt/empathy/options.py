"""KEY=VALUE settings of evidence and selection on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from affectgpt.empathy.two_stage import Selection
from affectgpt.evidence.cues import Cues
from affectgpt.problems import InputError, nearest
from affectgpt.settings import read_settings

HELP = (
    "mode=score (or prompt), top=3 (emotions to consider first), causes=3 (words and moments to show), "
    "situation=false, margin=0 and fusion=0 (docs/plugins.md)"
)


def read_options(given: Sequence[str], option: str = "--set", forms: Sequence[Any] = (Selection, Cues)) -> list[Any]:
    """Make `Selection` and `Cues` from KEY=VALUE settings; all others keep their defaults.

    Args:
        forms: the classes to make from the settings.

    Raises:
        InputError: with every setting that is unknown, of the wrong type or out of range.
    """
    pairs = {key: value for key, _, value in (item.partition("=") for item in given)}
    names = {form: [field.name for field in fields(form)] for form in forms}
    known = [name for form in forms for name in names[form]]
    problems = [f"{option} {key}: unknown setting. {nearest(key, known)}" for key in pairs if key not in known]
    made: list[Any] = []
    for form in forms:
        values, wrong = read_settings(form.__init__, {key: pairs[key] for key in names[form] if key in pairs})
        problems += [f"{option} {key}: {problem}" for key, problem in wrong.items()]
        try:
            made.append(form(**values))
        except ValueError as error:
            problems.append(f"{option}: {error}")
    if problems:
        raise InputError(problems)
    return made
