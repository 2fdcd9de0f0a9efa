"""Diversity of responses and their similarity to human ones: Dist-n, BLEU, and semantic scores by any local model.

BLEU is sacrebleu's, and Dist-n counts its 13a tokens; BERTScore is the bert-score package's, without rescaling.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from affectgpt.problems import InputError

_INSTALL = "Install them with: pip install -c constraints.txt -e '.[text-metrics]'"


class TextScorer(Protocol):
    """Scorer that compares responses with references by meaning."""

    def __call__(self, responses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """Return mean scores by name."""


def score_responses(
    responses: Sequence[str], references: Sequence[str], text_scorer: TextScorer | None = None
) -> dict[str, float]:
    """Compute `dist1`, `dist2`, `bleu` and the scores of `text_scorer`, all as fractions.

    Raises:
        InputError: sacrebleu is not installed.
    """
    try:
        from sacrebleu import BLEU
    except ImportError as error:
        raise InputError(f"responses: BLEU needs sacrebleu. {_INSTALL}") from error
    scores = {f"dist{n}": distinct(responses, n) for n in (1, 2)}
    scores["bleu"] = BLEU().corpus_score(list(responses), [list(references)]).score / 100
    return scores | (text_scorer(responses, references) if text_scorer else {})


def distinct(responses: Sequence[str], n: int) -> float:
    """Divide distinct n-grams by all n-grams of all responses together (Li et al., NAACL 2016); 0 if there are none."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenise = Tokenizer13a()
    grams = [
        tuple(words[start : start + n])
        for words in (tokenise(text.casefold()).split() for text in responses)
        for start in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else 0.0


class MeaningScorer:
    """BERTScore and the cosine of sentence vectors, both by one encoder.

    Args:
        model: folder or Hub id of a text encoder.

    Raises:
        InputError: bert-score is not installed, or the encoder cannot be loaded.
    """

    def __init__(self, model: str) -> None:
        from affectgpt.llm.sentence_encoder import SentenceEncoder

        try:
            from bert_score import BERTScorer
        except ImportError as error:
            raise InputError(f"--text-model: BERTScore needs bert-score. {_INSTALL}") from error
        self.encoder = SentenceEncoder(model)
        layers = int(self.encoder.model.config.num_hidden_layers)
        self.scorer = BERTScorer(model_type=model, num_layers=layers, device=str(self.encoder.model.device))

    def __call__(self, responses: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """Return `bertscore_precision`, `_recall`, `_f1` and `similarity`; a response without words scores 0."""
        indices = [index for index, text in enumerate(responses) if text.strip()]
        spoken, gold = [responses[index] for index in indices], [references[index] for index in indices]
        if not spoken:
            return dict.fromkeys(("bertscore_precision", "bertscore_recall", "bertscore_f1", "similarity"), 0.0)
        parts = self.scorer.score(spoken, gold)
        names = ("bertscore_precision", "bertscore_recall", "bertscore_f1")
        scores = {name: float(part.sum()) / len(responses) for name, part in zip(names, parts, strict=True)}
        return {**scores, "similarity": float(np.sum(self.encoder.similarities(spoken, gold))) / len(responses)}
