"""Control conditions for evidence (none, oracle, shuffled): they show whether a plugin helps, and train a model not to
over-trust it.

Every control keeps the confidence of the evidence: the same probabilities with other labels, the same weights with
other words. Each kind of evidence defines its own controls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.evidence import Evidence
from affectgpt.evidence.table import by_kind, kind_class, kind_names, read_all


def without_evidence(clip: Clip) -> Clip:
    """Return the row without its evidence."""
    return replace(clip, evidence=None)


def kinds_of(clips: Iterable[Clip]) -> list[type[Evidence]]:
    """List the kinds of evidence that some row carries, in the order of the table."""
    carried = {values["kind"] for clip in clips for values in (clip.evidence or {}).values()}
    return [kind_class(name) for name in kind_names() if name in carried]


def oracle(clip: Clip, cues: Cues, rng: np.random.Generator) -> Clip:
    """Return the row with evidence that agrees with its gold answer, as far as the answer determines it."""
    return _changed(clip, lambda evidence: evidence.oracle(rng, clip, cues))


def shuffled(clip: Clip, kind: str, rng: np.random.Generator) -> Clip:
    """Return the row with its evidence of one kind falsified at random."""
    return _changed(clip, lambda evidence: evidence.shuffled(rng, clip) if evidence.kind == kind else evidence)


def corrupted(clip: Clip, rng: np.random.Generator) -> Clip:
    """Return the row with all of its evidence falsified at random."""
    for kind in by_kind(clip):
        clip = shuffled(clip, kind.kind, rng)
    return clip


def _changed(clip: Clip, change: Callable[[Evidence], Evidence]) -> Clip:
    if not clip.evidence:
        return clip
    carried = read_all(clip.evidence, f"row {clip.id}, evidence")
    return replace(clip, evidence={name: change(evidence).to_json() for name, evidence in carried.items()})
