"""Two-stage emotion prediction (HEF, arXiv 2402.11801): the plugins' likeliest emotions first, the others if none fits.

- mode `prompt`: one answer to a prompt that describes the two stages, read strictly; an answer in another format
  decides nothing.
- mode `score`: log-likelihoods s of the whole closed set, so that no answer has to be read. With P the first emotions,
  and p the plugins' probabilities, stage 1 takes the best of P where

      s(best) + fusion * log p(best)  >  s('none of these') + fusion * log p(none of P) + margin;

  stage 2 takes the best of all others. Without evidence the best of the closed set is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import TASKS
from affectgpt.evidence.kinds.emotion import Shortlist
from affectgpt.evidence.shortlist import opening, read_answer, shortlist
from affectgpt.inference.generate import answer
from affectgpt.inference.label_scores import score_labels
from affectgpt.inputs.open import begin_answer
from affectgpt.inputs.reader import Reader
from affectgpt.problems import InputError
from affectgpt.prompts import EMPATHY

Mode = Literal["score", "prompt"]
_LEAST = 1e-6
"""Lower bound of the plugins' probabilities, so that their logarithms stay finite."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Settings of two-stage prediction."""

    mode: Mode = "score"
    margin: float = 0.0
    """Margin in nats by which the best of the first emotions must be likelier than 'none of these'."""
    fusion: float = 0.0
    """Weight of the plugins' log-probabilities relative to the model's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Decision about the emotion of a row."""

    emotion: str | None
    """Predicted emotion; None where the answer could not be read."""
    said: str
    """Emotion as the model wrote it."""
    stage: int | None
    """Stage of the emotion: 1 among the first emotions, 2 among the others; None without evidence or emotion."""
    response: str | None = None


def decide(
    model: Any,
    reader: Reader,
    clips: Sequence[Clip],
    selection: Selection = Selection(),
    batch_size: int = 16,
    max_new_tokens: int = 64,
    respond: bool = True,
) -> list[Decision]:
    """Decide the emotion of rows, in their order; the model also responds to dialogues.

    Args:
        max_new_tokens: most tokens of an answer.
        respond: in mode `score`, also generate the response.

    Raises:
        InputError: a row without a closed set in mode `score`; every one is named.
    """
    if selection.mode == "prompt":
        return _by_prompt(model, reader, clips, batch_size, max_new_tokens)
    lists = [shortlist(clip, reader.cues) for clip in clips]
    scores = score_clips(model, reader, clips, batch_size)
    chosen = [select(found, options, selection) for found, options in zip(scores, lists, strict=True)]
    responses: list[str | None] = [None] * len(clips)
    if respond:
        responses = _responses(model, reader, clips, [label for label, _ in chosen], batch_size, max_new_tokens)
    return [Decision(label, label, stage, response) for (label, stage), response in zip(chosen, responses, strict=True)]


def score_clips(model: Any, reader: Reader, clips: Sequence[Clip], batch_size: int = 16) -> list[dict[str, float]]:
    """Compute the log-likelihood of every emotion of each row's closed set, and of 'none of these'.

    Raises:
        InputError: rows without a closed set; every one is named.
    """
    by_labels: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    problems = []
    for place, clip in enumerate(clips):
        emotions = shortlist(clip, reader.cues)
        labels = tuple(clip.options or sorted(emotions.first + emotions.rest))
        if clip.task not in TASKS or not labels:
            problems.append(f"row {clip.id}: expected a closed set of emotions to score, got none. Give it 'options'.")
        by_labels.setdefault((clip.task, labels), []).append(place)
    if problems:
        raise InputError(problems)
    scores: list[dict[str, float]] = [{}] * len(clips)
    for (_, labels), places in by_labels.items():
        part = [clips[place] for place in places]
        told = [*labels, EMPATHY["none"]]
        openings = [opening(part[0], label) for label in told]
        found = score_labels(model, reader, reader.read(part), openings, batch_size)
        for place, values in zip(places, found.tolist(), strict=True):
            scores[place] = dict(zip(told, values, strict=True))
    return scores


def select(scores: Mapping[str, float], emotions: Shortlist, selection: Selection) -> tuple[str, int | None]:
    """Select the emotion of a row and its stage by log-likelihoods."""
    if emotions.evidence is None:
        return max(emotions.rest, key=lambda label: scores[label]), None
    sure = dict(zip(emotions.evidence.labels, emotions.evidence.probabilities, strict=True))

    def fused(label: str) -> float:
        return scores[label] + selection.fusion * math.log(max(sure[label], _LEAST))

    best = max(emotions.first, key=fused)
    left = max(1 - sum(sure[label] for label in emotions.first), _LEAST)
    none = scores[EMPATHY["none"]] + selection.fusion * math.log(left)
    if not emotions.rest or fused(best) - none > selection.margin:
        return best, 1
    return max(emotions.rest, key=fused), 2


def _responses(
    model: Any, reader: Reader, clips: Sequence[Clip], emotions: Sequence[str], batch_size: int, max_new_tokens: int
) -> list[str | None]:
    """Generate the response to each dialogue after its emotion; None for other rows."""
    places = [place for place, clip in enumerate(clips) if clip.task == "dialogue"]
    found: list[str | None] = [None] * len(clips)
    for start in range(0, len(places), batch_size):
        part = places[start : start + batch_size]
        read = zip(part, reader.read([clips[place] for place in part]), strict=True)
        rows = [
            begin_answer(reader, row, f"{opening(clips[place], emotions[place])}\nResponse:") for place, row in read
        ]
        for place, said in zip(part, answer(model, reader, rows, max_new_tokens), strict=True):
            found[place] = said.text or None
    return found


def _by_prompt(
    model: Any, reader: Reader, clips: Sequence[Clip], batch_size: int, max_new_tokens: int
) -> list[Decision]:
    decisions = []
    for start in range(0, len(clips), batch_size):
        part = clips[start : start + batch_size]
        for clip, said in zip(part, answer(model, reader, reader.read(part), max_new_tokens), strict=True):
            found, emotions = read_answer(clip, said.text), shortlist(clip, reader.cues)
            stage = None if found.emotion is None or not emotions.first else 1 + (found.emotion not in emotions.first)
            decisions.append(Decision(found.emotion, found.said, stage, found.response))
    return decisions
