"""Rewards of short captions by a local model, in place of VidEmo's model reward (section 3.2), which is unpublished.

They apply to rows whose answer is free text about the clip, and read only texts.
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
    """Compute the cosine of completion and caption by a sentence encoder; 0 where negative or the completion is empty.

    Args:
        model: folder or Hub id of the encoder.
    """

    def score(answers: Sequence[str], gold: Sequence[str]) -> list[float]:
        from affectgpt.llm.sentence_encoder import load_sentence_encoder

        return load_sentence_encoder(model).similarities(answers, gold)

    return _of_captions(score, completions, task, answer)


def caption_judge_reward(
    completions: Sequence[str], task: Sequence[str], answer: Sequence[Any], model: ModelName, **_: Any
) -> list[float | None]:
    """Score each completion against the caption with a language model, 0 to 1; see `videmo.caption_judge`.

    Args:
        model: folder or Hub id of the language model.
    """

    def score(answers: Sequence[str], gold: Sequence[str]) -> list[float]:
        from videmo.caption_judge import load_caption_judge

        return load_caption_judge(model).scores(answers, gold)

    return _of_captions(score, completions, task, answer)


def _of_captions(
    score: Callable[[Sequence[str], Sequence[str]], Sequence[float]],
    completions: Sequence[str],
    task: Sequence[str],
    answer: Sequence[Any],
) -> list[float | None]:
    """Score, in one batch, the rows that ask for a caption and got one."""
    rows = list(zip(map(answer_of, completions), task, answer, strict=True))
    values: list[float | None] = [0.0 if _is_caption(kind) else None for _, kind, _ in rows]
    answered = [index for index, (text, kind, _) in enumerate(rows) if _is_caption(kind) and text.strip()]
    if answered:
        scores = score([rows[index][0] for index in answered], [rows[index][2] for index in answered])
        for index, value in zip(answered, scores, strict=True):
            values[index] = max(0.0, value)
    return values
