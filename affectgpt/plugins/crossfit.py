"""Cross-fitting: out-of-fold evidence for training rows, each by a plugin that was not fitted on the row's group.

A plugin is more confident about the rows it was fitted on than about others. A language model trained on such evidence
would over-trust it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import dialogue_of
from affectgpt.evidence.evidence import Evidence
from affectgpt.plugins.plugin import Plugin
from affectgpt.plugins.rows import evidence_of
from affectgpt.problems import InputError

FOLDS = 5


def held_out_evidence(
    fit: Callable[[Sequence[Clip]], Plugin], rows: Sequence[Clip], folds: int = FOLDS, seed: int = 0
) -> list[Evidence | None]:
    """Predict evidence for each row with a plugin fitted on the other folds.

    Args:
        fit: function that fits a plugin on rows; called once for each fold.
        folds: number of folds that the groups are divided into.

    Raises:
        InputError: fewer groups than folds.
    """
    groups = groups_of(rows)
    names = sorted(set(groups))
    if folds < 2 or len(names) < folds:
        raise InputError(f"folds: expected 2 to {len(names)}, as many as there are groups of rows, got {folds}")
    order = np.random.default_rng(seed).permutation(len(names))
    fold_of = {names[name]: index % folds for index, name in enumerate(order)}
    evidence: list[Evidence | None] = [None] * len(rows)
    for fold in range(folds):
        inside = [index for index, group in enumerate(groups) if fold_of[group] == fold]
        plugin = fit([row for row, group in zip(rows, groups, strict=True) if fold_of[group] != fold])
        for index, item in zip(inside, evidence_of(plugin, [rows[index] for index in inside]), strict=True):
            evidence[index] = item
    return evidence


def groups_of(rows: Sequence[Clip]) -> list[str]:
    """Return, for each row, the group that a split must not divide: its group, its first turn, or the row itself."""
    dialogues = [dialogue_of(row) for row in rows]
    return [
        row.group or (dialogue.group if dialogue else None) or f"row {index}"
        for index, (row, dialogue) in enumerate(zip(rows, dialogues, strict=True))
    ]
