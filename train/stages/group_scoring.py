"""Scoring of completions with one forward of the prompt for a whole group, for models whose result stays the same.

Shapes: B completions of a batch, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from affectgpt.inference.prompt_cache import group_of
from affectgpt.inputs.batch import Batch, prompt_batch
from affectgpt.inputs.reader import EncodedRow, Reader
from train.model_setup import without_adapter
from train.stages.rollout import scoring_inputs
from train.stages.shared_prefix import Way, share_prompts


class GroupScoringMixin:
    """Mixin for a GRPO trainer whose rollouts know their rows; list it before the trainer class."""

    accelerator: Any
    reader: Reader
    read: Mapping[int, EncodedRow]
    """Rows of the rollouts that are scored, by row number."""
    numbers: list[int]
    """Row number of every rollout that is being scored."""
    say: Callable[[str], None]
    _score_as_trl: Callable[..., tuple[Tensor, Tensor | None, Tensor | None]]
    """TRL's function, which scores every completion with its prompt."""
    shares_prompts: bool | None = None
    """Whether prompts are read once per group; None until the first batch has shown that the scores are the same."""

    def _teach(self, models: Sequence[Any], way: Way) -> None:
        """Patch the models that are not None so that they read a prompt once for a group."""
        for model in models:
            if model is not None:
                share_prompts(without_adapter(self.accelerator.unwrap_model(model)), way)

    def _prompts(self, numbers: Sequence[int]) -> tuple[Batch, Tensor]:
        """Return the model's inputs for the distinct prompts, and the index of each rollout's prompt among them."""
        distinct, group = group_of(numbers)
        batch = prompt_batch([self.read[number] for number in distinct], self.reader.tokenizer.pad_token_id)
        device = self.accelerator.device
        return {name: value.to(device) for name, value in batch.items()}, torch.tensor(group, device=device)

    def _score(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if kwargs.get("compute_aux_loss"):  # a mixture of experts balances over every token that it reads
            inputs = self._scoring_inputs(self.numbers, logits_to_keep, input_ids.shape[1])
            forward = partial(model, **inputs)
            return self._score_as_trl(
                forward, input_ids, attention_mask, logits_to_keep, compute_entropy=compute_entropy, **kwargs
            )
        size = batch_size or len(input_ids)
        chunks = [slice(start, start + size) for start in range(0, len(input_ids), size)]
        if self.shares_prompts is None:
            self.shares_prompts = self._sharing_is_exact(model, input_ids, attention_mask, logits_to_keep)
        score = self._score_groups if self.shares_prompts else self._score_plainly
        parts = [
            score(model, input_ids[rows], attention_mask[rows], logits_to_keep, self.numbers[rows], compute_entropy)
            for rows in chunks
        ]
        logps, entropies = zip(*parts, strict=True)
        return torch.cat(logps), torch.cat(entropies) if compute_entropy else None, None

    def _score_groups(
        self, model: Any, ids: Tensor, mask: Tensor, keep: int, numbers: Sequence[int], entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        prompt, group = self._prompts(numbers)
        tail_ids, tail_mask = ids[:, -keep - 1 :], mask[:, -keep - 1 :]
        labels = tail_ids.masked_fill(tail_mask == 0, -100)
        labels[:, 0] = -100
        with self.accelerator.autocast():
            output = model(
                input_ids=tail_ids,
                attention_mask=tail_mask,
                labels=labels,
                fused_lm_head=True,
                shared={"prompt": prompt, "group": group},
            )
        return output.log_probs, output.entropy if entropy else None

    def _score_plainly(
        self, model: Any, ids: Tensor, mask: Tensor, keep: int, numbers: Sequence[int], entropy: bool
    ) -> tuple[Tensor, Tensor | None]:
        inputs = self._scoring_inputs(numbers, keep, ids.shape[1])
        logps, entropies, _ = self._score_as_trl(partial(model, **inputs), ids, mask, keep, compute_entropy=entropy)
        return logps, entropies

    def _scoring_inputs(self, numbers: Sequence[int], keep: int, width: int) -> Batch:
        inputs = scoring_inputs([self.read[number] for number in numbers], width - keep, width)
        return {name: value.to(self.accelerator.device) for name, value in inputs.items()}

    @torch.no_grad()
    def _sharing_is_exact(self, model: Any, ids: Tensor, mask: Tensor, keep: int) -> bool:
        """Score a few rollouts both ways and return whether the scores agree on all processes."""
        few = slice(0, min(len(ids), 4))
        was_training = model.training
        model.eval()  # dropout would differ
        try:
            given = (ids[few], mask[few], keep, self.numbers[few], False)
            found, expected = self._score_groups(model, *given)[0], self._score_plainly(model, *given)[0]
            apart = float((found - expected).mul(mask[few, -keep:]).abs().max())
        except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
            apart, found = float("inf"), torch.zeros(1)
            self._say(f"      prompts are read with every rollout: {error}")
        model.train(was_training)
        tolerance = 1e-3 if found.dtype == torch.float32 else 0.1
        exact = torch.tensor([apart < tolerance], device=self.accelerator.device)
        agreed = bool(self.accelerator.gather(exact).all())
        if not agreed and apart < float("inf"):
            self._say(f"      prompts are read with every rollout: shared, log-probabilities differ by {apart:.2g}")
        return agreed

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            self.say(text)
