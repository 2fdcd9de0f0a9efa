"""A language model that scores captions by the probability it gives each digit, without writing an answer.

The score is the mean of the digits 0 to 9 under the next token's probabilities. It takes one forward pass, no sampling
and no parsing, and tells differences finer than a digit, which a group of rewards needs.

Shapes: B captions, L tokens, V words.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from affectgpt.llm.extract import as_turn
from affectgpt.problems import InputError, Problem, shorten
from affectgpt.prompt_safety import defuse, special_tokens
from affectgpt.prompts import CAPTION_JUDGE

LONGEST = 4_000
"""Longest part of a caption, in characters, that the judge is shown."""
_DIGITS = "0123456789"
_MOST_KEPT = 100_000


class CaptionJudge:
    """Judge that scores captions against references.

    Args:
        model: folder or Hub id of a causal language model that follows instructions.
        device: the accelerator by default, if there is one.

    Raises:
        InputError: the model cannot be loaded, or writes a digit in several tokens.
    """

    def __init__(self, model: str, device: Any = None, batch_size: int = 16) -> None:
        expected = "a causal language model's folder or Hub id"
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="left", trust_remote_code=False)
            self.model: Any = AutoModelForCausalLM.from_pretrained(model, dtype="auto", trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(Problem("caption judge", model, expected, shorten(str(error), 200))) from error
        self.digit_ids = [self.tokenizer(digit, add_special_tokens=False)["input_ids"][-1] for digit in _DIGITS]
        if len(set(self.digit_ids)) < len(_DIGITS):
            raise InputError(Problem("caption judge", model, expected, "one whose digits are not single tokens"))
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.special = special_tokens(self.tokenizer)
        best: Any = device or torch.accelerator.current_accelerator(check_available=True) or "cpu"
        self.model.to(best).eval()
        self.batch_size = batch_size
        self.known: OrderedDict[str, float] = OrderedDict()
        """Scores computed before, by request."""

    def scores(self, captions: Sequence[str], references: Sequence[str]) -> list[float]:
        """Return a score from 0 to 1 for each caption against its reference."""
        requests = [
            CAPTION_JUDGE.format(reference=self._shown(reference), caption=self._shown(caption))
            for caption, reference in zip(captions, references, strict=True)
        ]
        missing = sorted({request for request in requests if request not in self.known}, key=len)
        for start in range(0, len(missing), self.batch_size):
            part = missing[start : start + self.batch_size]
            self.known |= dict(zip(part, self._score(part), strict=True))
        scores = [self.known[request] for request in requests]
        while len(self.known) > _MOST_KEPT:
            self.known.popitem(last=False)
        return scores

    @torch.no_grad()
    def _score(self, requests: Sequence[str]) -> list[float]:
        texts = [as_turn(self.tokenizer, request) for request in requests]
        batch = self.tokenizer(
            texts, return_tensors="pt", padding=True, add_special_tokens=self.tokenizer.chat_template is None
        )
        inputs = {name: batch[name].to(self.model.device) for name in ("input_ids", "attention_mask")}
        positions = inputs["attention_mask"].cumsum(-1) - 1
        logits = self.model(**inputs, position_ids=positions.clamp(min=0), logits_to_keep=1).logits[:, -1]  # (B, V)
        shares = logits[:, self.digit_ids].float().softmax(-1)
        means: list[float] = (shares @ torch.arange(10.0, device=shares.device) / 9).tolist()
        return means

    def _shown(self, text: str) -> str:
        """Return a text on one line, cut, and without anything that would end the request."""
        return defuse(" ".join(text[:LONGEST].encode("utf-8", "replace").decode().split()), self.special)


@lru_cache(maxsize=2)
def load_caption_judge(model: str) -> CaptionJudge:
    """Load the judge of that name, once."""
    return CaptionJudge(model)
