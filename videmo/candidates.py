"""Candidates of a search for trees, and what a scorer of them is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from affectgpt.clip import Clip


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to go on with a tree for a level."""

    ids: list[int]
    """Tokens of the level, without what ended the answer."""
    text: str
    """All that is said with it, from the first level on."""
    likelihood: float
    """Mean log-probability of its tokens, and of the end of the answer where it comes to that; nats."""
    goes_on: bool
    """Whether a higher level was about to follow."""
    complete: bool
    """Whether the answer came to an end in it by itself."""


Scorer = Callable[[Sequence[Clip], Sequence[Sequence[Candidate]]], Sequence[Sequence[float]]]
"""From rows, and the candidates of each, to a score of every candidate; the highest is kept, of equals the first."""
