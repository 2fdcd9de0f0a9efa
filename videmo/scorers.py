"""Scorers of a search: which of several candidates is best, with no gold tree at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from affectgpt.clip import Clip
from videmo.candidates import Candidate, Scorer
from videmo.distance import tree_similarity
from videmo.reward_model import RewardModel
from videmo.tree import parse_tree


def likelihood(clips: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
    """What the model itself finds likeliest, by token."""
    return [[candidate.likelihood for candidate in group] for group in candidates]


def consistency(clips: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
    """Mean tree similarity to the other candidates: what most of them agree on (minimum Bayes risk)."""
    return [_agreement([candidate.text for candidate in group]) for group in candidates]


def _agreement(texts: Sequence[str]) -> list[float]:
    """Of each text with the others, which may be equal to it."""
    distinct = [*dict.fromkeys(texts)]
    trees = [parse_tree(text) for text in distinct]
    similarity = {(one, one): 1.0 for one in distinct}
    for place, one in enumerate(distinct):
        for other, text in zip(trees[:place], distinct, strict=False):
            # In both directions, since what could not be parsed counts against the second.
            mean = (tree_similarity(other, trees[place]) + tree_similarity(trees[place], other)) / 2
            similarity[one, text] = similarity[text, one] = mean
    return [
        sum(similarity[one, other] for at, other in enumerate(texts) if at != place) / max(1, len(texts) - 1)
        for place, one in enumerate(texts)
    ]


SCORERS: dict[str, Scorer] = {"likelihood": likelihood, "consistency": consistency}
"""Those that need no model of their own."""


def load_scorer(name: str, device: Any) -> Scorer:
    """The scorer of a name, or a reward model.

    Raises:
        InputError: it is neither.
    """
    if name in SCORERS:
        return SCORERS[name]
    return RewardModel(name, device, SCORERS)
