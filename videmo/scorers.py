"""Scorers of a search: rate candidates without a gold tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from affectgpt.clip import Clip
from videmo.candidates import Candidate, Scorer
from videmo.distance import tree_similarity
from videmo.reward_model import RewardModel
from videmo.tree import parse_tree


def likelihood(clips: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
    """Score each candidate by its mean log-probability per token under the model itself."""
    return [[candidate.likelihood for candidate in group] for group in candidates]


def consistency(clips: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
    """Score each candidate by its mean tree similarity to the others (minimum Bayes risk)."""
    return [_agreement([candidate.text for candidate in group]) for group in candidates]


def _agreement(texts: Sequence[str]) -> list[float]:
    """Return the mean similarity of each text to the others, some of which may equal it."""
    distinct = [*dict.fromkeys(texts)]
    trees = [parse_tree(text) for text in distinct]
    similarity = {(one, one): 1.0 for one in distinct}
    for index, one in enumerate(distinct):
        for other, text in zip(trees[:index], distinct, strict=False):
            # In both directions, since what could not be parsed counts against the second.
            mean = (tree_similarity(other, trees[index]) + tree_similarity(trees[index], other)) / 2
            similarity[one, text] = similarity[text, one] = mean
    return [
        sum(similarity[one, other] for at, other in enumerate(texts) if at != index) / max(1, len(texts) - 1)
        for index, one in enumerate(texts)
    ]


SCORERS: dict[str, Scorer] = {"likelihood": likelihood, "consistency": consistency}
"""Scorers that need no model of their own."""


def load_scorer(name: str, device: Any) -> Scorer:
    """Load a scorer by name, or a reward model.

    Raises:
        InputError: the name is neither.
    """
    if name in SCORERS:
        return SCORERS[name]
    return RewardModel(name, device, SCORERS)
