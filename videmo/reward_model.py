"""A text-only reward model: scores an answer to a question without a reference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch

from affectgpt.clip import Clip
from affectgpt.problems import InputError, Problem, nearest, shorten
from affectgpt.prompt_safety import defuse, special_tokens
from affectgpt.prompts import with_subtitle
from videmo.candidates import Candidate


class RewardModel:
    """Scorer of conversations by a sequence classifier with one output, as `trl.RewardTrainer` trains it.

    Args:
        model: folder or Hub id.
        others: names that the user could have meant, for the error message.

    Raises:
        InputError: the model cannot be loaded, or has another number of outputs.
    """

    def __init__(self, model: str, device: Any = "cpu", others: Collection[str] = (), batch_size: int = 16) -> None:
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        expected = "a reward model's folder or Hub id (a sequence classifier with one output)"
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="right", trust_remote_code=False)
            self.model: Any = AutoModelForSequenceClassification.from_pretrained(
                model, dtype="auto", trust_remote_code=False
            )
        except (OSError, ValueError, KeyError) as error:
            fix = nearest(model, others) if others else ""
            raise InputError(Problem("scorer", model, expected, shorten(str(error), 200), fix)) from error
        if self.model.config.num_labels != 1:
            raise InputError(Problem("scorer", model, expected, f"one with {self.model.config.num_labels}"))
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.model.config.get_text_config().pad_token_id = self.tokenizer.pad_token_id
        self.special = special_tokens(self.tokenizer)
        self.model.to(device).eval()
        self.batch_size = batch_size

    def __call__(self, clips: Sequence[Clip], candidates: Sequence[Sequence[Candidate]]) -> list[list[float]]:
        """Return a score for every candidate of every row, as `videmo.candidates.Scorer` requires."""
        texts = [
            self._render(clip, candidate.text)
            for clip, group in zip(clips, candidates, strict=True)
            for candidate in group
        ]
        scores = iter(self._score(texts))
        return [[next(scores) for _ in group] for group in candidates]

    @torch.no_grad()
    def _score(self, texts: Sequence[str]) -> list[float]:
        distinct = sorted(set(texts), key=len)
        known: dict[str, float] = {}
        for start in range(0, len(distinct), self.batch_size):
            part = distinct[start : start + self.batch_size]
            batch = self.tokenizer(
                part, return_tensors="pt", padding=True, add_special_tokens=self.tokenizer.chat_template is None
            )
            inputs = {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
            known |= dict(zip(part, self.model(**inputs).logits[:, 0].float().tolist(), strict=True))
        return [known[text] for text in texts]

    def _render(self, clip: Clip, answer: str) -> str:
        """Render the conversation for the reward model; the clip's subtitle stands in for the clip."""
        before = [{**turn, "content": defuse(turn["content"], self.special)} for turn in clip.prompt]
        question, answer = before.pop(), defuse(answer, self.special)
        subtitle = defuse(clip.subtitle, self.special) if clip.subtitle else None
        asked = with_subtitle(question["content"], subtitle)
        if self.tokenizer.chat_template is None:
            return f"{asked}\n{answer}"
        turns = [*before, {**question, "content": asked}, {"role": "assistant", "content": answer}]
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False))
