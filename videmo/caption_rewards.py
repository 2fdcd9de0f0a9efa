"""Rewards of short captions by a local model: VidEmo's model reward (section 3.2), whose model is not published.

They apply to rows whose answer is free text about the clip, and read nothing but texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from affectgpt.emotions.written import answer_of
from affectgpt.settings import ModelName
from affectgpt.tasks import TASKS


def _is_caption(task: str) -> bool:
    return TASKS[task].judged == "words" and TASKS[task].scored


def caption_similarity_reward(
    completions: Sequence[str], task: Sequence[str], answer: Sequence[Any], model: ModelName, **_: Any
) -> list[float | None]:
    """Cosine of completion and caption to a sentence encoder, 0 where it is negative or nothing is said.

    Args:
        model: folder or Hub id of the encoder.
    """

    def score(said: Sequence[str], gold: Sequence[str]) -> list[float]:
        from affectgpt.llm.sentence_encoder import load_sentence_encoder

        return load_sentence_encoder(model).similarities(said, gold)

    return _of_captions(score, completions, task, answer)


def caption_judge_reward(
    completions: Sequence[str], task: Sequence[str], answer: Sequence[Any], model: ModelName, **_: Any
) -> list[float | None]:
    """The mark that a language model gives a completion beside the caption, 0 to 1; see `videmo.caption_judge`.

    Args:
        model: folder or Hub id of the language model.
    """

    def score(said: Sequence[str], gold: Sequence[str]) -> list[float]:
        from videmo.caption_judge import load_caption_judge

        return load_caption_judge(model).marks(said, gold)

    return _of_captions(score, completions, task, answer)


def _of_captions(
    score: Callable[[Sequence[str], Sequence[str]], Sequence[float]],
    completions: Sequence[str],
    task: Sequence[str],
    answer: Sequence[Any],
) -> list[float | None]:
    """Scores of the rows that ask for a caption and got one, all of them together."""
    rows = list(zip(map(answer_of, completions), task, answer, strict=True))
    values: list[float | None] = [0.0 if _is_caption(kind) else None for _, kind, _ in rows]
    told = [place for place, (said, kind, _) in enumerate(rows) if _is_caption(kind) and said.strip()]
    if told:
        for place, value in zip(told, score([rows[at][0] for at in told], [rows[at][2] for at in told]), strict=True):
            values[place] = max(0.0, value)
    return values
