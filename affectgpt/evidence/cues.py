"""Limits on the evidence that a prompt shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cues:
    """Limits on the evidence that a prompt shows.

    Raises:
        ValueError: `top` below 1 or `causes` below 0.
    """

    top: int = 3
    """Number of likeliest emotions to consider first (HEF's k, which the paper does not report); also the most labels
    and action units that other evidence shows."""
    causes: int = 3
    """Number of words, moments of a clip, and spans, those of the highest weight first."""
    situation: bool = False
    """Whether to show the row's situation, which gives the emotion away."""

    def __post_init__(self) -> None:
        if self.top < 1 or self.causes < 0:
            raise ValueError(f"expected top of 1 or more and causes of 0 or more, got {self.top} and {self.causes}")
