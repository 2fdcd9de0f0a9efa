"""A GRPO stage on TRL's `GRPOTrainer`, with audio and video in the prompt.

TRL's trainer knows images only. `MediaGRPOTrainer` is where this project touches its private methods: prompts and their
features come from a `ClipReader`, generation gets the features, and so does every forward that scores completions.

Shapes: B completions of a batch, P prompt tokens, C completion tokens, T features over time, D their width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation

from affectgpt.clip import FIELDS, Clip
from affectgpt.reader import FEATURE_NAMES, ClipReader, stack_features
from train.config import Recipe, StageConfig
from train.sft import common_arguments, newest_checkpoint
from videmo.rewards import REWARDS, RewardFunction


class MediaGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` whose prompts carry features of audio and video.

    Args:
        clips: the rows; the data set's `row` column indexes them.
        reader: turns a row into prompt ids and features.
    """

    args: GRPOConfig

    def __init__(self, *args: Any, clips: Sequence[Clip], reader: ClipReader, **kwargs: Any) -> None:
        self.clips, self.reader = clips, reader
        self.media: dict[str, Tensor] = {}
        """Features (B, T, D) of the rows that are being generated or scored."""
        super().__init__(*args, **kwargs)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.rows = [self.clips[item["row"]] for item in inputs]
        features = stack_features([self.reader.features(clip) for clip in self.rows])
        self.media = {name: value.to(self.accelerator.device) for name, value in features.items()}
        # TRL shuffles and splits every tensor of the result by row, the features with the rest.
        return {**super()._generate_and_score_completions(inputs), **self.media}

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.reader.tokenise(clip).prompt_ids for clip in self.rows], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: None, multimodal_fields: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[list[list[int]], None]:
        batch = self.reader.processor.pad(prompt_ids, side="left")
        batch = {name: value.to(self.accelerator.device) for name, value in batch.items()}
        with (
            unwrap_model_for_generation(
                self.model_wrapped, self.accelerator, gather_deepspeed3_params=self.args.ds3_gather_for_generation
            ) as model,
            torch.no_grad(),
        ):
            was_training = model.training
            model.eval()
            output = model.generate(**batch, **self.media, generation_config=self.generation_config)
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
        chunks = [slice(start, start + size) for start in range(0, len(input_ids), size)]
        parts = [
            score(
                partial(model, **{name: value[rows] for name, value in self.media.items()}),
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
        self.media = {name: inputs[name] for name in FEATURE_NAMES.values() if name in inputs}
        return super()._compute_loss(model, inputs)


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
    reader: ClipReader,
    folder: Path,
    callbacks: Sequence[TrainerCallback],
    world_size: int = 1,
) -> GRPOTrainer:
    """Train `model` in place by GRPO on the prompts of `order`; goes on from the newest checkpoint in `folder`."""
    arguments = GRPOConfig(
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
        gradient_checkpointing=False,  # TRL's default is on, which switches the cache off
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
