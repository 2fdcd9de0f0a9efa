"""How good a plugin's emotions are: accuracy, recall of its likeliest few, macro F1, and calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import f1_score

from affectgpt.problems import InputError, Problem, nearest

RECALL_AT = (1, 3, 5)
BINS = 15


def score_emotions(evidence: Sequence[Any], truth: Sequence[str]) -> dict[str, Any]:
    """Figures as fractions; a row without evidence counts as wrong, and is left out of the calibration error.

    Args:
        evidence: of each row, evidence that ranks labels (`Evidence.top`), or None.

    Raises:
        InputError: a true label that the plugin does not know; every one is named.
    """
    labels = next(([label for label, _ in item.top()] for item in evidence if item is not None), [])
    unknown = sorted(set(truth) - set(labels)) if labels else []
    if unknown:
        raise InputError(
            [Problem("truth", label, "a label of the plugin", "none", nearest(label, labels)) for label in unknown]
        )
    ranked = [[label for label, _ in item.top(max(RECALL_AT))] if item is not None else [] for item in evidence]
    said = [labels_[0] if labels_ else "" for labels_ in ranked]
    right = np.array([one == other for one, other in zip(said, truth, strict=True)], float)
    known = np.array([item is not None for item in evidence])
    sure = np.array([item.top(1)[0][1] for item in evidence if item is not None])
    return {
        "n": len(truth),
        "accuracy": float(right.mean()),
        "recall_at": {
            str(count): float(np.mean([gold in few[:count] for few, gold in zip(ranked, truth, strict=True)]))
            for count in RECALL_AT
        },
        "macro_f1": float(f1_score(truth, said, labels=sorted(set(truth)), average="macro", zero_division=0)),
        "ece": calibration_error(sure, right[known]),
    }


def calibration_error(sure: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error (Guo et al. 2017): mean distance of confidence and accuracy over bins of equal width.

    Args:
        sure: (n,) probability of the likeliest label.
        right: (n,) 1 where it is the true one, else 0.
    """
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[place == number].sum() - right[place == number].sum()) for number in range(bins)]
    return float(sum(gaps) / len(sure)) if len(sure) else 0.0
