"""Scores of emotion words against gold words by the groups they fall into: hit rate, set-level F, and related ones.

Groups are kept as bits of one number for each clip and wheel, so that a set of words is one bitwise or and a comparison
one bitwise and. Shapes: n clips, W wheels (the five official ones, or the project's one).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from eval.metrics.stats import Tally, divide

_LONGEST = 100
"""Longest item of a list, in characters, that is looked up as a word."""
_SCORED, _PRECISION, _RECALL, _SHARE = range(4)


class Grouper:
    """Cache of the groups of words.

    Args:
        groups: function from a lower-case word to its group on each wheel, None where it has none; at most 64 groups a
            wheel.
        wheels: number of wheels.
    """

    def __init__(self, groups: Callable[[str], Sequence[str | None]], wheels: int) -> None:
        self.groups = groups
        self._bits: list[dict[str, int]] = [{} for _ in range(wheels)]
        self._rows: dict[str | None, int] = {None: 0}
        self._table: list[list[int]] = [[0] * len(self._bits)]

    def masks(self, clips: Iterable[Iterable[str]]) -> np.ndarray:
        """Return (n, W) uint64 masks: a bit for each group that a clip's words fall into."""
        rows: list[int] = []
        starts: list[int] = []
        for words in clips:
            starts.append(len(rows))
            rows.append(0)  # `reduceat` needs at least one row a clip
            rows += [self._row(word) for word in words]
        table = np.array(self._table, np.uint64)
        if not starts:
            return table[:0]
        return np.asarray(np.bitwise_or.reduceat(table[rows], starts, axis=0))

    def knows(self, word: str) -> bool:
        """Tell whether the word has a group on any wheel."""
        return any(self._table[self._row(word)])

    def _row(self, word: str) -> int:
        row = self._rows.get(word)
        if row is None:
            on_wheels = self.groups(word) if 0 < len(word) <= _LONGEST else ()
            mask = [0] * len(self._bits)
            for wheel, group in enumerate(on_wheels):
                if group is not None:
                    mask[wheel] = 1 << self._bits[wheel].setdefault(group, len(self._bits[wheel]))
            row = 0 if not any(mask) else len(self._table)
            if row:
                self._table.append(mask)
            self._rows[word] = row
        return row


def overlap_tallies(gold: np.ndarray, predicted: np.ndarray, candidates: np.ndarray | None = None) -> dict[str, Tally]:
    """Score predicted groups, (n, W) masks, against gold ones.

    On each wheel, only clips whose gold has a group there count. With Y and P the groups of gold and prediction, a clip
    has precision |Y & P| / |P| and recall |Y & P| / |Y|, both 0 if P is empty. Scores are means over clips, then over
    wheels: `precision`, `recall`, and `f1` = 2PR / (P + R) of a wheel's mean precision and recall (0 if both are 0).

    Args:
        gold: groups of the gold words.
        predicted: groups of the predicted words.
        candidates: (W,) groups of all labels of a closed set; adds `m_score`, |Y & P| over the groups of P among these.
    """
    shared = np.bitwise_count(gold & predicted).astype(float)
    scored = gold != 0
    fields = [
        scored.astype(float),
        np.nan_to_num(divide(shared, np.bitwise_count(predicted))),
        np.nan_to_num(divide(shared, np.bitwise_count(gold))),
    ]
    if candidates is not None:
        fields.append(np.nan_to_num(divide(shared, np.bitwise_count(predicted & candidates))))
    fields[1:] = [field * scored for field in fields[1:]]
    parts = np.stack(fields, axis=2).reshape(len(gold), gold.shape[1] * len(fields))
    shape = (gold.shape[1], len(fields))

    def tally(figure: Callable[[np.ndarray], np.ndarray]) -> Tally:
        return Tally(parts, lambda sums: figure(sums.reshape(*sums.shape[:-1], *shape)).mean(axis=-1), scored)

    tallies = {"precision": tally(_mean(_PRECISION)), "recall": tally(_mean(_RECALL)), "f1": tally(_f1)}
    return tallies | ({"m_score": tally(_mean(_SHARE))} if candidates is not None else {})


def _mean(field: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda sums: divide(sums[..., field], sums[..., _SCORED])


def _f1(sums: np.ndarray) -> np.ndarray:
    precision, recall = _mean(_PRECISION)(sums), _mean(_RECALL)(sums)
    harmonic = divide(2 * precision * recall, precision + recall)
    return np.where(precision + recall == 0, 0.0, harmonic)
