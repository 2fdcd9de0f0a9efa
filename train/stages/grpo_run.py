"""Run of a GRPO stage: the trainer of `train/stages/grpo_trainer.py` with the settings of the stage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel, PrinterCallback, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from affectgpt.clip import Clip
from affectgpt.problems import InputError
from train.monitor import show_rollouts
from train.stages.arguments import common_arguments, train_stage
from train.stages.context import StageContext
from train.stages.grpo_settings import GrpoSettings
from train.stages.grpo_trainer import MediaGRPOTrainer
from videmo.reward_run import BoundReward
from videmo.user_rewards import reward_function


def run_grpo(
    context: StageContext,
    stage: GrpoSettings,
    model: PreTrainedModel,
    clips: Sequence[Clip],
    order: Sequence[int],
    folder: Path,
    callbacks: Sequence[TrainerCallback],
    world_size: int = 1,
) -> GRPOTrainer:
    """Train `model` in place by GRPO on the prompts of `order`; resume from the newest checkpoint in `folder`.

    Raises:
        InputError: the batch cannot be split over the processes, or not into whole groups where they are exchanged.
    """
    if stage.exchanges and stage.batch_size // world_size % stage.generations:
        raise InputError(
            f"stage '{stage.name}': exchanges needs whole groups on every process; set stages.{stage.name}.batch_size "
            f"to a multiple of {stage.generations} generations x {world_size} processes"
        )
    arguments = GRPOConfig(
        # TRL's default for gradient checkpointing is on, which switches the cache off; ours is the stage's.
        **common_arguments(context, stage, folder, world_size),
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
        processing_class=context.reader.processor,
        callbacks=list(callbacks),
        clips=clips,
        reader=context.reader,
        show=partial(show_rollouts, context.folder.rollouts, stage.name, context.wandb),
        say=say,
        exchanges=stage.exchanges,
    )
    trainer.remove_callback(PrinterCallback)
    train_stage(trainer, context, stage, folder)
    for reward in rewards:
        if reward.dropped:
            say(f"      reward '{reward.__name__}' was left out of {reward.dropped} of {reward.scored} completions")
    return trainer
