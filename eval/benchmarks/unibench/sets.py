"""The nine data sets of MER-UniBench, and the types of their gold labels and answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["clean", "official"]
MODES: tuple[Mode, ...] = ("clean", "official")
OTHER_NAMES: dict[str, Mode] = {"mended": "clean", "published": "official"}
"""Names of the modes that all evaluators of published code share."""


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
    group: str = ""
    """Pattern of a clip's name whose first part in parentheses is the dialogue or video that the clip was cut from;
    empty where names do not tell."""

    def groups(self, names: Sequence[str]) -> list[str] | None:
        """Return the dialogue or video of each clip; None where a name does not tell it."""
        found = [re.fullmatch(self.group, name) for name in names] if self.group else []
        return [match[1] for match in found if match] if found and all(found) else None


_MER = ("worried", "happy", "neutral", "angry", "surprise", "sad")
_CUT = r"(.+)[_/]\d+"
"""A video's name and the number of a cut."""
BENCHMARKS = {
    item.name: item
    for item in (
        Benchmark("mer2023", "hit", 411, _MER),
        Benchmark("mer2024", "hit", 1169, _MER),
        Benchmark(
            "meld",
            "hit",
            2610,
            ("anger", "joy", "sadness", "neutral", "disgust", "fear", "surprise"),
            group=r"(dia\d+)_utt\d+",
        ),
        Benchmark("iemocapfour", "hit", 1241, ("happy", "sad", "neutral", "anger"), group=r"(Ses\d+[FM]_.+)_[FM]\d+"),
        Benchmark("cmumosi", "sentiment", 686, span=3.0, group=_CUT),
        Benchmark("cmumosei", "sentiment", 4659, span=3.0, group=_CUT),
        Benchmark("sims", "sentiment", 457, span=1.0, group=_CUT),
        Benchmark("simsv2", "sentiment", 1034, span=1.0, group=_CUT),
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
