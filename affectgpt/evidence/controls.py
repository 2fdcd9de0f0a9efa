"""Other evidence in the place of a row's own: what tells whether a plugin helps, and what teaches a model to doubt.

Every control keeps how sure the evidence sounds: the same probabilities stand beside other labels, the same weights
beside other words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from affectgpt.clip import Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.evidence.dialogue import dialogue_of
from affectgpt.evidence.kinds import CauseEvidence, CauseWord, EmotionEvidence, Evidence, pieces_of, to_json
from affectgpt.evidence.words import read_text


def without_evidence(clip: Clip) -> Clip:
    """The row alone."""
    return replace(clip, evidence=None)


def oracle_emotions(clip: Clip, top: int, rng: np.random.Generator) -> Clip:
    """The true emotion among the likeliest `top`: where it is not, it changes places with any of them."""
    truth = tidy(clip.answer)

    def mended(piece: Evidence) -> Evidence:
        if not isinstance(piece, EmotionEvidence) or truth not in piece.labels:
            return piece
        first = [label for label, _ in piece.top(top)]
        if truth in first:
            return piece
        other = first[int(rng.integers(len(first)))]
        labels = [{other: truth, truth: other}.get(label, label) for label in piece.labels]
        return EmotionEvidence(tuple(labels), piece.probabilities, piece.calibrated)

    return _changed(clip, mended)


def random_emotions(clip: Clip, rng: np.random.Generator) -> Clip:
    """Labels shuffled."""

    def shuffled(piece: Evidence) -> Evidence:
        if not isinstance(piece, EmotionEvidence):
            return piece
        return EmotionEvidence(tuple(rng.permutation(piece.labels).tolist()), piece.probabilities, piece.calibrated)

    return _changed(clip, shuffled)


def random_causes(clip: Clip, rng: np.random.Generator) -> Clip:
    """Words of the row drawn at random, as many as there were; moments of the clip moved at random."""
    said = dialogue_of(clip)
    spoken = read_text(said.turns).words() if said else []
    places = [(turn, start, word) for _, turn, start, word in spoken if word.casefold() not in ENGLISH_STOP_WORDS]

    def drawn(piece: Evidence) -> Evidence:
        if not isinstance(piece, CauseEvidence):
            return piece
        count = min(len(places), len(piece.words))
        chosen = [places[place] for place in rng.choice(len(places), count, replace=False)] if count else []
        weights = sorted((word.weight for word in piece.words), reverse=True)
        words = [
            CauseWord(turn, start, start + len(word), word, weight)
            for (turn, start, word), weight in zip(chosen, weights, strict=False)
        ]
        ends = [span.end_s for span in piece.spans]
        spans = []
        for span in piece.spans:
            length = span.end_s - span.start_s
            start_s = float(rng.uniform(0, max(ends) - length)) if max(ends) > length else 0.0
            spans.append(replace(span, start_s=start_s, end_s=start_s + length))
        return CauseEvidence(tuple(words), tuple(spans))

    return _changed(clip, drawn)


def corrupted(clip: Clip, rng: np.random.Generator) -> Clip:
    """Labels, words and moments at random."""
    return random_causes(random_emotions(clip, rng), rng)


def _changed(clip: Clip, change: Callable[[Evidence], Evidence]) -> Clip:
    if not clip.evidence:
        return clip
    pieces = pieces_of(clip.evidence, f"row {clip.id}, evidence")
    evidence: Mapping[str, Any] = {name: to_json(change(piece)) for name, piece in pieces.items()}
    return replace(clip, evidence=dict(evidence))
