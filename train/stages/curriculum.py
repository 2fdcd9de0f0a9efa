"""Order of a stage's rows: mixtures of tasks, drawn once from a seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from affectgpt.clip import Clip
from affectgpt.problems import InputError, nearest


def draw_rows(clips: Sequence[Clip], mixture: Mapping[str, float], count: int, seed: int) -> list[int]:
    """Draw the indices of `count` rows: pick a task by its weight, then that task's next row in a shuffled order.

    All rows of a task come once before any comes again. The result depends on the arguments alone.

    Raises:
        InputError: a task of the mixture has no rows.
    """
    by_task: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        by_task[clip.task].append(index)
    tasks = [task for task, weight in mixture.items() if weight > 0]
    missing = [task for task in tasks if not by_task[task]]
    if missing:
        present = [task for task, rows in by_task.items() if rows]
        raise InputError(f"the mixture asks for task '{missing[0]}', but no row has it. {nearest(missing[0], present)}")
    rng = np.random.default_rng([seed, len(clips)])
    weights = np.array([mixture[task] for task in tasks], float)
    # Exact shares, spread at random: a small run gets its mixture, not a sample of it.
    exact = weights / weights.sum() * count
    shares = np.floor(exact).astype(int)
    shares[np.argsort(shares - exact, kind="stable")[: count - shares.sum()]] += 1
    order = rng.permutation(np.repeat(np.arange(len(tasks)), shares))
    queues = [_cycle(by_task[task], rng, int(share)) for task, share in zip(tasks, shares, strict=True)]
    return [next(queues[task]) for task in order]


def _cycle(rows: list[int], rng: np.random.Generator, count: int) -> Iterator[int]:
    rounds = -(-count // len(rows))
    return iter(np.concatenate([rng.permutation(rows) for _ in range(max(rounds, 1))])[:count].tolist())


def batch_by_length(rows: Sequence[int], lengths: Mapping[int, int], batch_size: int, seed: int) -> list[int]:
    """Reorder drawn rows so that a batch holds rows of similar length, which saves padding.

    Rows move only within windows of 8 batches, so the mixture stays even along the stage; batches stay shuffled.
    """
    rng = np.random.default_rng([seed, len(rows), batch_size])
    ordered: list[int] = []
    window = 8 * batch_size
    for start in range(0, len(rows), window):
        part = sorted(rows[start : start + window], key=lambda row: lengths[row])
        batches = [part[first : first + batch_size] for first in range(0, len(part), batch_size)]
        full = [batch for batch in batches if len(batch) == batch_size]
        rest = [row for batch in batches if len(batch) < batch_size for row in batch]
        ordered += [row for index in rng.permutation(len(full)) for row in full[index]] + rest
    return ordered
