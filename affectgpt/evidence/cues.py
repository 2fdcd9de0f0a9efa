"""How much of a row's evidence its prompt shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cues:
    """How much of a row's evidence its prompt shows.

    Raises:
        ValueError: fewer than one emotion, or less than no cause.
    """

    top: int = 3
    """The likeliest emotions, to be looked at first (HEF's k, which the paper does not tell); so many labels and action
    units of other evidence too."""
    causes: int = 3
    """Words, moments of a clip, and spans that weigh most."""
    situation: bool = False
    """Show the row's situation, which gives the emotion away."""

    def __post_init__(self) -> None:
        if self.top < 1 or self.causes < 0:
            raise ValueError(f"expected top of 1 or more and causes of 0 or more, got {self.top} and {self.causes}")
