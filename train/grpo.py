"""A GRPO stage on TRL's `GRPOTrainer`, with audio and video in the prompt.

TRL's trainer knows images only. `MediaGRPOTrainer` is where this project touches its private methods: prompts come from
a `Reader`, and whatever it gives besides ids goes to generation and to every forward that scores completions.

Shapes: B completions of a batch, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation

from affectgpt.batch import Batch, join_inputs, pad, prompt_batch
from affectgpt.clip import FIELDS, Clip
from affectgpt.reader import Reader, Row
from train.config import Recipe, StageConfig
from train.sft import common_arguments, newest_checkpoint
from videmo.rewards import REWARDS, RewardFunction


class MediaGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` whose prompts carry whatever the model takes besides ids.

    A rollout keeps the number of its row; what the row's prompt carries is joined again from that wherever a batch of
    rollouts is generated or scored, so that TRL's shuffling and splitting need to know nothing of it.

    Args:
        clips: the rows; the data set's `row` column indexes them.
        reader: turns rows into what the model takes.
    """

    args: GRPOConfig

    def __init__(self, *args: Any, clips: Sequence[Clip], reader: Reader, **kwargs: Any) -> None:
        self.clips, self.reader = clips, reader
        self.read: dict[int, Row] = {}
        """Rows of the last rollouts, by number."""
        self.rows: list[Row] = []
        """The row of every rollout that is being generated or scored."""
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        numbers = [item["row"] for item in inputs]
        self._take_rows(numbers)
        row = torch.tensor(numbers, device=self.accelerator.device)
        return {**super()._generate_and_score_completions(inputs), "row": row}

    def _take_rows(self, numbers: Sequence[int]) -> None:
        distinct = list(dict.fromkeys(numbers))
        if not set(distinct) <= self.read.keys():
            self.read = dict(zip(distinct, self.reader.read([self.clips[index] for index in distinct]), strict=True))
        self.rows = [self.read[index] for index in numbers]

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [row.prompt_ids for row in self.rows], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: None, multimodal_fields: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[list[list[int]], None]:
        batch = self._on_device(prompt_batch(self.rows, self.reader.tokenizer.pad_token_id))
        with (
            unwrap_model_for_generation(
                self.model_wrapped, self.accelerator, gather_deepspeed3_params=self.args.ds3_gather_for_generation
            ) as model,
            torch.no_grad(),
        ):
            was_training = model.training
            model.eval()
            output = model.generate(**batch, generation_config=self.generation_config, tokenizer=self.reader.tokenizer)
            model.train(was_training)
        completions = output[:, batch["input_ids"].shape[1] :].tolist()
        return [_cut_after(row, self.eos_token_ids) for row in completions], None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        score = super()._get_per_token_logps_and_entropies
        size = batch_size or len(input_ids)
        width = input_ids.shape[1]
        chunks = [slice(start, start + size) for start in range(0, len(input_ids), size)]
        parts = [
            score(
                partial(model, **self._on_device(scoring_inputs(self.rows[rows], width - logits_to_keep, width))),
                input_ids[rows],
                attention_mask[rows],
                logits_to_keep,
                **kwargs,
            )
            for rows in chunks
        ]
        return tuple(  # type: ignore[return-value]
            None if values[0] is None else torch.cat([value.reshape(-1, *value.shape[1:]) for value in values])
            for values in zip(*parts, strict=True)
        )

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._take_rows(inputs["row"].tolist())
        return super()._compute_loss(model, inputs)

    def _on_device(self, batch: Batch) -> Batch:
        return {name: value.to(self.accelerator.device) for name, value in batch.items()}


def scoring_inputs(rows: Sequence[Row], prompt_width: int, width: int) -> Batch:
    """What a model takes besides ids when prompts, padded on the left to `prompt_width`, and completions are scored.

    What it takes of every token, such as its kind, is (B, width) and 0 for completions.
    """
    batch = join_inputs(rows)
    for name in dict.fromkeys(name for row in rows for name in row.per_token):
        prompts = pad([row.per_token.get(name, [0] * len(row.prompt_ids)) for row in rows], 0, "left", prompt_width)
        batch[name] = functional.pad(prompts, (0, width - prompt_width))
    return batch


def _cut_after(ids: list[int], ends: Sequence[int]) -> list[int]:
    """Ids up to and with the first of `ends`."""
    stop = next((place for place, token in enumerate(ids) if token in ends), len(ids) - 1)
    return ids[: stop + 1]


def bind_reward(name: str, reward: RewardFunction, clips: Sequence[Clip]) -> Callable[..., list[float | None]]:
    """A reward as TRL calls it: completions as texts, and every field of the rows as a column.

    Raises (at each call):
        ValueError: the reward returns another number of values, or one that is not a number; names row and completion.
    """

    def call(prompts: list[Any], completions: list[Any], row: list[int], **_: Any) -> list[float | None]:
        rows = [clips[index] for index in row]
        texts = [completion[0]["content"] for completion in completions]
        columns = {field: [getattr(clip, field) for clip in rows] for field in FIELDS}
        values = reward(completions=texts, prompts=prompts, **columns)
        if len(values) != len(texts):
            raise ValueError(f"reward '{name}' returned {len(values)} values for {len(texts)} completions")
        for clip, text, value in zip(rows, texts, values, strict=True):
            if value is not None and not -1e6 < value < 1e6:
                raise ValueError(f"reward '{name}' gave {value} to row {clip.id}, completion {text[:200]!r}")
        return values

    call.__name__ = name
    return call


def run_grpo(
    recipe: Recipe,
    stage: StageConfig,
    model: PreTrainedModel,
    clips: Sequence[Clip],
    order: Sequence[int],
    reader: Reader,
    folder: Path,
    callbacks: Sequence[TrainerCallback],
    world_size: int = 1,
) -> GRPOTrainer:
    """Train `model` in place by GRPO on the prompts of `order`; goes on from the newest checkpoint in `folder`."""
    arguments = GRPOConfig(
        # TRL's default for gradient checkpointing is on, which switches the cache off; ours is the stage's.
        **common_arguments(recipe, stage, folder, world_size),
        num_generations=stage.generations,
        max_completion_length=stage.max_new_tokens,
        temperature=stage.temperature,
        top_p=stage.top_p,
        beta=stage.beta,
        loss_type=stage.loss_type,
        shuffle_dataset=False,
        reward_weights=list(stage.rewards.values()),
        ddp_find_unused_parameters=False,
    )
    trainer = MediaGRPOTrainer(
        model=model,
        args=arguments,
        reward_funcs=[bind_reward(name, REWARDS[name], clips) for name in stage.rewards],
        train_dataset=Dataset.from_dict({"prompt": [clips[row].prompt for row in order], "row": list(order)}),
        processing_class=reader.processor,
        callbacks=list(callbacks),
        clips=clips,
        reader=reader,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.accelerator.wait_for_everyone()  # the first rank clears what is stale
    trainer.train(resume_from_checkpoint=newest_checkpoint(folder))
    return trainer
