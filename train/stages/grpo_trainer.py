"""TRL's `GRPOTrainer` with audio and video in the prompt.

TRL's trainer knows images only. `MediaGRPOTrainer` is where this project touches its private methods: prompts come from
a `Reader`, and whatever it returns besides ids goes to generation and to every forward that scores completions.

Shapes: B completions of a batch, P prompt tokens, C completion tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from trl import GRPOConfig, GRPOTrainer
from trl.models import unwrap_model_for_generation

from affectgpt.clip import Clip
from affectgpt.inference.prompt_cache import generate_groups
from affectgpt.inputs.reader import EncodedRow, Reader
from train.fault_tolerance import watchdog
from train.fault_tolerance.exact_state import ExactStateMixin
from train.fault_tolerance.finite_loss import FiniteLossMixin
from train.fault_tolerance.safe_trainer import SafeCheckpointsMixin
from train.stages.group_scoring import GroupScoringMixin
from train.stages.rollout import are_equal, cut_after, split_groups, to_exchange
from train.stages.step_times import StepTimes
from videmo.tree import parse_tree


class MediaGRPOTrainer(SafeCheckpointsMixin, ExactStateMixin, FiniteLossMixin, GroupScoringMixin, GRPOTrainer):
    """`GRPOTrainer` whose prompts carry all inputs of the model besides ids, and are read once for their whole group.

    A rollout keeps the number of its row; the inputs of the row's prompt are joined again from that wherever a batch of
    rollouts is generated or scored, so that TRL's splitting does not have to handle them.

    Args:
        clips: the rows; the data set's `row` column indexes them.
        reader: turns rows into inputs of the model.
        show: called whenever the trainer logs, with the step and the newest group of rollouts and their rewards.
        say: called with a line for the user, on the first process.
        exchanges: rounds in which groups of equal reward are exchanged for groups of other prompts (the dynamic
            sampling of DAPO, arXiv 2503.14476).
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
        exchanges: int = 0,
        **kwargs: Any,
    ) -> None:
        self.clips, self.reader, self.show, self.say, self.exchanges = clips, reader, show, say, exchanges
        self.newest_group: list[dict[str, Any]] = []
        self.times = StepTimes()
        """Seconds of rollout, reward, scoring and update, and tokens of completions that this process rolled out."""
        self.inputs: list[dict[str, Any]] = []
        """Rows of the data set, one for each rollout under way."""
        self.known_rewards: Tensor | None = None
        """Rewards of these rollouts, if they were computed before TRL asks for them."""
        self.read: dict[int, EncodedRow] = {}
        """Rows of the last rollouts, by row number."""
        self.numbers: list[int] = []
        """Row number of every rollout that is being generated or scored."""
        super().__init__(*args, **kwargs)
        self.order = np.array(self.train_dataset["row"])  # type: ignore[index]
        """Row numbers as the stage draws them, each as often as in its mixture."""
        trained: Any = self.accelerator.unwrap_model(self.model)
        if "ref" in getattr(trained, "peft_config", {}):
            # TRL's reference, a second adapter, is made from what a stage starts with; under ZeRO-3 it cannot be saved.
            trained.save_pretrained = partial(trained.save_pretrained, selected_adapters=["default"])
        self._teach([self.model, self.ref_model], "packed" if self.args.gradient_checkpointing else "cache")

    def rows_of(self, inputs: Mapping[str, Any]) -> list[str]:
        """Return the ids of the rows of a micro-batch."""
        return [self.clips[number].id for number in dict.fromkeys(inputs["row"].tolist())]

    def kept(self) -> dict[str, Any]:
        """Return the mixin's state, the rollouts still to be learned from, and the figures since the last log line."""
        metrics = {name: list(values) for name, values in self._metrics["train"].items()}
        return {**super().kept(), "rollouts": self._buffered_inputs, "metrics": metrics}

    def restore(self, kept: dict[str, Any]) -> None:
        """Restore the state that `kept` returned."""
        super().restore(kept)
        self._buffered_inputs = kept["rollouts"]
        self._metrics["train"].update(kept["metrics"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        # Also where the rest was kept by other processes: a window of rollouts begins at the same step.
        self._step = self.state.global_step * self.args.gradient_accumulation_steps
        super()._load_rng_state(checkpoint)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """Do as TRL does, but shuffle groups, not rollouts, before they are split into micro-batches."""
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
        self.inputs = inputs
        self.read = {}
        self._take_rows([item["row"] for item in inputs])
        output = super()._generate_and_score_completions(inputs)
        spread = self.accelerator.gather(output["advantages"]).std()
        self._note("advantage_std", float(spread))
        return {**output, "row": torch.tensor(self.numbers, device=self.accelerator.device)}

    def _take_rows(self, numbers: list[int]) -> None:
        self.numbers = numbers
        missing = [number for number in dict.fromkeys(numbers) if number not in self.read]
        if missing:
            rows = self.reader.read([self.clips[number] for number in missing])
            self.read |= dict(zip(missing, rows, strict=True))

    def _note(self, name: str, value: float) -> None:
        """Average a value into the next log line."""
        assert self.model is not None
        self._metrics["train" if self.model.training else "eval"][name].append(value)

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
        completions = [cut_after(row, self.eos_token_ids) for row in output.tolist()]
        self.times.tokens += sum(map(len, completions))
        return completions, None

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        produced: tuple[Any, ...] = super()._generate(prompts)
        assert self.model is not None
        if self.exchanges and self.model.training:
            self._exchange_equal_groups(completion_ids=produced[1], prompt_ids=produced[0], completions=produced[3])
        return produced

    def _exchange_equal_groups(
        self, prompt_ids: list[list[int]], completion_ids: list[list[int]], completions: list[Any]
    ) -> None:
        """Replace groups of equal reward by rollouts of other prompts, with their inputs and rewards."""
        processes, me = self.accelerator.num_processes, self.accelerator.process_index
        size = self.num_generations
        assert size is not None
        tried = self.accelerator.gather(torch.tensor(self.numbers, device=self.accelerator.device)).tolist()
        rewards = self._rewards_of(self.inputs, completions, completion_ids)
        exchanged = 0
        for turn in range(self.exchanges):
            equal = are_equal(self._total(rewards).view(-1, size)).view(processes, -1)
            places = to_exchange(equal)
            others = self.order[~np.isin(self.order, tried)] if places.numel() else self.order[:0]
            if not len(others):
                break
            rng = np.random.default_rng([self.args.seed, self.state.global_step, turn])
            drawn = rng.choice(others, places.shape, replace=len(others) < places.numel()).tolist()
            tried += [row for numbers in drawn for row in numbers]
            inputs = [{"prompt": self.clips[row].prompt, "row": row} for row in drawn[me] for _ in range(size)]
            self._take_rows([item["row"] for item in inputs])
            fresh = super()._generate([item["prompt"] for item in inputs])
            found = self._rewards_of(inputs, fresh[3], fresh[1])
            better = ~are_equal(self._total(found).view(-1, size)).view(processes, -1)
            for process, slot in (better & equal.gather(1, places)).nonzero().tolist():
                exchanged += 1
                group, new = int(places[process, slot]), slice(slot * size, (slot + 1) * size)
                start = (process * equal.shape[1] + group) * size
                first = (process * places.shape[1] + slot) * size
                rewards[start : start + size] = found[first : first + size]
                if process == me:
                    old = slice(group * size, (group + 1) * size)
                    self.inputs[old], completions[old] = inputs[new], fresh[3][new]
                    prompt_ids[old], completion_ids[old] = fresh[0][new], fresh[1][new]
        self._take_rows([item["row"] for item in self.inputs])
        self.known_rewards = rewards
        self._note("exchanged_share", exchanged * size / len(rewards))

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids_list: list[Any]
    ) -> Tensor:
        rewards = self._rewards_of(inputs, completions, completion_ids_list)
        assert self.model is not None
        generations = self.num_generations if self.model.training else self.num_generations_eval
        assert generations is not None
        total = self._total(rewards)
        self._note("zero_variance_share", float(are_equal(total.view(-1, generations)).float().mean()))
        clips = [self.clips[item["row"]] for item in inputs]
        texts = [said if isinstance(said, str) else said[0]["content"] for said in completions]
        trees = [parse_tree(text).is_valid for clip, text in zip(clips, texts, strict=True) if clip.task == "tree"]
        counts = torch.tensor([[sum(trees), len(trees)]], device=self.accelerator.device)
        valid, written = self.accelerator.gather(counts).sum(0).tolist()
        if written:
            self._note("parse_rate", valid / written)
        if self.accelerator.is_main_process:
            mine = torch.cat([total[:, None], rewards], dim=1)[:generations].tolist()
            names = ["reward", *(f"rewards/{name}" for name in self.reward_func_names)]
            self.newest_group = [
                {
                    "id": clip.id,
                    "completion": text,
                    **{
                        name: None if value != value else round(value, 4)
                        for name, value in zip(names, values, strict=True)
                    },
                }
                for clip, text, values in zip(clips, texts, mine, strict=False)
            ]
        return rewards

    def _rewards_of(self, inputs: list[dict[str, Any]], completions: list[Any], completion_ids: list[Any]) -> Tensor:
        """Compute the rewards, (B of all processes, rewards); NaN where a reward does not apply."""
        if inputs is self.inputs and self.known_rewards is not None:
            known, self.known_rewards = self.known_rewards, None
            return known
        prompts = [item["prompt"] for item in inputs]
        with self._timed("reward"):
            return torch.as_tensor(super()._calculate_rewards(inputs, prompts, completions, completion_ids))

    def _total(self, rewards: Tensor) -> Tensor:
        """Return the weighted sum over rewards, (B,)."""
        return (rewards * self.reward_weights.to(rewards)).nansum(1)

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Do as TRL does; its time without rollout, reward and scoring counts as the update's."""
        watchdog.doing(f"step {self.state.global_step + 1}, step")
        with self.times.measure_rest("update"):
            loss: Tensor = super().training_step(*args, **kwargs)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Do as TRL does, with the seconds by part, and show the newest group."""
        logs.update(self.times.take())
        super().log(logs, start_time)
        if self.show is not None and self.newest_group:
            self.show(self.state.global_step, self.newest_group)
        self.newest_group = []

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        watchdog.doing(f"step {self.state.global_step + 1}, {part}")
        with self.times.measure(part):
            yield

    def _get_per_token_logps_and_entropies(
        self, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        if torch.is_grad_enabled():
            return self._score(*args, **kwargs)
        with self._timed("scoring"):
            return self._score(*args, **kwargs)

    def _score_as_trl(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
        scores: tuple[Tensor, Tensor | None, Tensor | None] = super()._get_per_token_logps_and_entropies(
            *args, **kwargs
        )
        return scores

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._take_rows(inputs["row"].tolist())
        return super()._compute_loss(model, inputs)
