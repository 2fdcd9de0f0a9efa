"""Packing of rows into a fixed number of tokens, so that a batch holds hardly any padding."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence

import numpy as np

from affectgpt.clip import Clip
from affectgpt.inputs.reader import Reader
from affectgpt.problems import InputError
from train.stages.curriculum import draw_rows
from train.stages.supervised import SupervisedSettings

WINDOW = 32
"""Number of packs that are filled together. Rows move only within them: the mixture stays even along the stage."""


def draw_packs(stage: SupervisedSettings, clips: Sequence[Clip], reader: Reader, seed: int) -> list[list[int]]:
    """Draw the packs of a supervised stage: rows by its mixture, until every step has its number of packs.

    Raises:
        InputError: rows are longer than a pack; every one is named.
    """
    assert stage.packing is not None
    rows = [index for index, clip in enumerate(clips) if stage.mixture.get(clip.task)]
    lengths = dict(zip(rows, reader.lengths([clips[row] for row in rows]), strict=True))
    if too_long := [row for row in rows if lengths[row] > stage.packing]:
        named = [f"row {clips[row].id}: {lengths[row]} tokens" for row in too_long]
        raise InputError(
            named,
            advice=f"stage '{stage.name}': expected rows of at most {stage.packing} tokens (packing). Raise "
            f"stages.{stage.name}.packing to {max(lengths[row] for row in too_long)}, or shorten the rows.",
        )
    wanted = stage.steps * stage.batch_size
    by_task: dict[str, list[int]] = {}
    for row in rows:
        by_task.setdefault(clips[row].task, []).append(lengths[row])
    total = sum(stage.mixture[task] for task in by_task)
    mean = sum(stage.mixture[task] / total * float(np.mean(of_task)) for task, of_task in by_task.items())
    count = math.ceil(wanted * stage.packing / mean)
    while True:
        packs = pack(draw_rows(clips, stage.mixture, count, seed), lengths, stage.packing, seed)
        if len(packs) >= wanted:
            return packs[:wanted]
        count = math.ceil(1.1 * count) + 1


def pack(order: Sequence[int], lengths: Mapping[int, int], capacity: int, seed: int) -> list[list[int]]:
    """Pack rows by best-fit decreasing within windows: the longest row first, each into the fullest pack that it fits.

    Args:
        order: rows, which may repeat.
        lengths: tokens of each, at most `capacity`.
    """
    rng = np.random.default_rng([seed, len(order), capacity])
    packs: list[list[int]] = []
    start = 0
    while start < len(order):
        stop, tokens = start, 0
        while stop < len(order) and tokens < WINDOW * capacity:
            tokens += lengths[order[stop]]
            stop += 1
        filled = _best_fit([order[place] for place in range(start, stop)], lengths, capacity)
        packs += [filled[index] for index in rng.permutation(len(filled))]
        start = stop
    return packs


def _best_fit(rows: Sequence[int], lengths: Mapping[int, int], capacity: int) -> list[list[int]]:
    packs: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (tokens left, pack), ascending
    for row in sorted(rows, key=lambda row: -lengths[row]):
        place = bisect_left(room, (lengths[row], -1))
        if place < len(room):
            left, index = room.pop(place)
        else:
            left, index = capacity, len(packs)
            packs.append([])
        packs[index].append(row)
        insort(room, (left - lengths[row], index))
    return packs
