"""A GRPO stage on TRL's `GRPOTrainer`, with audio and video in the prompt.

TRL's trainer knows images only. `MediaGRPOTrainer` is where this project touches its private methods: prompts come from
a `Reader`, and whatever it gives besides ids goes to generation and to every forward that scores completions.

Shapes: B completions of a batch, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from affectgpt.clip import Clip
from affectgpt.prompt_cache import generate_groups, group_of
from affectgpt.reader import Reader, Row
from train.config import Recipe, StageConfig
from train.monitor import append_rollouts
from train.sft import common_arguments, newest_checkpoint
from train.shared_prefix import Way, share_prompts
from train.stages import without_adapter
from videmo.reward_run import BoundReward
from videmo.user_rewards import reward_function


class MediaGRPOTrainer(GRPOTrainer):
    """`GRPOTrainer` whose prompts carry whatever the model takes besides ids, and are read once for their whole group.

    A rollout keeps the number of its row; what the row's prompt carries is joined again from that wherever a batch of
    rollouts is generated or scored, so that TRL's splitting needs to know nothing of it.

    Args:
        clips: the rows; the data set's `row` column indexes them.
        reader: turns rows into what the model takes.
        show: called whenever the trainer logs, with the step and the newest group of rollouts and their rewards.
        say: called with a line for the user, on the first process.
    """

    args: GRPOConfig
    _buffered_inputs: Any

    def __init__(
        self,
        *args: Any,
        clips: Sequence[Clip],
        reader: Reader,
        show: Callable[[int, list[dict[str, Any]]], None] | None = None,
        say: Callable[[str], None] = print,
        **kwargs: Any,
    ) -> None:
        self.clips, self.reader, self.show, self.say = clips, reader, show, say
        self.newest_group: list[dict[str, Any]] = []
        self.seconds: dict[str, float] = defaultdict(float)
        """Spent in rollout, reward, scoring and update since the last line of the log."""
        self.read: dict[int, Row] = {}
        """Rows of the last rollouts, by number."""
        self.numbers: list[int] = []
        """The row of every rollout that is being generated or scored."""
        super().__init__(*args, **kwargs)
        self.shares_prompts: bool | None = None
        """Whether prompts are scored once per group; None until the first batch has shown that it gives the same."""
        way: Way = "packed" if self.args.gradient_checkpointing else "cache"
        for model in (self.model, self.ref_model):
            if model is not None:
                share_prompts(without_adapter(self.accelerator.unwrap_model(model)), way)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """As TRL's, but what is shuffled before it is split into micro-batches is groups, and not rollouts."""
        assert self.model is not None
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        parts, generations = self.args.steps_per_generation, self.num_generations
        assert parts is not None
        assert generations is not None
        every = parts * self.num_iterations
        if self._step % every == 0 or self._buffered_inputs is None:
            rollouts = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_groups(rollouts, generations, parts)
        return self._buffered_inputs[self._step % parts]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._take_rows([item["row"] for item in inputs])
        row = torch.tensor(self.numbers, device=self.accelerator.device)
        return {**super()._generate_and_score_completions(inputs), "row": row}

    def _take_rows(self, numbers: list[int]) -> None:
        self.numbers = numbers
        distinct = list(dict.fromkeys(numbers))
        if not set(distinct) <= self.read.keys():
            self.read = dict(zip(distinct, self.reader.read([self.clips[index] for index in distinct]), strict=True))

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return [self.read[number].prompt_ids for number in self.numbers], None, {}

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: None, multimodal_fields: dict[str, Any], *_: Any, **__: Any
    ) -> tuple[list[list[int]], None]:
        prompt, group = self._prompts(self.numbers)
        with (
            self._timed("rollout"),
            unwrap_model_for_generation(
                self.model_wrapped, self.accelerator, gather_deepspeed3_params=self.args.ds3_gather_for_generation
            ) as model,
            torch.no_grad(),
        ):
            was_training = model.training
            model.eval()
            output = generate_groups(
                model, prompt, group, generation_config=self.generation_config, tokenizer=self.reader.tokenizer
            )
            model.train(was_training)
        return [_cut_after(row, self.eos_token_ids) for row in output.tolist()], None

    def _prompts(self, numbers: Sequence[int]) -> tuple[Batch, Tensor]:
        """What the model takes of the distinct prompts, each once, and which of them each rollout belongs to."""
        distinct, group = group_of(numbers)
        batch = prompt_batch([self.read[number] for number in distinct], self.reader.tokenizer.pad_token_id)
        device = self.accelerator.device
        return {name: value.to(device) for name, value in batch.items()}, torch.tensor(group, device=device)

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: list[Any]
    ) -> Tensor:
        with self._timed("reward"):
            rewards: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        assert self.model is not None
        training = self.model.training
        generations = self.num_generations if training else self.num_generations_eval
        assert generations is not None
        equal = equal_groups((rewards * self.reward_weights.to(rewards)).nansum(1).view(-1, generations))
        self._metrics["train" if training else "eval"]["zero_variance_share"].append(equal)
        if self.accelerator.is_main_process:
            self.newest_group = [
                {
                    "id": self.clips[item["row"]].id,
                    "completion": completion if isinstance(completion, str) else completion[0]["content"],
                    **{
                        f"rewards/{name}": None if value != value else round(value, 4)
                        for name, value in zip(self.reward_func_names, values, strict=True)
                    },
                }
                for item, completion, values in zip(
                    inputs[:generations], completions, rewards[:generations].tolist(), strict=False
                )
            ]
        return rewards

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """TRL's; what is left of its time after rollout, reward and scoring is the update's."""
        before = sum(self.seconds.values())
        with self._timed("step"):
            loss: Tensor = super().training_step(*args, **kwargs)
        step = self.seconds.pop("step")
        self.seconds["update"] += step - (sum(self.seconds.values()) - before)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's, with the seconds by part, and the newest group shown."""
        logs.update({f"seconds/{part}": round(spent, 4) for part, spent in self.seconds.items()})
        self.seconds.clear()
        super().log(logs, start_time)
        if self.show is not None and self.newest_group:
            self.show(self.state.global_step, self.newest_group)
        self.newest_group = []

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        if torch.accelerator.is_available():
            torch.accelerator.synchronize()  # it works on while Python goes ahead
        self.seconds[part] += time.perf_counter() - started

    def _get_per_token_logps_and_entropies(
        self, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if torch.is_grad_enabled():
            return self._score(*args, **kwargs)
        with self._timed("scoring"):
            return self._score(*args, **kwargs)

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
            score_all = super()._get_per_token_logps_and_entropies
            return score_all(
                partial(model, **inputs), input_ids, attention_mask, logits_to_keep, None, compute_entropy, **kwargs
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
        score = super()._get_per_token_logps_and_entropies
        logps, entropies, _ = score(partial(model, **inputs), ids, mask, keep, compute_entropy=entropy)
        return logps, entropies

    def _scoring_inputs(self, numbers: Sequence[int], keep: int, width: int) -> Batch:
        inputs = scoring_inputs([self.read[number] for number in numbers], width - keep, width)
        return {name: value.to(self.accelerator.device) for name, value in inputs.items()}

    @torch.no_grad()
    def _sharing_is_exact(self, model: Any, ids: Tensor, mask: Tensor, keep: int) -> bool:
        """Score a few rollouts both ways, on every process; prompts are shared only where all find the same."""
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

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._take_rows(inputs["row"].tolist())
        return super()._compute_loss(model, inputs)


def split_groups(rollouts: dict[str, Any], generations: int, parts: int) -> list[dict[str, Any]]:
    """Rollouts to `parts` micro-batches, groups shuffled and kept together as far as a micro-batch holds them.

    Args:
        rollouts: tensors whose first dimension counts rollouts, a group's one after another; anything else goes into
            every micro-batch.
        generations: rollouts of a group.
    """
    count = len(rollouts["completion_ids"])
    order = torch.arange(count).view(-1, generations)[torch.randperm(count // generations)].flatten()
    size = count // parts
    return [
        {
            name: value[order[part * size : (part + 1) * size].to(value.device)]
            if isinstance(value, Tensor) and value.ndim and len(value) == count
            else value
            for name, value in rollouts.items()
        }
        for part in range(parts)
    ]


def equal_groups(rewards: Tensor) -> float:
    """Share of groups whose rewards are equal but for rounding: they teach nothing.

    TRL's own count takes the mean's rounding for a difference.

    Args:
        rewards: (groups, rollouts of a group).
    """
    return float((rewards.amax(1) - rewards.amin(1) < 1e-6).float().mean())


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
        importance_sampling_level=stage.importance_sampling,
        num_iterations=stage.num_iterations,
        epsilon=stage.epsilon,
        epsilon_high=stage.epsilon_high,
        shuffle_dataset=False,
        reward_weights=[reward.weight for reward in stage.rewards.values()],
        ddp_find_unused_parameters=False,
    )
    say = partial(print, file=sys.stderr)
    rewards = [
        BoundReward(
            name,
            reward_function(name, reward.settings, stage.reward_files),
            clips,
            stage.reward_failure,
            stage.reward_limit_s,
            say,
        )
        for name, reward in stage.rewards.items()
    ]
    trainer = MediaGRPOTrainer(
        model=model,
        args=arguments,
        reward_funcs=rewards,
        train_dataset=Dataset.from_dict({"prompt": [clips[row].prompt for row in order], "row": list(order)}),
        processing_class=reader.processor,
        callbacks=list(callbacks),
        clips=clips,
        reader=reader,
        show=partial(append_rollouts, recipe.output / "rollouts.jsonl", stage.name),
        say=say,
    )
    trainer.remove_callback(PrinterCallback)
    trainer.accelerator.wait_for_everyone()  # the first rank clears what is stale
    trainer.train(resume_from_checkpoint=newest_checkpoint(folder))
    for reward in rewards:
        if reward.dropped:
            say(f"      reward '{reward.__name__}' was left out of {reward.dropped} of {reward.scored} completions")
    return trainer
