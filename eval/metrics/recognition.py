"""Recognition metrics for labels, numbers, sets of labels and distributions.

Arrays of n clips; K labels are codes 0 to K - 1. Each metric is a function of arrays, and those that are functions of
sums also come as `Tally`s (`label_tallies`, `number_tallies`, `set_tallies`), for intervals and comparisons.

An undefined value is NaN, never 0 and never an error: any metric of no clips or with a NaN among its numbers, a
correlation with a constant, the recall of a class that does not occur. Means over classes skip undefined ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import rel_entr
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from eval.metrics.stats import Tally, divide, mean_tally


def encode_labels(
    gold: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Encode labels as codes 0 to len(labels) - 1; a prediction that is no label gets len(labels)."""
    codes = {label: index for index, label in enumerate(labels)}
    right, answered = [codes[label] for label in gold], [codes.get(label, len(labels)) for label in predicted]
    return np.array(right, int), np.array(answered, int)


def confusion(gold: np.ndarray, predicted: np.ndarray, num_labels: int) -> np.ndarray:
    """Count (num_labels, num_labels + 1): rows are gold labels, columns predictions, the last for no known label."""
    counts = np.zeros((num_labels, num_labels + 1), int)
    np.add.at(counts, (gold, predicted), 1)
    return counts


def war(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the weighted average recall: the share of correct predictions (accuracy)."""
    return float(np.mean(gold == predicted)) if len(gold) else float("nan")


def uar(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the unweighted average recall over the classes that occur in `gold` (balanced accuracy)."""
    if not len(gold):
        return float("nan")
    total = np.bincount(gold)
    right = np.bincount(gold[gold == predicted], minlength=len(total))
    present = total > 0
    return float(np.mean(right[present] / total[present]))


def macro_f1(gold: np.ndarray, predicted: np.ndarray, num_labels: int) -> float:
    """Average F1 over the labels in `gold` or `predicted`; a prediction that is no label is wrong, and no class."""
    return label_tallies(gold, predicted, num_labels)["macro_f1"].value


def weighted_f1(gold: np.ndarray, predicted: np.ndarray, num_labels: int) -> float:
    """Average the F1 of the labels, weighted by how often each is gold."""
    return label_tallies(gold, predicted, num_labels)["weighted_f1"].value


def ccc(gold: np.ndarray, predicted: np.ndarray, unbiased: bool = False) -> float:
    """Compute the concordance correlation coefficient: 2 s_xy / (s_x² + s_y² + (m_x - m_y)²).

    Biased moments (divided by n) are Lin's own (1989) and those of the AVEC and ABAW challenges, FaceBehaviorNet among
    them; `unbiased` ones (n - 1) are those of torchmetrics and of HiCMAE's evaluation. It is 0 if one side is constant,
    and NaN if both are and are equal.
    """
    return number_tallies(gold, predicted)["ccc_unbiased" if unbiased else "ccc"].value


def pearson(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Compute Pearson's correlation; NaN if a side is constant."""
    return number_tallies(gold, predicted)["pearson"].value


def spearman(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Compute Spearman's rank correlation: Pearson's of the ranks, ties sharing theirs; NaN if a side is constant."""
    if np.isnan(gold).any() or np.isnan(predicted).any():
        return float("nan")
    return pearson(rankdata(gold), rankdata(predicted))


def mae(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Compute the mean absolute error."""
    return number_tallies(gold, predicted)["mae"].value


def au_f1(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Average F1 over action units (columns) of (n, A) zeros and ones; -1 in `gold` is not annotated.

    A unit that is neither gold nor predicted in any clip has no F1 and is left out.
    """
    return set_tallies(gold, predicted)["macro_f1"].value


def example_f1(gold: np.ndarray, predicted: np.ndarray) -> float:
    """Average over clips the F1 of their sets, (n, A) zeros and ones; two empty sets agree: 1."""
    return set_tallies(gold, predicted)["example_f1"].value


def average_precision(gold: np.ndarray, scores: np.ndarray) -> float:
    """Compute the area under precision over recall, as steps, of 0/1 labels and scores; NaN without a 1."""
    if not np.any(gold) or np.isnan(scores).any():
        return float("nan")
    return float(average_precision_score(gold, scores))


def kl_divergence(gold: np.ndarray, predicted: np.ndarray, floor: float = 1e-10) -> np.ndarray:
    """Compute (n,) Kullback-Leibler divergences in nats from (n, K) distributions `predicted` to `gold`.

    Rows are scaled to sum 1. `floor` is added to predictions first, so that nothing is infinite; with 0, a gold label
    that was predicted with probability 0 makes the divergence infinite. NaN for a row that holds a NaN, a negative
    number, or only zeros.
    """
    return np.asarray(rel_entr(_normalised(gold), _normalised(_normalised(predicted) + floor)).sum(axis=-1))


def js_divergence(gold: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Compute (n,) Jensen-Shannon divergences in nats, from 0 to ln 2; rows as in `kl_divergence`."""
    first, second = _normalised(gold), _normalised(predicted)
    middle = (first + second) / 2
    return np.asarray(rel_entr(first, middle).sum(axis=-1) + rel_entr(second, middle).sum(axis=-1)) / 2


def _normalised(rows: np.ndarray) -> np.ndarray:
    rows = np.where(rows < 0, np.nan, rows)
    return divide(rows, rows.sum(axis=-1, keepdims=True))


def label_tallies(gold: np.ndarray, predicted: np.ndarray, num_labels: int) -> dict[str, Tally]:
    """Return tallies `war`, `uar`, `macro_f1`, `weighted_f1` of label codes (n,), and `recall/3` of each label."""
    ones = np.eye(num_labels + 1)[:, :num_labels]
    right, answered = ones[np.asarray(gold, int)], ones[np.asarray(predicted, int)]
    counts = np.stack([right * answered, right, answered], axis=1)
    recalls = {
        f"recall/{label}": Tally(counts[:, :2, label], _ratio, right[:, label : label + 1])
        for label in range(num_labels)
    }
    return {"war": mean_tally(np.equal(gold, predicted)), "uar": _over_labels(counts[:, :2], _uar)} | {
        "macro_f1": _over_labels(counts, _macro_f1),
        "weighted_f1": replace(_over_labels(counts, _weighted_f1), counted=np.ones((len(right), 1))),
        **recalls,
    }


def set_tallies(gold: np.ndarray, predicted: np.ndarray) -> dict[str, Tally]:
    """Return tallies `macro_f1`, `micro_f1`, `example_f1` of (n, A) zeros and ones; -1 in `gold` is not annotated."""
    gold, predicted = np.asarray(gold), np.asarray(predicted)
    known = gold >= 0
    right, answered = (gold == 1).astype(float), ((predicted == 1) & known).astype(float)
    both = right * answered
    size = right.sum(axis=1) + answered.sum(axis=1)
    agreement = np.where(size == 0, 1.0, divide(2 * both.sum(axis=1), size))
    counts = np.stack([both, right, answered], axis=1)
    return {
        "macro_f1": _over_labels(counts, _macro_f1),
        "micro_f1": _over_labels(counts.sum(axis=2, keepdims=True), _macro_f1),
        "example_f1": mean_tally(np.where(known.any(axis=1), agreement, np.nan)),
    }


def number_tallies(gold: np.ndarray, predicted: np.ndarray) -> dict[str, Tally]:
    """Return tallies `ccc`, `ccc_unbiased`, `pearson` and `mae` of numbers (n,)."""
    x, y = np.asarray(gold, float), np.asarray(predicted, float)
    # Shifting both by the same amount changes none of the figures, and keeps sums of squares precise.
    shift = x.mean() if len(x) else 0.0
    x, y = x - shift, y - shift
    parts = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    return {
        "ccc": Tally(parts, lambda sums: _ccc(sums, 0)),
        "ccc_unbiased": Tally(parts, lambda sums: _ccc(sums, 1)),
        "pearson": Tally(parts, _pearson),
        "mae": Tally(
            np.stack([np.abs(x - y), np.ones_like(x)], axis=1), lambda sums: divide(sums[..., 0], sums[..., 1])
        ),
    }


def _over_labels(counts: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> Tally:
    """Build a score from (n, R, K) counts per label: correct predictions, gold labels and, if R is 3, predictions."""
    shape = counts.shape[1:]
    return Tally(
        counts.reshape(len(counts), math.prod(shape)),
        lambda sums: figure(sums.reshape(*sums.shape[:-1], *shape)),
        counts[:, 1],
    )


def _ratio(sums: np.ndarray) -> np.ndarray:
    return divide(sums[..., 0], sums[..., 1])


def _uar(sums: np.ndarray) -> np.ndarray:
    return _mean_of_known(divide(sums[..., 0, :], sums[..., 1, :]))


def _f1(sums: np.ndarray) -> np.ndarray:
    return divide(2 * sums[..., 0, :], sums[..., 1, :] + sums[..., 2, :])


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    return _mean_of_known(_f1(sums))


def _weighted_f1(sums: np.ndarray) -> np.ndarray:
    return divide((np.nan_to_num(_f1(sums)) * sums[..., 1, :]).sum(axis=-1), sums[..., 1, :].sum(axis=-1))


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def _moments(sums: np.ndarray, less: int) -> tuple[np.ndarray, ...]:
    """Compute means, variances and covariance from sums of (1, x, y, x², y², xy), divided by n - `less`.

    A variance below the rounding error of its sum is that of a constant: 0.
    """
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    mean_x, mean_y = divide(x, n), divide(y, n)
    spread = [divide(square - mean * total, n - less) for square, mean, total in ((xx, mean_x, x), (yy, mean_y, y))]
    tiny = [1e-13 * np.maximum(divide(square, n), 1e-300) for square in (xx, yy)]
    spread = [np.where(value <= least, 0.0, value) for value, least in zip(spread, tiny, strict=True)]
    return mean_x, mean_y, spread[0], spread[1], divide(xy - mean_x * y, n - less)


def _ccc(sums: np.ndarray, less: int) -> np.ndarray:
    mean_x, mean_y, var_x, var_y, cov = _moments(sums, less)
    cov = np.where((var_x == 0) | (var_y == 0), 0.0, cov)
    return divide(2 * cov, var_x + var_y + (mean_x - mean_y) ** 2)


def _pearson(sums: np.ndarray) -> np.ndarray:
    *_, var_x, var_y, cov = _moments(sums, 0)
    return divide(cov, np.sqrt(var_x * var_y))
