"""Reward functions for GRPO, in TRL's signature: completions and data columns in, a number or None per row out.

None means that a reward does not apply to a row's task; TRL leaves the row out of that reward. Routing is by row, never
by batch. Columns are the fields of `affectgpt.clip.Clip`; a parameter that is no column is a setting of the recipe.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field

from affectgpt.answers.judge import is_right
from affectgpt.emotions.lemmas import tidy
from affectgpt.emotions.matcher import VocabularyMatcher
from affectgpt.emotions.taxonomy import Level, group_of, normalise
from affectgpt.emotions.written import answer_of
from affectgpt.settings import ModelName
from affectgpt.tasks import TASKS, Judged
from videmo.caption_rewards import caption_judge_reward, caption_similarity_reward
from videmo.distance import Costs, Distance, Form, tree_scores, wheel_rename
from videmo.tree import AffectiveTree, parse_tree

RewardFunction = Callable[..., list[float | None]]

Turns = Sequence[Sequence[dict[str, str]] | None] | None
Options = Sequence[Sequence[str] | None] | None

Penalty = Literal["none", "p1", "p2", "p3"]
Count = Annotated[int, Field(ge=1)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_LEVELS: dict[str, tuple[Level, ...]] = {"basic": ("basic",), "fine": ("fine",), "both": ("basic", "fine")}
_BETWEEN = re.compile(r"[,;\n，、；]")
_JOINED = re.compile(r"\s+(?:and|&)\s+|[和与及|/]")
_BULLET = re.compile(r"^\s*(?:[-*•]|[0-9]{1,3}[.)])\s+|^\s*(?:and|or)\s+")
_WORD = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]|[^\W_]+(?:['’-][^\W_]+)*")

_parse = lru_cache(maxsize=4096)(parse_tree)
_matcher = VocabularyMatcher()


def tree_reward(
    completions: Sequence[str],
    task: Sequence[str],
    answer: Sequence[Any],
    form: Form = "linear",
    scale: Weight = 1.0,
    distance: Distance = "matched",
    attribute: Weight = 1.0,
    expression: Weight = 1.0,
    emotion: Weight = 1.0,
    rename: Literal["exact", "wheel"] | ModelName = "exact",
    **_: Any,
) -> list[float | None]:
    """Reward tree rows by the affective tree (VidEmo, section 3.2): see `videmo.distance.tree_scores`.

    Args:
        form: 'published' is the paper's exp(-scale * distance), whose signal dies with the size of the tree.
        scale: the paper's lambda.
        attribute, expression, emotion: weight of a node of each level.
        rename: cost of renaming a node: 'exact', all of its weight; 'wheel', half of it for words of one fine
            group of the emotion wheel; or a sentence encoder, by the cosine of the labels.
    """
    rows = [index for index, (_, kind, _) in enumerate(zip(completions, task, answer, strict=True)) if kind == "tree"]
    pairs = [(_parse(answer[index]), parse_tree(answer_of(completions[index]))) for index in rows]
    costs = _costs(attribute, expression, emotion, rename)
    values: list[float | None] = [None] * len(completions)
    for index, value in zip(rows, tree_scores(pairs, form, scale, distance, costs), strict=True):
        values[index] = value
    return values


@lru_cache
def _costs(attribute: float, expression: float, emotion: float, rename: str) -> Costs:
    if rename in ("exact", "wheel"):
        return Costs(attribute, expression, emotion, wheel_rename if rename == "wheel" else None)
    from videmo.embedding_rename import EmbeddingRename

    return Costs(attribute, expression, emotion, EmbeddingRename(rename))


def format_reward(completions: Sequence[str], task: Sequence[str], **_: Any) -> list[float | None]:
    """Return 1 for a tree row whose completion, outside thoughts, obeys the syntax to the letter, else 0."""
    return [
        float(parse_tree(answer_of(text)).is_valid) if kind == "tree" else None
        for text, kind in zip(completions, task, strict=True)
    ]


def label_reward(
    completions: Sequence[str],
    task: Sequence[str],
    answer: Sequence[Any],
    messages: Turns = None,
    options: Options = None,
    **_: Any,
) -> list[float | None]:
    """Return 1 for the right label, else 0: the emotion on top of a tree, or the answer to a closed question."""
    closed = accuracy_reward(completions, task, answer, messages, options)
    return [
        float(_emotions(parse_tree(answer_of(text))) == _emotions(_parse(gold))) if kind == "tree" else value
        for text, kind, gold, value in zip(completions, task, answer, closed, strict=True)
    ]


def _emotions(tree: AffectiveTree) -> list[str]:
    return sorted(node.label for node in tree.emotions)


def accuracy_reward(
    completions: Sequence[str],
    task: Sequence[str],
    answer: Sequence[Any],
    messages: Turns = None,
    options: Options = None,
    **_: Any,
) -> list[float | None]:
    """Return 1 for the right answer to a closed question, by its text or letter in any capitalisation, else 0.

    VidEmo's rule reward for closed questions (section 3.2), judged as scores and evaluators judge
    (`affectgpt/answers/judge.py`).
    """
    nothing = [None] * len(completions)
    return [
        float(is_right(text, gold, _question(turns), closed)) if _is_judged(kind, "choice") else None
        for text, kind, gold, turns, closed in zip(
            completions, task, answer, messages or nothing, options or nothing, strict=True
        )
    ]


def _is_judged(task: str, *ways: Judged) -> bool:
    return TASKS[task].judged in ways


def _question(messages: Sequence[dict[str, str]] | None) -> str:
    return next((turn["content"] for turn in reversed(messages or ()) if turn["role"] == "user"), "")


def multi_label_f1_reward(
    completions: Sequence[str], task: Sequence[str], answer: Sequence[Any], **_: Any
) -> list[float | None]:
    """Compute the F1 of the labels that a completion lists and the row's, as sets of exact labels.

    VidEmo's rule reward for rows with several labels (section 3.2). Commas of any script, semicolons and lines separate
    labels; `and`, slashes and bars do where they are no part of a label of the row.
    """
    return [
        _labels_f1(answer_of(text), {tidy(label) for label in gold}) if _is_judged(kind, "labels") else None
        for text, kind, gold in zip(completions, task, answer, strict=True)
    ]


def _labels_f1(text: str, gold: set[str]) -> float:
    items = {label for label in (tidy(_BULLET.sub("", item)) for item in _BETWEEN.split(text)) if label}
    joined = {item for item in items - gold if _JOINED.search(item)}
    parts = {label for item in joined for part in _JOINED.split(item) if (label := tidy(part))}
    return _f1((items - joined) | parts, gold)


def _f1(predicted: set[str], gold: set[str]) -> float:
    return 2 * len(predicted & gold) / (len(predicted) + len(gold))


def wheel_f1_reward(
    completions: Sequence[str],
    task: Sequence[str],
    answer: Sequence[Any],
    penalty: Penalty = "none",
    groups: Literal["basic", "fine", "both"] = "both",
    **_: Any,
) -> list[float | None]:
    """Compute the emotion-wheel F1 of the words that a completion names, for rows about emotion words.

    AffectGPT-R1's accuracy reward (arXiv 2508.01318), with the project's wheel instead of the benchmark's five. A word
    that the wheel does not know is a group by itself.

    Args:
        penalty: factor for naming more words (o) than the row has (y). p1: 1 / (o - y + 1); p2: y / o;
            p3: log(y + 1) / log(o + 1), where the published log(y) / log(o) would make 0 of every y = 1.
        groups: levels of the wheel; 'both' is the mean over its two levels.
    """
    return [
        _wheel_f1(text, [gold] if isinstance(gold, str) else gold, penalty, _LEVELS[groups])
        if TASKS[kind].level == "emotion" and _is_judged(kind, "choice", "labels")
        else None
        for text, kind, gold in zip(completions, task, answer, strict=True)
    ]


def _wheel_f1(text: str, gold: Sequence[str], penalty: Penalty, levels: Sequence[Level]) -> float:
    (predicted,) = _matcher.extract([text])

    def groups(words: Sequence[str], level: Level) -> set[str]:
        return {group_of(word, level) or normalise(word) for word in words}

    score = sum(_f1(groups(predicted, level), groups(gold, level)) for level in levels) / len(levels)
    return score * length_penalty(len({*map(normalise, predicted)}), len({*map(normalise, gold)}), penalty)


def length_penalty(predicted: int, gold: int, penalty: Penalty) -> float:
    """Return AffectGPT-R1's factor for naming `predicted` words where the row has `gold`; 1 for no more than these.

    >>> [length_penalty(3, 1, penalty) for penalty in ("none", "p1", "p2", "p3")]
    [1.0, 0.3333333333333333, 0.3333333333333333, 0.5]
    """
    if predicted <= gold or penalty == "none":
        return 1.0
    if penalty == "p1":
        return 1 / (predicted - gold + 1)
    return gold / predicted if penalty == "p2" else math.log(gold + 1) / math.log(predicted + 1)


def repetition_reward(completions: Sequence[str], n: Count = 3, **_: Any) -> list[float | None]:
    """Guard every row: share of a completion's n-grams of words that are new in it; 1 is no repetition."""
    return [_novelty(_WORD.findall(text.casefold()), n) for text in completions]


def _novelty(words: Sequence[str], n: int) -> float:
    grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
    return len(set(grams)) / len(grams) if grams else 1.0


def length_reward(
    completions: Sequence[str], shortest: Count = 1, longest: Count = 256, **_: Any
) -> list[float | None]:
    """Guard every row: 1 from `shortest` to `longest` words, falling linearly to 0 at none and at twice `longest`."""
    counts = [len(_WORD.findall(text)) for text in completions]
    return [max(0.0, min(1.0, count / shortest, 2 - count / longest)) for count in counts]


REWARDS: dict[str, RewardFunction] = {
    "tree": tree_reward,
    "format": format_reward,
    "label": label_reward,
    "accuracy": accuracy_reward,
    "multi_label_f1": multi_label_f1_reward,
    "wheel_f1": wheel_f1_reward,
    "caption_similarity": caption_similarity_reward,
    "caption_judge": caption_judge_reward,
    "repetition": repetition_reward,
    "length": length_reward,
}
"""Name in a recipe -> reward function."""
