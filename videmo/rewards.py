"""Reward functions for GRPO, in TRL's signature: completions and data columns in, a number or None per row out.

None means that a reward does not apply to a row's task; TRL leaves the row out of that reward. Routing is by row, never
by batch. Columns are the fields of `affectgpt.clip.Clip`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from videmo.distance import tree_similarity
from videmo.tree import AffectiveTree, parse_tree

RewardFunction = Callable[..., list[float | None]]

_parse = lru_cache(maxsize=4096)(parse_tree)


def tree_reward(completions: Sequence[str], task: Sequence[str], answer: Sequence[Any], **_: Any) -> list[float | None]:
    """Affective-tree reward: 1 - matched edit distance / nodes of both trees, for tree rows.

    The published form is exp(-lambda * distance) (VidEmo, section 3.2), see `distance.published_reward`; its signal
    dies with the size of the tree, which this one's does not.
    """
    return [
        tree_similarity(_parse(gold), parse_tree(text)) if kind == "tree" else None
        for text, kind, gold in zip(completions, task, answer, strict=True)
    ]


def format_reward(completions: Sequence[str], task: Sequence[str], **_: Any) -> list[float | None]:
    """1 for a tree that obeys the syntax to the letter, 0 for one that does not, for tree rows."""
    return [
        float(parse_tree(text).is_valid) if kind == "tree" else None
        for text, kind in zip(completions, task, strict=True)
    ]


def label_reward(
    completions: Sequence[str], task: Sequence[str], answer: Sequence[Any], **_: Any
) -> list[float | None]:
    """1 for the right label, else 0: the emotion on top of a tree, or the answer to a closed question."""
    return [_label_score(text, kind, gold) for text, kind, gold in zip(completions, task, answer, strict=True)]


def _label_score(text: str, task: str, gold: Any) -> float | None:
    if task == "tree":
        return float(_emotions(parse_tree(text)) == _emotions(_parse(gold)))
    if task in ("attribute_closed", "expression_single", "emotion_label"):
        return float(text.strip() == gold)
    return None


def _emotions(tree: AffectiveTree) -> list[str]:
    return sorted(node.label for node in tree.emotions)


REWARDS: dict[str, RewardFunction] = {"tree": tree_reward, "format": format_reward, "label": label_reward}
"""Name in a recipe -> function."""
