"""The nine data sets of MER-UniBench, and the types of their gold labels and answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["clean", "official"]
MODES: tuple[Mode, ...] = ("clean", "official")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Data set of the benchmark."""

    name: str
    task: Literal["hit", "sentiment", "open"]
    size: int
    """Number of clips in the published test set."""
    labels: tuple[str, ...] = ()
    """Closed set of labels, for hit-rate sets."""
    span: float = 0.0
    """Largest valence, for sentiment sets."""


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
"""Task -> primary metric."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer of a model to one clip."""

    words: tuple[str, ...] = ()
    """Emotion words in lower case."""
    polarity: str | None = None
    """'positive', 'negative' or 'neutral' in sentiment sets; None if none of them could be read."""


Gold = float | tuple[str, ...]
"""Gold label of a clip: a valence, or emotion words."""
Answers = list[Answer | None]
"""Answers to all clips of a set, in the order of its labels; None for a missing one."""
