"""Rewards for GRPO on the tiny model, and what its trainer logged and drew."""

from __future__ import annotations

from typing import Any

from train.stages import grpo_trainer as grpo


def dull(completions: list[str], id: list[str], **_: Any) -> list[float]:
    """Give every completion of two of the rows the same reward."""
    return [0.5 if name in ("row0", "row1") else value for name, value in zip(id, letters(completions), strict=True)]


def letters(completions: list[str], **_: Any) -> list[float]:
    """Give the share of small letters as reward: easy to learn, different between samples."""
    return [sum("a" <= letter <= "z" for letter in text) / max(1, len(text)) for text in completions]


def logged(trainer: grpo.MediaGRPOTrainer, name: str) -> list[float]:
    """List the values of a metric in the trainer's log, in the order of steps."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def rollouts(trainer: grpo.MediaGRPOTrainer, rows: list[int]) -> dict[str, Any]:
    """Draw and score four completions of each row, as the trainer does."""
    inputs = [{"prompt": trainer.clips[row].prompt, "row": row} for row in rows for _ in range(4)]
    return trainer._generate_and_score_completions(inputs)
