"""Reasoning at inference (VidEmo, section 3.3): a tree is written level by level, of each the best of n candidates.

Attributes first; expressions are conditioned on the attributes that were kept, emotions on both. Without the truth at
hand, a scorer says which candidate is best. All candidates go on from one cache of their prompt (`PromptCache`), so
that a search reads prompt and media once. The first candidate of every level is the greedy one: n = 1 is the greedy
answer.

Shapes: U rows, n candidates of each, C tokens, V words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from affectgpt.clip import Clip
from affectgpt.inference.generate import Answer, end_tokens
from affectgpt.inference.prompt_cache import PromptCache
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.reader import Reader
from affectgpt.problems import nearest
from videmo.candidates import Candidate
from videmo.candidates import Scorer as Scorer  # the documented place of its name
from videmo.scorers import SCORERS
from videmo.tree import LEVELS, parse_tree


class SearchSettings(BaseModel):
    """How a tree is searched for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=4, ge=1)
    """Candidates of each level."""
    node_bonus: float = 0.0
    """What each node of a candidate adds to its score: above 0 for models that leave out what they see."""
    scorer: str = "likelihood"
    """'likelihood', 'consistency', or the folder or Hub id of a reward model."""
    temperature: float = Field(default=0.7, gt=0)
    """Of the candidates that are drawn, all but the first."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("scorer")
    @classmethod
    def _scorer(cls, name: str) -> str:
        if name not in SCORERS and "/" not in name and not Path(name).is_dir():
            raise ValueError(f"{', '.join(SCORERS)}, or a reward model's folder or Hub id. {nearest(name, SCORERS)}")
        return name


@dataclass(frozen=True, slots=True)
class TreeSearch:
    """Answers to rows that ask for a tree."""

    settings: SearchSettings
    scorer: Scorer

    @torch.no_grad()
    def answer(
        self, model: PreTrainedModel, reader: Reader, clips: Sequence[Clip], max_new_tokens: int = 128
    ) -> list[Answer]:
        """Answer rows together, in their order.

        Args:
            max_new_tokens: of all levels together.
        """
        batch = prompt_batch(reader.read(clips), reader.tokenizer.pad_token_id)
        was_training = model.training
        model.eval()
        prompts = PromptCache(model, {name: value.to(model.device) for name, value in batch.items()})
        said: list[list[int]] = [[] for _ in clips]
        kept: dict[int, Candidate] = {}
        open_rows = list(range(len(clips)))
        for above in (LEVELS[1:], LEVELS[2:], ()):
            room = max_new_tokens - max((len(said[row]) for row in open_rows), default=max_new_tokens)
            if room < 1:
                break
            candidates = _draw(model, reader, prompts, open_rows, said, above, self.settings, room)
            scores = self.scorer([clips[row] for row in open_rows], candidates)
            for row, group, values in zip(open_rows, candidates, scores, strict=True):
                kept[row] = self._best(group, values)
                said[row] += kept[row].ids
            open_rows = [row for row in open_rows if kept[row].goes_on]
            prompts.extend([kept[row].ids if kept[row].goes_on else [] for row in range(len(clips))])
        model.train(was_training)
        return [Answer(kept[row].text.strip(), kept[row].complete) for row in range(len(clips))]

    def _best(self, group: Sequence[Candidate], scores: Sequence[float]) -> Candidate:
        bonus = self.settings.node_bonus
        total = [
            score + (bonus * len(parse_tree(candidate.text)) if bonus else 0.0)
            for candidate, score in zip(group, scores, strict=True)
        ]
        return group[total.index(max(total))]


def _draw(
    model: Any,
    reader: Reader,
    prompts: PromptCache,
    rows: Sequence[int],
    said: Sequence[Sequence[int]],
    above: Sequence[str],
    settings: SearchSettings,
    room: int,
) -> list[list[Candidate]]:
    """n candidates of a level for each of the rows; `above` are the levels that follow."""
    tokenizer, n = reader.tokenizer, settings.n
    ends = end_tokens(model, tokenizer)
    group = torch.tensor(rows, device=model.device).repeat_interleave(n)
    watch = _Watch(torch.arange(len(group), device=model.device) % n == 0)
    drawing = GenerationConfig(
        max_new_tokens=room,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=ends,
        stop_strings=[*reader.stop_strings, *(f"\n{level}1" for level in above)] or None,
        do_sample=True,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=0,
    )
    output = prompts.answer(
        group, generation_config=drawing, logits_processor=LogitsProcessorList([watch]), tokenizer=tokenizer
    )
    log_probs = watch.log_probs(output).tolist()
    # An answer may begin with one: the end of the prompt counts as a line break, to what stops the drawing too.
    follows = re.compile(rf"(?:^|\n)(?=[{''.join(above)}][1-9])") if above else None
    found = [
        _candidate(reader, said[rows[place // n]], ids, values, ends, follows)
        for place, (ids, values) in enumerate(zip(output.tolist(), log_probs, strict=True))
    ]
    return [found[start : start + n] for start in range(0, len(found), n)]


def _candidate(
    reader: Reader,
    before: Sequence[int],
    ids: list[int],
    log_probs: Sequence[float],
    ends: Sequence[int],
    follows: re.Pattern[str] | None,
) -> Candidate:
    """What was drawn, cut before the level that follows, or where the answer ends."""

    def text_of(tokens: Sequence[int]) -> str:
        return str(reader.tokenizer.decode([*before, *tokens], skip_special_tokens=True))

    place = next((place for place, token in enumerate(ids) if token in (*ends, reader.tokenizer.pad_token_id)), None)
    ended = place is not None and ids[place] in ends
    ids = ids[:place]
    text = text_of(ids)
    start = len(text_of([]))
    next_level = follows.search(text, max(0, start - 1)) if follows else None
    if next_level:
        while len(text_of(ids)) > next_level.end():  # its line break may stay
            ids = ids[:-1]
        counted = log_probs[: max(1, len(ids))]
        return Candidate(ids, text_of(ids), sum(counted) / len(counted), goes_on=True, complete=False)
    stop = next((stop for stop in reader.stop_strings if text.endswith(stop)), "")
    counted = log_probs[: len(ids) + ended]
    mean = sum(counted) / len(counted)
    return Candidate(ids, text.removesuffix(stop), mean, goes_on=False, complete=ended or bool(stop))


class _Watch(LogitsProcessor):
    """Keeps the log-probability of each token that is drawn; lets the `greedy` rows draw the likeliest token alone."""

    def __init__(self, greedy: Tensor) -> None:
        self.greedy = greedy
        self.before: Tensor | None = None
        """(B, V) log-probabilities of the token that is being drawn."""
        self.found: list[Tensor] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._take(input_ids[:, -1:])
        self.before = scores.float().log_softmax(-1)
        others = torch.ones_like(scores, dtype=torch.bool).scatter(-1, scores.argmax(-1, keepdim=True), False)
        return scores.masked_fill(self.greedy[:, None] & others, -torch.inf)

    def _take(self, tokens: Tensor) -> None:
        if self.before is not None:
            self.found.append(self.before.gather(-1, tokens))

    def log_probs(self, output: Tensor) -> Tensor:
        """(B, C) of the tokens of the whole output."""
        self._take(output[:, -1:])
        return torch.cat(self.found, dim=1)
