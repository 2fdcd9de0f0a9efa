"""One forward of a prompt for all completions of its group (cf. Prefix Grouper, arXiv 2506.05433), for any model.

A model's backbone is patched to read `shared`: each prompt once, and the prompt of each completion. Everything above
it, head, LoRA, DeepSpeed and TRL's loss, sees an ordinary forward over completions. Two ways, equal to the plain one:

- `cache`: the prompts run under autograd and leave their keys and values; repeated by completion, those carry the
  completions, which run as a batch. P + G * C tokens instead of G * (P + C).
- `packed`: a prompt and its completions as one row under a block mask. Takes gradient checkpointing, which switches
  caches off in transformers.

Shapes: U prompts of P tokens (padded on the left), B completions of C tokens (padded on the right), E hidden width, H
heads.
"""

from __future__ import annotations

import types
from typing import Any, Literal

import torch
from torch import Tensor

from affectgpt.inputs.batch import Batch

Way = Literal["cache", "packed"]


def share_prompts(model: Any, way: Way) -> None:
    """Patch a causal language model, or one that also takes media, so that it reads `shared`.

    Afterwards `model(input_ids=(B, 1 + C), attention_mask=(B, 1 + C), shared={"prompt": ..., "group": (B,)})` reads
    'prompt', what the model takes of U prompts ('input_ids' and 'attention_mask' (U, P), and whatever else), and gives
    hidden states (B, 1 + C, E): of the last token of each completion's prompt, then of the completion. The first of
    `input_ids` is only a placeholder. Without `shared` the model is as before.
    """
    backbone = model.base_model
    original = backbone.forward

    def forward(self: Any, *args: Any, shared: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        if shared is None:
            return original(*args, **kwargs)
        ids, mask = kwargs["input_ids"][:, 1:], kwargs["attention_mask"][:, 1:]
        prompt, group = shared["prompt"], shared["group"]
        positions = model._prepare_position_ids_for_generation(prompt["input_ids"], dict(prompt))
        run = _with_cache if way == "cache" else _packed
        output, hidden = run(original, prompt, positions, group, ids, mask)
        output["last_hidden_state"] = hidden
        return output

    backbone.forward = types.MethodType(forward, backbone)


def _with_cache(
    backbone: Any, prompt: Batch, positions: Tensor, group: Tensor, ids: Tensor, mask: Tensor
) -> tuple[Any, Tensor]:
    output = backbone(**prompt, position_ids=positions, use_cache=True)
    last = output.last_hidden_state[:, -1:][group]  # (B, 1, E): predicts the first token
    # Nothing is predicted from the last token of a completion.
    ids, steps = ids[:, :-1], mask[:, :-1]
    if not ids.shape[1]:
        return output, torch.cat([last, torch.zeros_like(last)], dim=1)
    cache = output.past_key_values
    cache.batch_select_indices(group)
    follow = backbone(
        input_ids=ids,
        attention_mask=torch.cat([prompt["attention_mask"][group], steps], dim=1),
        position_ids=following(positions, group, ids.shape[1]),
        past_key_values=cache,
        use_cache=True,
    )
    return output, torch.cat([last, follow.last_hidden_state, torch.zeros_like(last)], dim=1)


def _packed(
    backbone: Any, prompt: Batch, positions: Tensor, group: Tensor, ids: Tensor, mask: Tensor
) -> tuple[Any, Tensor]:
    """Run a row for each prompt: the prompt, then its completions side by side; each sees the prompt and itself."""
    num_prompts, prompt_length = prompt["input_ids"].shape
    length = ids.shape[1]
    slot, slots = _slots(group, num_prompts)
    packed_ids = ids.new_zeros(num_prompts, slots, length)
    packed_mask = mask.new_zeros(num_prompts, slots, length)
    packed_ids[group, slot], packed_mask[group, slot] = ids, mask
    seen = torch.cat([prompt["attention_mask"], packed_mask.flatten(1)], dim=1).bool()  # (U, P + slots * C)
    owner = torch.cat(
        [ids.new_zeros(prompt_length), torch.arange(slots, device=ids.device).repeat_interleave(length) + 1]
    )
    place = torch.arange(len(owner), device=ids.device)
    allowed = (place[:, None] >= place) & ((owner == 0) | (owner[:, None] == owner))
    allowed = allowed & seen[:, None, :]
    allowed |= torch.eye(len(owner), dtype=torch.bool, device=ids.device)  # a padded token sees itself, lest it be NaN
    everyone = torch.arange(num_prompts, device=ids.device)
    behind = following(positions, everyone, length).repeat(*[1] * (positions.ndim - 1), slots)
    per_token = {
        name: torch.cat([value, value.new_zeros(num_prompts, slots * length)], dim=1)
        for name, value in prompt.items()
        if name not in ("input_ids", "attention_mask") and value.shape == prompt["input_ids"].shape
    }
    output = backbone(
        **{
            **prompt,
            **per_token,
            "input_ids": torch.cat([prompt["input_ids"], packed_ids.flatten(1)], dim=1),
            "attention_mask": allowed[:, None],
            "position_ids": torch.cat([positions, behind], dim=-1),
            "use_cache": False,
        }
    )
    hidden = output.last_hidden_state
    completions = hidden[:, prompt_length:].unflatten(1, (slots, length))
    return output, torch.cat([hidden[:, prompt_length - 1 : prompt_length][group], completions[group, slot]], dim=1)


def following(positions: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the positions of the tokens behind each completion's prompt: (..., U, P) to (..., B, count).

    A prompt ends with text, whose position is the same on every axis of multi-axis rotary positions.
    """
    last = positions[..., -1:][..., group, :]
    return last + 1 + torch.arange(count, device=positions.device)


def _slots(group: Tensor, num_prompts: int) -> tuple[Tensor, int]:
    """Return the index of each completion in its prompt's group, (B,), and the size of the largest group."""
    same = group[:, None] == group
    slot = torch.tril(same, diagonal=-1).sum(dim=1)
    return slot, int(torch.bincount(group, minlength=num_prompts).max())
