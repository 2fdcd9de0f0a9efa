"""Candidates of a tree search, and the type of a scorer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from affectgpt.clip import Clip


@dataclass(frozen=True, slots=True)
class Candidate:
    """Candidate continuation of a tree by one level."""

    ids: list[int]
    """Tokens of the level, without those that ended the answer."""
    text: str
    """Whole text so far, from the first level to this one."""
    likelihood: float
    """Mean log-probability in nats of its tokens, and of the end token if it ends the answer."""
    goes_on: bool
    """Whether a higher level was about to follow."""
    complete: bool
    """Whether the answer ended in it by itself."""


Scorer = Callable[[Sequence[Clip], Sequence[Sequence[Candidate]]], Sequence[Sequence[float]]]
"""Callable: rows and the candidates of each -> a score for every candidate. The highest wins, the first of equals."""
