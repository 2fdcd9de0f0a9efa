"""The nine data sets of MER-UniBench, and what truth and answers are there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["clean", "official"]
MODES: tuple[Mode, ...] = ("clean", "official")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One of the data sets."""

    name: str
    task: Literal["hit", "sentiment", "open"]
    size: int
    """Clips of the published test set."""
    labels: tuple[str, ...] = ()
    """The closed set, of hit-rate sets."""
    span: float = 0.0
    """Largest valence, of sentiment sets."""


_MER = ("worried", "happy", "neutral", "angry", "surprise", "sad")
BENCHMARKS = {
    item.name: item
    for item in (
        Benchmark("mer2023", "hit", 411, _MER),
        Benchmark("mer2024", "hit", 1169, _MER),
        Benchmark("meld", "hit", 2610, ("anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise")),
        Benchmark("iemocapfour", "hit", 1241, ("happy", "sad", "neutral", "anger")),
        Benchmark("cmumosi", "sentiment", 686, span=3.0),
        Benchmark("cmumosei", "sentiment", 4659, span=3.0),
        Benchmark("sims", "sentiment", 457, span=1.0),
        Benchmark("simsv2", "sentiment", 1034, span=1.0),
        Benchmark("ovmerdplus", "open", 532),
    )
}
PRIMARY = {"hit": "hit", "sentiment": "waf", "open": "f_s"}
"""Task -> its primary metric."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said of a clip."""

    words: tuple[str, ...] = ()
    """Emotion words, lower case."""
    polarity: str | None = None
    """'positive', 'negative' or 'neutral' in sentiment sets; None where none of them could be read."""


Gold = float | tuple[str, ...]
"""The truth of a clip: a valence, or emotion words."""
Answers = list[Answer | None]
"""Answers to all clips of a set, in the order of its labels; None where there is none."""
