"""Search at inference (VidEmo, section 3.3): writes a tree level by level, keeping the best of n candidates each.

Attributes come first; expressions are conditioned on the attributes that were kept, emotions on both. As there is no
gold tree, a scorer decides which candidate is best. All candidates continue from one cache of their prompt
(`PromptCache`), so that a search reads prompt and media once. The first candidate of every level is the greedy one:
n = 1 gives the greedy answer.

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
from videmo.candidates import Scorer as Scorer  # its documented import path
from videmo.scorers import SCORERS
from videmo.tree import LEVELS, parse_tree


class SearchSettings(BaseModel):
    """Settings of a tree search."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n: int = Field(default=4, ge=1)
    """Number of candidates of each level."""
    node_bonus: float = 0.0
    """Bonus for each node of a candidate, added to its score: above 0 for models that leave out what they see."""
    scorer: str = "likelihood"
    """Scorer: 'likelihood', 'consistency', or the folder or Hub id of a reward model."""
    temperature: float = Field(default=0.7, gt=0)
    """Sampling temperature of all candidates but the first."""
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
    """Search that answers rows that ask for a tree."""

    settings: SearchSettings
    scorer: Scorer

    @torch.no_grad()
    def answer(
        self, model: PreTrainedModel, reader: Reader, clips: Sequence[Clip], max_new_tokens: int = 128
    ) -> list[Answer]:
        """Answer rows together, in their order.

        Args:
            max_new_tokens: limit for all levels together.
        """
        batch = prompt_batch(reader.read(clips), reader.tokenizer.pad_token_id)
        was_training = model.training
        model.eval()
        prompts = PromptCache(model, {name: value.to(model.device) for name, value in batch.items()})
        written: list[list[int]] = [[] for _ in clips]
        kept: dict[int, Candidate] = {}
        open_rows = list(range(len(clips)))
        for above in (LEVELS[1:], LEVELS[2:], ()):
            room = max_new_tokens - max((len(written[row]) for row in open_rows), default=max_new_tokens)
            if room < 1:
                break
            candidates = _draw(model, reader, prompts, open_rows, written, above, self.settings, room)
            scores = self.scorer([clips[row] for row in open_rows], candidates)
            for row, group, values in zip(open_rows, candidates, scores, strict=True):
                kept[row] = self._best(group, values)
                written[row] += kept[row].ids
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
    written: Sequence[Sequence[int]],
    above: Sequence[str],
    settings: SearchSettings,
    room: int,
) -> list[list[Candidate]]:
    """Draw n candidates of a level for each of the rows; `above` are the levels that follow."""
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
    # A level may begin the answer: the end of the prompt counts as a line break, also for the stop strings.
    follows = re.compile(rf"(?:^|\n)(?=[{''.join(above)}][1-9])") if above else None
    candidates = [
        _candidate(reader, written[rows[index // n]], ids, values, ends, follows)
        for index, (ids, values) in enumerate(zip(output.tolist(), log_probs, strict=True))
    ]
    return [candidates[start : start + n] for start in range(0, len(candidates), n)]


def _candidate(
    reader: Reader,
    before: Sequence[int],
    ids: list[int],
    log_probs: Sequence[float],
    ends: Sequence[int],
    follows: re.Pattern[str] | None,
) -> Candidate:
    """Build a candidate from drawn tokens, cut before the level that follows or where the answer ends."""

    def text_of(tokens: Sequence[int]) -> str:
        return str(reader.tokenizer.decode([*before, *tokens], skip_special_tokens=True))

    stops = (*ends, reader.tokenizer.pad_token_id)
    length = next((index for index, token in enumerate(ids) if token in stops), None)
    ended = length is not None and ids[length] in ends
    ids = ids[:length]
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
    """Logits processor that records the log-probability of each drawn token; `greedy` rows draw the likeliest."""

    def __init__(self, greedy: Tensor) -> None:
        self.greedy = greedy
        self.before: Tensor | None = None
        """(B, V) log-probabilities for the token that is being drawn."""
        self.drawn: list[Tensor] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        self._take(input_ids[:, -1:])
        self.before = scores.float().log_softmax(-1)
        others = torch.ones_like(scores, dtype=torch.bool).scatter(-1, scores.argmax(-1, keepdim=True), False)
        return scores.masked_fill(self.greedy[:, None] & others, -torch.inf)

    def _take(self, tokens: Tensor) -> None:
        if self.before is not None:
            self.drawn.append(self.before.gather(-1, tokens))

    def log_probs(self, output: Tensor) -> Tensor:
        """Return the log-probabilities (B, C) of all tokens of the output."""
        self._take(output[:, -1:])
        return torch.cat(self.drawn, dim=1)
