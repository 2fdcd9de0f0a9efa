"""Recognition metrics on label codes: WAR, UAR, the confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def encode_labels(truth: Sequence[str], said: Sequence[str], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels to codes 0 to len(labels) - 1; what was said and is no label gets len(labels)."""
    codes = {label: index for index, label in enumerate(labels)}
    right, answered = [codes[label] for label in truth], [codes.get(label, len(labels)) for label in said]
    return np.array(right, int), np.array(answered, int)


def war(truth: np.ndarray, said: np.ndarray) -> float:
    """Weighted average recall: the share of right answers (accuracy)."""
    return float(np.mean(truth == said)) if len(truth) else float("nan")


def uar(truth: np.ndarray, said: np.ndarray) -> float:
    """Unweighted average recall over the classes that occur in `truth` (balanced accuracy)."""
    if not len(truth):
        return float("nan")
    total = np.bincount(truth)
    right = np.bincount(truth[truth == said], minlength=len(total))
    present = total > 0
    return float(np.mean(right[present] / total[present]))


def confusion(truth: np.ndarray, said: np.ndarray, num_labels: int) -> np.ndarray:
    """(num_labels, num_labels + 1) counts: rows are truth, columns what was said, the last for no known label."""
    counts = np.zeros((num_labels, num_labels + 1), int)
    np.add.at(counts, (truth, said), 1)
    return counts
