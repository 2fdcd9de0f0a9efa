"""The emotions of a row in the order of two-stage prediction, and the strict reading of an answer that names one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.kinds.emotion import Shortlist, shortlist_of
from affectgpt.evidence.plain import plain
from affectgpt.evidence.table import read_all

_LINES = re.compile(r"\s*emotion\s*:(?P<emotion>[^\n]*)(?:\n+\s*response\s*:(?P<response>.*))?", re.I | re.S)


@dataclass(frozen=True, slots=True)
class Reading:
    """Emotion read from an answer; nothing is guessed."""

    emotion: str | None
    """Label of the closed set, or of the evidence where there is no such set; None where the answer names none."""
    said: str
    """Text of the answer where the emotion should be."""
    response: str | None = None


def shortlist(clip: Clip, cues: Cues = Cues()) -> Shortlist:  # noqa: B008 (frozen)
    """Order the emotions of a row as two-stage prediction considers them.

    Raises:
        InputError: malformed evidence, or evidence of labels that the row's options lack; names the row.
    """
    return shortlist_of([*read_all(clip.evidence, f"row {clip.id}, evidence").values()], clip, cues)


def opening(clip: Clip, label: str) -> str:
    """Return the beginning of an answer to a row that names this emotion."""
    return f"Emotion: {label}" if clip.task == "dialogue" else label


def read_answer(clip: Clip, text: str) -> Reading:
    """Read the emotion from an answer: from the two lines of a dialogue's, else from the whole text."""
    lines = _LINES.match(text) if clip.task == "dialogue" else None
    said = (lines["emotion"] if lines else "" if clip.task == "dialogue" else text).strip()
    emotions = shortlist(clip)
    labels = emotions.evidence.labels if emotions.evidence else emotions.rest
    emotion = {tidy(plain(label)): label for label in labels}.get(tidy(said))
    response = ((lines["response"] or "") if lines else "").strip()
    return Reading(emotion, said, response or None)
