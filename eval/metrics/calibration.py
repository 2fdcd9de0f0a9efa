"""Quality of a plugin's emotions: accuracy, recall of its likeliest few, macro F1, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from affectgpt.problems import InputError, Problem, nearest

RECALL_AT = (1, 3, 5)
BINS = 15


def score_emotions(evidence: Sequence[Any], gold: Sequence[str]) -> dict[str, Any]:
    """Score evidence, as fractions; rows without it count as wrong and are left out of the calibration error.

    Args:
        evidence: evidence that ranks labels (`Evidence.top`) or None for each row.

    Raises:
        InputError: gold labels that the plugin does not know; all of them are named.
    """
    labels = next(([label for label, _ in item.top()] for item in evidence if item is not None), [])
    unknown = sorted(set(gold) - set(labels)) if labels else []
    if unknown:
        raise InputError(
            [Problem("gold", label, "a label of the plugin", "none", nearest(label, labels)) for label in unknown]
        )
    ranked = [[label for label, _ in item.top(max(RECALL_AT))] if item is not None else [] for item in evidence]
    predicted = [labels_[0] if labels_ else "" for labels_ in ranked]
    right = np.array([one == other for one, other in zip(predicted, gold, strict=True)], float)
    known = np.array([item is not None for item in evidence])
    sure = np.array([item.top(1)[0][1] for item in evidence if item is not None])
    return {
        "n": len(gold),
        "accuracy": float(right.mean()),
        "recall_at": {
            str(count): float(np.mean([label in few[:count] for few, label in zip(ranked, gold, strict=True)]))
            for count in RECALL_AT
        },
        "macro_f1": float(f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0)),
        "ece": calibration_error(sure, right[known]),
    }


def calibration_error(sure: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Compute the expected calibration error (Guo et al. 2017): mean gap of confidence and accuracy over equal bins.

    Args:
        sure: (n,) probability of the likeliest label.
        right: (n,) 1 where it is the gold label, else 0.
    """
    index = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[index == number].sum() - right[index == number].sum()) for number in range(bins)]
    return float(sum(gaps) / len(sure)) if len(sure) else 0.0
