"""How far one affective tree is from another: the two edit distances of `docs/tree.md`, and similarities from them.

The DAG is first unfolded from a root: emotions, under each the expressions that support it, under those the attributes;
a node with k parents is copied under each with weight 1/k, and what supports nothing hangs under an `unlinked` node.
Inserting or deleting a node costs its weight, renaming costs the larger of the two weights.

- `ordered`: Zhang and Shasha (1989) on canonical order, the form that VidEmo publishes.
- `matched`: siblings are paired by optimal assignment, so that renaming one node costs one edit whatever that does to
  the order. Emotion pairs with emotion, expression with expression, attribute with attribute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment

from videmo.tree import AffectiveTree, Node

Distance = Literal["ordered", "matched"]
ROOT, UNLINKED = "", "unlinked"


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of the unfolded tree: level ('a', 'e', 'm' or '' for root and holder), label, weight, branches below.

    The weight is 1/k for a copy under k parents; `size` is the weight of the whole branch.
    """

    level: str
    label: str
    weight: float
    below: tuple[Branch, ...]
    size: float

    @staticmethod
    def of(level: str, label: str, weight: float, below: list[Branch]) -> Branch:
        """A branch whose size is counted and whose branches stand in canonical order."""
        ordered = tuple(sorted(below, key=lambda branch: (branch.label, -branch.size)))
        return Branch(level, label, weight, ordered, weight + sum(branch.size for branch in ordered))


@lru_cache(maxsize=16384)
def unfold(tree: AffectiveTree) -> Branch:
    """The tree as `Branch`es under a weightless root. Every node of the DAG counts 1 in total, whatever it supports."""
    tree = tree.canonical()  # branches of one label and size keep an order that does not depend on how it was written
    parents = {
        "a": _num_parents(tree.expressions, len(tree.attributes)),
        "e": _num_parents(tree.emotions, len(tree.expressions)),
    }

    def attribute(index: int) -> Branch:
        return Branch.of("a", tree.attributes[index].label, 1 / max(parents["a"][index], 1), [])

    def expression(index: int) -> Branch:
        # A copied expression takes its attributes along; they share the copy's weight.
        node, share = tree.expressions[index], 1 / max(parents["e"][index], 1)
        return Branch.of("e", node.label, share, [_scaled(attribute(below), share) for below in node.supports])

    branches = [
        Branch.of("m", node.label, 1.0, [expression(below) for below in node.supports]) for node in tree.emotions
    ]
    unlinked = [expression(index) for index, count in enumerate(parents["e"]) if count == 0]
    unlinked += [attribute(index) for index, count in enumerate(parents["a"]) if count == 0]
    if unlinked:
        branches.append(Branch.of("", UNLINKED, 0.0, unlinked))
    return Branch.of("", ROOT, 0.0, branches)


def _num_parents(above: tuple[Node, ...], count: int) -> list[int]:
    parents = [0] * count
    for node in above:
        for index in node.supports:
            parents[index] += 1
    return parents


def _scaled(branch: Branch, factor: float) -> Branch:
    return Branch(branch.level, branch.label, branch.weight * factor, branch.below, branch.size * factor)


def edit_distance(reference: AffectiveTree, prediction: AffectiveTree, distance: Distance = "matched") -> float:
    """Cost of turning one tree into the other; 0 for equal trees, at most the number of nodes of both."""
    first, second = unfold(reference), unfold(prediction)
    return _ordered(first, second) if distance == "ordered" else _matched(first, second)


def tree_similarity(reference: AffectiveTree, prediction: AffectiveTree, distance: Distance = "matched") -> float:
    """1 - distance / (nodes of both): 1 for equal trees, 0 when nothing is shared. Two empty trees are equal.

    Every line that could not be parsed counts as one node too many, so that noise cannot be free.
    """
    total = len(reference) + len(prediction) + len(prediction.unparsed)
    if total == 0:
        return 1.0
    cost = edit_distance(reference, prediction, distance) + len(prediction.unparsed)
    return max(0.0, 1.0 - cost / total)


def published_reward(
    reference: AffectiveTree, prediction: AffectiveTree, scale: float = 0.1, distance: Distance = "ordered"
) -> float:
    """exp(-scale * distance), the reward of the VidEmo paper (section 3.2). The paper does not say which `scale`."""
    return math.exp(-scale * (edit_distance(reference, prediction, distance) + len(prediction.unparsed)))


def _matched(first: Branch, second: Branch) -> float:
    """Distance of two subtrees whose roots are paired."""
    rename = 0.0 if first.label == second.label else max(first.weight, second.weight)
    # Paired copies of unequal weight differ by what one of them weighs more.
    return (rename or abs(first.weight - second.weight)) + _match_lists(first.below, second.below)


def _match_lists(first: tuple[Branch, ...], second: tuple[Branch, ...]) -> float:
    """Cheapest way to pair, delete and insert the branches of two lists."""
    if not first or not second:
        return sum(branch.size for branch in first) + sum(branch.size for branch in second)
    if first == second:
        return 0.0
    rows, columns = len(first), len(second)
    cost = np.zeros((rows + columns, rows + columns))
    cost[:rows, columns:] = cost[rows:, :columns] = math.inf
    for i, left in enumerate(first):
        cost[i, columns + i] = left.size
        for j, right in enumerate(second):
            # Nodes pair within their level, and never with the `unlinked` holder, whatever a model calls them.
            alike = left.level == right.level
            cost[i, j] = _matched(left, right) if alike else left.size + right.size
    for j, right in enumerate(second):
        cost[rows + j, j] = right.size
    pairs = linear_sum_assignment(np.where(np.isinf(cost), 1e9, cost))
    return float(cost[pairs].sum())


def _ordered(first: Branch, second: Branch) -> float:
    """Zhang and Shasha (1989), with node weights as costs; O(n^2) memory, O(n^2 depth^2) time for shallow trees."""
    left, right = _Postorder(first), _Postorder(second)
    table = np.zeros((left.count, right.count))
    for i in left.keyroots:
        for j in right.keyroots:
            _forest_distance(left, right, i, j, table)
    return float(table[-1, -1])


class _Postorder:
    """A tree as arrays in postorder: (level, label), weights, leftmost leaf of each node, and the keyroots."""

    def __init__(self, root: Branch) -> None:
        self.labels: list[tuple[str, str]] = []
        self.weights: list[float] = []
        self.leftmost: list[int] = []
        self._visit(root)
        self.count = len(self.labels)
        last_with_leaf = {leaf: index for index, leaf in enumerate(self.leftmost)}
        self.keyroots = sorted(last_with_leaf.values())

    def _visit(self, branch: Branch) -> int:
        leaves = [self._visit(below) for below in branch.below]
        self.labels.append((branch.level, branch.label))
        self.weights.append(branch.weight)
        self.leftmost.append(leaves[0] if leaves else len(self.labels) - 1)
        return self.leftmost[-1]


def _forest_distance(left: _Postorder, right: _Postorder, i: int, j: int, table: np.ndarray) -> None:
    start_i, start_j = left.leftmost[i], right.leftmost[j]
    rows, columns = i - start_i + 2, j - start_j + 2
    forest = np.zeros((rows, columns))
    forest[1:, 0] = np.cumsum(left.weights[start_i : i + 1])
    forest[0, 1:] = np.cumsum(right.weights[start_j : j + 1])
    for x in range(1, rows):
        node = start_i + x - 1
        for y in range(1, columns):
            other = start_j + y - 1
            delete = forest[x - 1, y] + left.weights[node]
            insert = forest[x, y - 1] + right.weights[other]
            if left.leftmost[node] == start_i and right.leftmost[other] == start_j:
                same = left.labels[node] == right.labels[other]
                weights = left.weights[node], right.weights[other]
                rename = abs(weights[0] - weights[1]) if same else max(weights)
                forest[x, y] = min(delete, insert, forest[x - 1, y - 1] + rename)
                table[node, other] = forest[x, y]
            else:
                whole = forest[left.leftmost[node] - start_i, right.leftmost[other] - start_j] + table[node, other]
                forest[x, y] = min(delete, insert, whole)
