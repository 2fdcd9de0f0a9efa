"""The two edit distances of `videmo.distance`, compiled by numba on first use; the machine code is cached on disk.

Trees arrive in postorder, many in one `Forest`, so that a batch is one call. With nodes numbered in postorder, the
nodes below node i are leftmost[i] to i - 1, its last child is i - 1, and the sibling before a child c ends at
leftmost[c] - 1: no other structure needs to be stored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit


class Forest(NamedTuple):
    """Trees one after the other, each in postorder; tree t holds nodes starts[t] to starts[t + 1] - 1."""

    codes: np.ndarray
    """Code of each node, int64: nodes of one level and label share a code, in both forests of a call."""
    levels: np.ndarray
    """Level of each node, int64: `matched` pairs only nodes of one level."""
    weights: np.ndarray
    """Weight of each node, float64: the cost of deleting or inserting it."""
    leftmost: np.ndarray
    """Leftmost leaf below each node, int64, counted from the start of its tree."""
    starts: np.ndarray
    """First node of each tree, int64, and the end of the last tree."""


EXACT = np.zeros((0, 0))
"""Cost table under which renaming to any other label costs a whole rename."""


@njit(cache=True)
def ordered_distances(first: Forest, second: Forest, costs: np.ndarray) -> Any:
    """Compute Zhang and Shasha's distance of each tree of one forest to its counterpart in the other.

    Args:
        first: trees.
        second: as many trees, the counterparts.
        costs: share of a rename between two codes, 0 to 1; `EXACT` for 1 between any two that differ.
    """
    distances = np.zeros(len(first.starts) - 1)
    for tree in range(len(distances)):
        one, other = _take(first, tree), _take(second, tree)
        distances[tree] = _ordered(one, other, costs)
    return distances


@njit(cache=True)
def matched_distances(first: Forest, second: Forest, costs: np.ndarray) -> Any:
    """Compute the distance by optimal assignment of siblings for each pair of trees; see `ordered_distances`."""
    distances = np.zeros(len(first.starts) - 1)
    for tree in range(len(distances)):
        one, other = _take(first, tree), _take(second, tree)
        distances[tree] = _matched(one, other, costs)
    return distances


@njit(cache=True)
def _take(forest: Forest, tree: int) -> Any:
    begin, end = forest.starts[tree], forest.starts[tree + 1]
    return (
        forest.codes[begin:end],
        forest.levels[begin:end],
        forest.weights[begin:end],
        forest.leftmost[begin:end],
    )


@njit(cache=True)
def _rename(code: int, other: int, weight: float, other_weight: float, costs: np.ndarray) -> Any:
    """Cost of renaming a node: the difference of the weights, plus the label distance times the smaller weight."""
    if code == other:
        return abs(weight - other_weight)
    share = costs[code, other] if len(costs) else 1.0
    return abs(weight - other_weight) + share * min(weight, other_weight)


@njit(cache=True)
def _ordered(first: Any, second: Any, costs: np.ndarray) -> Any:
    # Unsigned indices avoid the check for negative ones, and comparisons that of min() for NaN: half the time.
    codes, _, weights, leaves = first
    other_codes, _, other_weights, other_leaves = second
    one, rows, columns = np.uint64(1), np.uint64(len(codes)), np.uint64(len(other_codes))
    leftmost, other_leftmost = leaves.astype(np.uint64), other_leaves.astype(np.uint64)
    roots, other_roots = _keyroots(leaves), _keyroots(other_leaves)
    trees, forests = np.empty((rows, columns)), np.empty((rows + one, columns + one))
    for i in roots:
        start = leftmost[i]
        for j in other_roots:
            # forests[x, y]: nodes start to x - 1 against nodes other_start to y - 1
            other_start = other_leftmost[j]
            forests[start, other_start] = 0.0
            for x in range(start, i + one):
                forests[x + one, other_start] = forests[x, other_start] + weights[x]
            for y in range(other_start, j + one):
                forests[start, y + one] = forests[start, y] + other_weights[y]
            for x in range(start, i + one):
                best = forests[x + one, other_start]
                for y in range(other_start, j + one):
                    inserted, deleted = best + other_weights[y], forests[x, y + one] + weights[x]
                    whole = leftmost[x] == start and other_leftmost[y] == other_start
                    if whole:
                        best = forests[x, y] + _rename(codes[x], other_codes[y], weights[x], other_weights[y], costs)
                    else:
                        best = forests[leftmost[x], other_leftmost[y]] + trees[x, y]
                    if deleted < best:
                        best = deleted
                    if inserted < best:
                        best = inserted
                    forests[x + one, y + one] = best
                    if whole:
                        trees[x, y] = best
    return trees[rows - one, columns - one]


@njit(cache=True)
def _keyroots(leftmost: np.ndarray) -> Any:
    """Return in postorder the nodes that share their leftmost leaf with no later node."""
    last = np.full(len(leftmost), -1)
    for node in range(len(leftmost)):
        last[leftmost[node]] = node
    return np.sort(last[last >= 0]).astype(np.uint64)


@njit(cache=True)
def _matched(first: Any, second: Any, costs: np.ndarray) -> Any:
    codes, levels, weights, leftmost = first
    other_codes, other_levels, other_weights, other_leftmost = second
    rows, columns = len(codes), len(other_codes)
    sizes, other_sizes = _sizes(weights, leftmost), _sizes(other_weights, other_leftmost)
    trees = np.zeros((rows, columns))
    for x in range(rows):
        for y in range(columns):
            if levels[x] != other_levels[y]:
                trees[x, y] = sizes[x] + other_sizes[y]
                continue
            rename = _rename(codes[x], other_codes[y], weights[x], other_weights[y], costs)
            if leftmost[x] == x or other_leftmost[y] == y:
                trees[x, y] = rename + (sizes[x] - weights[x]) + (other_sizes[y] - other_weights[y])
                continue
            below, other_below = _children(x, leftmost), _children(y, other_leftmost)
            if len(below) <= len(other_below):
                trees[x, y] = rename + _pair(below, other_below, sizes, other_sizes, trees)
            else:
                trees[x, y] = rename + _pair(other_below, below, other_sizes, sizes, trees.T)
    return trees[rows - 1, columns - 1]


@njit(cache=True)
def _sizes(weights: np.ndarray, leftmost: np.ndarray) -> Any:
    sizes = weights.copy()
    for node in range(len(weights)):
        child = node - 1
        while child >= leftmost[node]:
            sizes[node] += sizes[child]
            child = leftmost[child] - 1
    return sizes


@njit(cache=True)
def _children(node: int, leftmost: np.ndarray) -> Any:
    children = np.zeros(node - leftmost[node], np.int64)
    count, child = 0, node - 1
    while child >= leftmost[node]:
        children[count] = child
        count += 1
        child = leftmost[child] - 1
    return children[:count]


@njit(cache=True)
def _pair(few: np.ndarray, many: np.ndarray, sizes: np.ndarray, other_sizes: np.ndarray, trees: np.ndarray) -> Any:
    """Compute the cheapest way to pair, delete and insert two lists of siblings, the shorter one first.

    The Hungarian method with potentials (Kuhn 1955, Munkres 1957): one shortest augmenting path a row. An entry is what
    pairing saves over deleting the one and inserting the other, so that every row can take some column.
    """
    rows, columns = len(few), len(many)
    row_price, column_price = np.zeros(rows), np.zeros(columns + 1)
    owner = np.full(columns + 1, -1)  # column -> row; the last column stands for the row that is being placed
    came_from = np.full(columns, columns)
    slack, done = np.zeros(columns), np.zeros(columns + 1, np.bool_)
    for row in range(rows):
        slack[:] = np.inf
        done[:] = False
        column = columns
        owner[column] = row
        while owner[column] >= 0:
            done[column] = True
            here, nearest, step = owner[column], -1, np.inf
            for target in range(columns):
                if done[target]:
                    continue
                i, j = few[here], many[target]
                saved = min(trees[i, j] - sizes[i] - other_sizes[j], 0.0)
                reduced = saved - row_price[here] - column_price[target]
                if reduced < slack[target]:
                    slack[target], came_from[target] = reduced, column
                if slack[target] < step:
                    nearest, step = target, slack[target]
            for target in range(columns + 1):
                if done[target]:
                    row_price[owner[target]] += step
                    column_price[target] -= step
                elif target < columns:
                    slack[target] -= step
            column = nearest
        while column != columns:
            owner[column] = owner[came_from[column]]
            column = came_from[column]
    total = 0.0
    for column in range(columns):
        j = many[column]
        if owner[column] < 0:
            total += other_sizes[j]
        else:
            i = few[owner[column]]
            total += min(trees[i, j], sizes[i] + other_sizes[j])
    return total
