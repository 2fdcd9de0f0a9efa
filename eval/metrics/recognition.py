"""Recognition metrics: of labels, of numbers, of sets of labels, of distributions.

Arrays of n clips; K labels are codes 0 to K - 1. Each metric has a function of arrays, and those that are functions of
sums come as `Tally`s too (`label_tallies`, `number_tallies`, `set_tallies`), for intervals and comparisons.

What is not defined is NaN, never 0 and never an error: any metric of no clips or of a NaN among its numbers, a
correlation with a constant, the recall of a class that does not occur. Means over classes are of those that have one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import rel_entr
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score

from eval.metrics.stats import Tally, divide, mean_tally


def encode_labels(truth: Sequence[str], said: Sequence[str], labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Labels to codes 0 to len(labels) - 1; what was said and is no label gets len(labels)."""
    codes = {label: index for index, label in enumerate(labels)}
    right, answered = [codes[label] for label in truth], [codes.get(label, len(labels)) for label in said]
    return np.array(right, int), np.array(answered, int)


def confusion(truth: np.ndarray, said: np.ndarray, num_labels: int) -> np.ndarray:
    """(num_labels, num_labels + 1) counts: rows are truth, columns what was said, the last for no known label."""
    counts = np.zeros((num_labels, num_labels + 1), int)
    np.add.at(counts, (truth, said), 1)
    return counts


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


def macro_f1(truth: np.ndarray, said: np.ndarray, num_labels: int) -> float:
    """Mean F1 over the labels that occur in `truth` or `said`; an answer that is no label is wrong, and no class."""
    return label_tallies(truth, said, num_labels)["macro_f1"].value


def weighted_f1(truth: np.ndarray, said: np.ndarray, num_labels: int) -> float:
    """F1 of the labels, averaged by how often each is true."""
    return label_tallies(truth, said, num_labels)["weighted_f1"].value


def ccc(truth: np.ndarray, said: np.ndarray, unbiased: bool = False) -> float:
    """Concordance correlation coefficient: 2 s_xy / (s_x² + s_y² + (m_x - m_y)²).

    Biased moments (divided by n) are Lin's own (1989) and those of the AVEC and ABAW challenges, FaceBehaviorNet among
    them; `unbiased` ones (n - 1) those of torchmetrics and of HiCMAE's evaluation. With one side constant it is 0; with
    both, NaN if they are equal.
    """
    return number_tallies(truth, said)["ccc_unbiased" if unbiased else "ccc"].value


def pearson(truth: np.ndarray, said: np.ndarray) -> float:
    """Pearson's correlation; NaN if a side is constant."""
    return number_tallies(truth, said)["pearson"].value


def spearman(truth: np.ndarray, said: np.ndarray) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing theirs; NaN if a side is constant."""
    if np.isnan(truth).any() or np.isnan(said).any():
        return float("nan")
    return pearson(rankdata(truth), rankdata(said))


def mae(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean absolute error."""
    return number_tallies(truth, said)["mae"].value


def au_f1(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean over action units (columns) of the F1 of each, of (n, A) zeros and ones; -1 in `truth` is not annotated.

    A unit that is neither true nor said of any clip has no F1 and is left out.
    """
    return set_tallies(truth, said)["macro_f1"].value


def example_f1(truth: np.ndarray, said: np.ndarray) -> float:
    """Mean over clips of the F1 of their sets, of (n, A) zeros and ones; two empty sets agree: 1."""
    return set_tallies(truth, said)["example_f1"].value


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """Area under precision over recall, as steps, of zeros and ones and the scores for one; NaN without a one."""
    if not np.any(truth) or np.isnan(scores).any():
        return float("nan")
    return float(average_precision_score(truth, scores))


def kl_divergence(truth: np.ndarray, said: np.ndarray, floor: float = 1e-10) -> np.ndarray:
    """(n,) Kullback-Leibler divergence in nats from (n, K) distributions `said` to those that are true.

    Rows are scaled to sum 1. `floor` is added to what was said before, so that nothing is infinite; with 0 a label that
    is true and was given no chance makes it so. NaN for a row that holds a NaN, a negative number, or zeros only.
    """
    return np.asarray(rel_entr(_normalised(truth), _normalised(_normalised(said) + floor)).sum(axis=-1))


def js_divergence(truth: np.ndarray, said: np.ndarray) -> np.ndarray:
    """(n,) Jensen-Shannon divergence in nats, from 0 to ln 2, of (n, K) distributions; rows as in `kl_divergence`."""
    first, second = _normalised(truth), _normalised(said)
    middle = (first + second) / 2
    return np.asarray(rel_entr(first, middle).sum(axis=-1) + rel_entr(second, middle).sum(axis=-1)) / 2


def _normalised(rows: np.ndarray) -> np.ndarray:
    rows = np.where(rows < 0, np.nan, rows)
    return divide(rows, rows.sum(axis=-1, keepdims=True))


def label_tallies(truth: np.ndarray, said: np.ndarray, num_labels: int) -> dict[str, Tally]:
    """`war`, `uar`, `macro_f1` and `weighted_f1` of label codes (n,), and `recall` of each label as `recall/3`."""
    ones = np.eye(num_labels + 1)[:, :num_labels]
    right, answered = ones[np.asarray(truth, int)], ones[np.asarray(said, int)]
    counts = np.stack([right * answered, right, answered], axis=1)
    recalls = {f"recall/{label}": Tally(counts[:, :2, label], _ratio) for label in range(num_labels)}
    return {"war": mean_tally(np.equal(truth, said)), "uar": _over_labels(counts[:, :2], _uar)} | {
        "macro_f1": _over_labels(counts, _macro_f1),
        "weighted_f1": _over_labels(counts, _weighted_f1),
        **recalls,
    }


def set_tallies(truth: np.ndarray, said: np.ndarray) -> dict[str, Tally]:
    """`macro_f1`, `micro_f1` and `example_f1` of (n, A) zeros and ones; -1 in `truth` is not annotated."""
    truth, said = np.asarray(truth), np.asarray(said)
    known = truth >= 0
    right, answered = (truth == 1).astype(float), ((said == 1) & known).astype(float)
    both = right * answered
    size = right.sum(axis=1) + answered.sum(axis=1)
    agreement = np.where(size == 0, 1.0, divide(2 * both.sum(axis=1), size))
    counts = np.stack([both, right, answered], axis=1)
    return {
        "macro_f1": _over_labels(counts, _macro_f1),
        "micro_f1": _over_labels(counts.sum(axis=2, keepdims=True), _macro_f1),
        "example_f1": mean_tally(np.where(known.any(axis=1), agreement, np.nan)),
    }


def number_tallies(truth: np.ndarray, said: np.ndarray) -> dict[str, Tally]:
    """`ccc`, `ccc_unbiased`, `pearson` and `mae` of numbers (n,)."""
    x, y = np.asarray(truth, float), np.asarray(said, float)
    # Shifting both alike changes none of the figures, and keeps sums of squares from drowning their differences.
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
    """A score from (n, R, K) counts of each label: right answers, true, and said where R is 3."""
    shape = counts.shape[1:]
    return Tally(
        counts.reshape(len(counts), math.prod(shape)), lambda sums: figure(sums.reshape(*sums.shape[:-1], *shape))
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
    """Means, variances and covariance from sums of (1, x, y, x², y², xy); moments are divided by n - `less`.

    A variance below the rounding of its sum is that of a constant: 0.
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
