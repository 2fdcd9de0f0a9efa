"""Prompts that are encoded once for any number of answers to each: in GRPO's rollouts and in search.

Shapes: U prompts of P tokens (padded on the left), B answers of C tokens, W tokens read so far.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from affectgpt.inputs.batch import Batch, pad
from affectgpt.problems import InputError, Problem


class NoPromptCache(InputError):
    """Error of a model whose state after a prompt cannot be repeated, such as that of a recurrent one."""

    def __init__(self, model: Any) -> None:
        expected, got = "keys and values of a prompt, which are repeated for each answer", "none"
        super().__init__(Problem(type(model).__name__, "its cache", expected, got, "Take another model."))


class PromptCache:
    """Cache of prompts that a model has read, media included: keys and values of all tokens but the last.

    It works with any transformers model whose `generate` continues from a cache. Gradients are not kept.

    Args:
        model: the model, in evaluation mode.
        prompt: inputs of U prompts of at least two tokens, padded on the left.

    Raises:
        NoPromptCache: the model keeps no cache that can be repeated.
    """

    def __init__(self, model: Any, prompt: Batch) -> None:
        self.model = model
        self.ids, self.mask = prompt["input_ids"], prompt["attention_mask"]
        width = self.ids.shape[1]
        positions = model._prepare_position_ids_for_generation(self.ids, dict(prompt))
        known = {
            name: value[:, :-1] if value.shape == self.ids.shape else value  # answers start from the last token
            for name, value in prompt.items()
        }
        with torch.no_grad():
            output = model(**known, position_ids=positions[..., : width - 1], use_cache=True, logits_to_keep=1)
        self.cache: Any = getattr(output, "past_key_values", None)
        layers = getattr(self.cache, "layers", None)
        if not layers or not all(hasattr(layer, "batch_select_indices") for layer in layers):
            raise NoPromptCache(model)
        # Rotary positions of several axes continue from the offset of the prompt.
        deltas = [(module, getattr(module, "rope_deltas", None)) for module in model.modules()]
        self.deltas = [(module, left) for module, left in deltas if isinstance(left, Tensor) and len(left) == len(self)]

    def __len__(self) -> int:
        return len(self.ids)

    def answer(self, group: Tensor, **kwargs: Any) -> Tensor:
        """Generate (B, C) answers, padded after their end.

        Args:
            group: (B,) index of the prompt of each answer.
            kwargs: arguments of `generate`.
        """
        ids, mask, cache = self.ids[group], self.mask[group], self._cache_of(group)
        output = self.model.generate(input_ids=ids, attention_mask=mask, past_key_values=cache, **kwargs)
        return torch.as_tensor(output)[:, ids.shape[1] :]

    def _cache_of(self, group: Tensor) -> Any:
        """Return the cache for answers to these prompts; the original is unchanged, and no tensor is copied twice."""
        twin = copy.copy(self.cache)
        twin.layers = [copy.copy(layer) for layer in self.cache.layers]
        twin.batch_select_indices(group)
        for module, left in self.deltas:
            module.rope_deltas = left[group]
        return twin

    @torch.no_grad()
    def log_probs(self, group: Tensor, answers: Sequence[Sequence[int]]) -> list[Tensor]:
        """Compute the log-probabilities of the tokens of given answers, (C,) for each.

        Args:
            group: (B,) index of the prompt of each answer.
            answers: B lists of at least one token.
        """
        device = self.ids.device
        ids = pad(answers, 0, "right").to(device)  # (B, C)
        mask = pad([[1] * len(answer) for answer in answers], 0, "right").to(device)
        cache = self._cache_of(group)
        read = torch.cat([self.ids[group, -1:], ids[:, :-1]], dim=1)
        seen = torch.cat([self.mask[group], mask[:, :-1]], dim=1)
        given = {"attention_mask": seen, "past_key_values": cache}
        positions = self.model._prepare_position_ids_for_generation(seen, given)
        logits = self.model(
            input_ids=read,
            attention_mask=seen,
            position_ids=positions[..., -read.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        ).logits.float()  # (B, C, V)
        scores = logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)
        return [row[: len(answer)] for row, answer in zip(scores, answers, strict=True)]

    @torch.no_grad()
    def extend(self, continuations: Sequence[Sequence[int]]) -> None:
        """Extend each prompt by these ids, of which there may be none."""
        last = self.ids[:, -1].tolist()
        # The last token of a prompt is not read yet; if it remains the last one, it moves to the end.
        block = [[token, *ids] for token, ids in zip(last, continuations, strict=True)]
        device = self.ids.device
        ids = pad(block, 0, "left").to(device)
        mask = pad([[1] * len(row) for row in block], 0, "left").to(device)
        self.ids = torch.cat([self.ids[:, :-1], ids], dim=1)
        self.mask = torch.cat([self.mask[:, :-1], mask], dim=1)
        if ids.shape[1] == 1:
            return
        for module, left in self.deltas:
            module.rope_deltas = left
        given = {"attention_mask": self.mask, "past_key_values": self.cache}
        positions = self.model._prepare_position_ids_for_generation(self.ids, given)
        output = self.model(
            input_ids=ids[:, :-1],
            attention_mask=self.mask[:, :-1],
            position_ids=positions[..., -ids.shape[1] : -1],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.cache = output.past_key_values


def generate_groups(model: Any, prompt: Batch, group: Tensor, **kwargs: Any) -> Tensor:
    """Generate several answers to each prompt; its media and tokens are encoded once.

    Args:
        prompt: inputs of U prompts, padded on the left.
        group: (B,) index of the prompt of each answer; with one answer to each, in the order of the prompts.
        kwargs: arguments of `model.generate`.

    Returns:
        (B, C) ids of the answers, padded after their end.
    """
    width = prompt["input_ids"].shape[1]
    if width < 2 or len(group) == len(prompt["input_ids"]):
        return torch.as_tensor(model.generate(**prompt, **kwargs))[:, width:]
    return PromptCache(model, prompt).answer(group, **kwargs)


def group_of(numbers: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the distinct numbers in order of appearance, and the index of each number among them."""
    distinct = list(dict.fromkeys(numbers))
    index_of = {number: index for index, number in enumerate(distinct)}
    return distinct, [index_of[number] for number in numbers]
