"""Sentence embeddings by any encoder of the Hub, to compare labels or captions by meaning.

Shapes: N texts, L tokens, D the width of the encoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, AutoTokenizer
from transformers.utils import cached_file

from affectgpt.problems import InputError, Problem, shorten

_POOLINGS = ("mean_tokens", "cls_token", "lasttoken", "max_tokens")
_MOST_KEPT = 100_000


class SentenceEncoder:
    """Encoder with its pooling, as sentence-transformers saves them; mean pooling if none is named.

    Args:
        model: folder or Hub id of a text model that `AutoModel` loads.
        device: by default the accelerator, if there is one.

    Raises:
        InputError: it cannot be loaded, or its pooling is not supported.
    """

    def __init__(self, model: str, device: Any = None, batch_size: int = 64) -> None:
        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(model, padding_side="right", trust_remote_code=False)
            self.model: Any = AutoModel.from_pretrained(model, dtype="auto", trust_remote_code=False)
        except (OSError, ValueError, KeyError) as error:
            raise _not_an_encoder(model, str(error)) from error
        self.pooling = _pooling_of(model)
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        chosen: Any = device or torch.accelerator.current_accelerator(check_available=True) or "cpu"
        self.model.to(chosen).eval()
        self.batch_size = batch_size
        self.known: dict[str, Tensor] = {}
        """Texts that were encoded before."""

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Encode texts as (N, D) float32 unit vectors on the CPU; vectors of earlier texts are cached."""
        missing = sorted({text for text in texts if text not in self.known}, key=len)
        if len(self.known) + len(missing) > _MOST_KEPT:
            self.known.clear()
            missing = sorted(set(texts), key=len)
        for start in range(0, len(missing), self.batch_size):
            part = missing[start : start + self.batch_size]
            self.known |= dict(zip(part, self._encode(part), strict=True))
        return torch.stack([self.known[text] for text in texts])

    @torch.no_grad()
    def _encode(self, texts: Sequence[str]) -> Tensor:
        longest = min(self.tokenizer.model_max_length, getattr(self.model.config, "max_position_embeddings", 512))
        batch = self.tokenizer(list(texts), return_tensors="pt", padding=True, truncation=True, max_length=longest)
        hidden = self.model(**batch.to(self.model.device)).last_hidden_state.float()
        mask = batch["attention_mask"][..., None]
        if self.pooling == "cls_token":
            pooled = hidden[:, 0]
        elif self.pooling == "lasttoken":
            pooled = hidden[torch.arange(len(hidden)), mask[..., 0].sum(1) - 1]
        elif self.pooling == "max_tokens":
            pooled = hidden.masked_fill(mask == 0, -torch.inf).amax(1)
        else:
            pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return functional.normalize(pooled, dim=-1).cpu()

    def similarities(self, texts: Sequence[str], others: Sequence[str]) -> list[float]:
        """Compute the cosine similarity of each text and the one at the same index of `others`."""
        cosines: list[float] = (self.encode(texts) * self.encode(others)).sum(-1).tolist()
        return cosines


@lru_cache(maxsize=2)
def load_sentence_encoder(model: str) -> SentenceEncoder:
    """Load the encoder of that name; it is loaded only once."""
    return SentenceEncoder(model)


def _pooling_of(model: str) -> str:
    """Return the pooling that a model's `1_Pooling/config.json` names."""
    quietly = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
        "_raise_exceptions_for_gated_repo": False,
    }
    file = cached_file(model, "1_Pooling/config.json", **quietly)
    if file is None:
        return "mean_tokens"
    saved = json.loads(Path(file).read_text(encoding="utf-8"))
    asked = [key.removeprefix("pooling_mode_") for key, value in saved.items() if value is True]
    asked = [mode for mode in asked if mode != "include_prompt"]
    if len(asked) != 1 or asked[0] not in _POOLINGS:
        raise _not_an_encoder(model, f"pooling by {' and '.join(asked) or 'nothing'}")
    return asked[0]


def _not_an_encoder(model: str, got: str) -> InputError:
    expected = "a sentence encoder's folder or Hub id, pooled by the mean, the first, the last or the largest"
    return InputError(Problem("sentence encoder", model, expected, shorten(got, 200)))
