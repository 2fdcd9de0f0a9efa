"""Distances between affective trees: the two edit distances of `docs/tree.md`, and similarities made of them.

The DAG is first unfolded from a root: emotions, under each the expressions that support it, under those the attributes.
A node with k parents is copied under each with weight 1/k, and nodes that support nothing hang under an `unlinked`
node. Inserting or deleting a node costs its weight; renaming costs the larger of the two weights, or less: see `Costs`.

- `ordered`: Zhang and Shasha (1989) on canonical order, the variant that VidEmo publishes.
- `matched`: siblings are paired by optimal assignment, so that renaming one node costs one edit whatever that does to
  the order. Emotion pairs with emotion, expression with expression, attribute with attribute.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from affectgpt.emotions.taxonomy import group_of
from videmo.tree import AffectiveTree, Node

if TYPE_CHECKING:
    from videmo.edit_distance import Forest

Distance = Literal["ordered", "matched"]
Form = Literal["linear", "relative", "published"]
Rename = Callable[[str, str], float]
"""Callable: two different labels of one level -> share of a rename that they cost, from 0 (same) to 1; symmetric. One
with a method `prepare` is given all labels of a batch beforehand."""
ROOT, UNLINKED = "", "unlinked"
_Named = tuple[str, list[int]]


def wheel_rename(label: str, other: str) -> float:
    """Return half a rename for two words of one fine group of the emotion wheel, else a whole one.

    >>> wheel_rename("happy", "cheerful"), wheel_rename("happy", "proud")
    (0.5, 1.0)
    """
    group = group_of(label, "fine")
    return 0.5 if group is not None and group == group_of(other, "fine") else 1.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs of edits: the weight of a node by level, and the distance of labels (None: equal or not)."""

    attribute: float = 1.0
    expression: float = 1.0
    emotion: float = 1.0
    rename: Rename | None = None

    def __post_init__(self) -> None:
        for name in ("attribute", "expression", "emotion"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name}: expected a weight of 0 or more, got {getattr(self, name)!r}")

    def size(self, tree: AffectiveTree) -> float:
        """Return the total weight of a tree's nodes: their number, where every level weighs 1."""
        return (
            self.attribute * len(tree.attributes)
            + self.expression * len(tree.expressions)
            + self.emotion * len(tree.emotions)
        )


PLAIN = Costs()


class Branch(NamedTuple):
    """Node of the unfolded tree: level ('a', 'e' or 'm'; '' for root and holder), label, weight, branches below.

    The weight is 1/k for a copy under k parents; `size` is the weight of the whole branch.
    """

    level: str
    label: str
    weight: float
    below: tuple[Branch, ...]
    size: float

    @staticmethod
    def of(level: str, label: str, weight: float, below: Sequence[Branch] = ()) -> Branch:
        """Build a branch: counts its size and sorts the branches below into canonical order."""
        ordered = tuple(sorted(below, key=lambda branch: (branch.label, -branch.size)))
        return Branch(level, label, weight, ordered, weight + sum(branch.size for branch in ordered))


def unfold(tree: AffectiveTree, costs: Costs = PLAIN) -> Branch:
    """Unfold a tree into `Branch`es under a weightless root. Each node of the DAG counts once in all."""
    attributes, position = _in_order(tree.attributes, [])
    expressions, position = _in_order(tree.expressions, position)
    emotions, _ = _in_order(tree.emotions, position)
    parents, emotion_parents = _num_parents(expressions, len(attributes)), _num_parents(emotions, len(expressions))

    def attribute(index: int, share: float) -> Branch:
        weight = costs.attribute * (1 / max(parents[index], 1)) * share
        return Branch("a", attributes[index][0], weight, (), weight)

    branches = []
    for (label, supports), count in zip(expressions, emotion_parents, strict=True):
        # A copied expression takes its attributes along; they share the copy's weight.
        share = 1 / max(count, 1)
        branches.append(Branch.of("e", label, costs.expression * share, [attribute(i, share) for i in supports]))
    below = [Branch.of("m", label, costs.emotion, [branches[i] for i in supports]) for label, supports in emotions]
    unlinked = [branch for branch, count in zip(branches, emotion_parents, strict=True) if count == 0]
    unlinked += [attribute(index, 1.0) for index, count in enumerate(parents) if count == 0]
    if unlinked:
        below.append(Branch.of("", UNLINKED, 0.0, unlinked))
    return Branch.of("", ROOT, 0.0, below)


def _in_order(nodes: tuple[Node, ...], below: list[int]) -> tuple[list[_Named], list[int]]:
    """Return labels and supports of a level in the order of `AffectiveTree.canonical`, and each node's new position.

    Branches of one label and size thereby keep an order that does not depend on how the tree was written.
    """
    named = [(node.label, sorted([below[index] for index in node.supports])) for node in nodes]
    order = sorted(range(len(named)), key=named.__getitem__)
    position = [0] * len(order)
    for new, old in enumerate(order):
        position[old] = new
    return [named[old] for old in order], position


def _num_parents(above: list[_Named], count: int) -> list[int]:
    parents = [0] * count
    for _, supports in above:
        for index in supports:
            parents[index] += 1
    return parents


def edit_distance(
    reference: AffectiveTree, prediction: AffectiveTree, distance: Distance = "matched", costs: Costs = PLAIN
) -> float:
    """Compute the cost of turning one tree into the other: 0 for equal trees, at most the weight of both."""
    return float(edit_distances([(reference, prediction)], distance, costs)[0])


def edit_distances(
    pairs: Sequence[tuple[AffectiveTree, AffectiveTree]], distance: Distance = "matched", costs: Costs = PLAIN
) -> np.ndarray:
    """Compute `edit_distance` of many pairs, at a fraction of the time."""
    weighted = Costs(costs.attribute, costs.expression, costs.emotion)  # one cache for all renames
    return _distances(
        [(in_postorder(one, weighted), in_postorder(two, weighted)) for one, two in pairs], distance, costs.rename
    )


def branch_distances(
    pairs: Sequence[tuple[Branch, Branch]], distance: Distance = "matched", rename: Rename | None = None
) -> np.ndarray:
    """Compute the distances of pairs of unfolded trees of any depth and shape."""
    return _distances([(Postorder.of(one), Postorder.of(two)) for one, two in pairs], distance, rename)


def tree_scores(
    pairs: Sequence[tuple[AffectiveTree, AffectiveTree]],
    form: Form = "linear",
    scale: float = 1.0,
    distance: Distance = "matched",
    costs: Costs = PLAIN,
) -> list[float]:
    """Score each prediction of pairs (reference, prediction), from 1 for an equal tree down to 0.

    Every line that could not be parsed counts as one superfluous node, so that noise is not free.

    Args:
        form: formula for a prediction at distance E, where N and M are the nodes of reference and prediction:
            'linear', 1 - scale * E / (N + M); 'relative', exp(-scale * E / N); or 'published', exp(-scale * E), that of
            VidEmo (section 3.2), whose signal dies with the size of the tree.
    """
    edits = edit_distances(pairs, distance, costs)
    scores = []
    for (reference, prediction), edit in zip(pairs, edits.tolist(), strict=True):
        lost = scale * (edit + len(prediction.unparsed))
        if form == "linear":
            nodes = costs.size(reference) + costs.size(prediction) + len(prediction.unparsed)
            scores.append(max(0.0, 1.0 - lost / nodes) if nodes else 1.0)
        else:
            scores.append(math.exp(-lost / (costs.size(reference) or 1.0) if form == "relative" else -lost))
    return scores


def tree_similarity(
    reference: AffectiveTree, prediction: AffectiveTree, distance: Distance = "matched", costs: Costs = PLAIN
) -> float:
    """Return 1 - distance / (nodes of both): 1 for equal trees, 0 when nothing is shared. Two empty trees are equal."""
    return tree_scores([(reference, prediction)], "linear", 1.0, distance, costs)[0]


class Postorder(NamedTuple):
    """Tree in postorder: name and weight of each node, and the leftmost leaf below it.

    A name is the letter of the level ('-' for root and holder) and the label.
    """

    names: list[str]
    weights: np.ndarray
    leftmost: np.ndarray

    @staticmethod
    def of(root: Branch) -> Postorder:
        """Lay out an unfolded tree as arrays."""
        names: list[str] = []
        weights: list[float] = []
        leftmost: list[int] = []

        def add(branch: Branch) -> None:
            leaf = len(names)  # the first node that is added below, or this one
            for below in branch.below:
                add(below)
            names.append((branch.level or "-") + branch.label)
            weights.append(branch.weight)
            leftmost.append(leaf)

        add(root)
        return Postorder(names, np.array(weights), np.array(leftmost))


@lru_cache(maxsize=4096)
def in_postorder(tree: AffectiveTree, costs: Costs = PLAIN) -> Postorder:
    """Return the unfolded tree as arrays, cached for the next prediction with the same reference."""
    return Postorder.of(unfold(tree, costs))


def _distances(pairs: Sequence[tuple[Postorder, Postorder]], distance: Distance, rename: Rename | None) -> np.ndarray:
    from videmo import edit_distance as compiled  # numba takes half a second to import

    kernel = compiled.ordered_distances if distance == "ordered" else compiled.matched_distances
    prepare = getattr(rename, "prepare", None)
    if prepare is not None:
        prepare({name[1:] for pair in pairs for tree in pair for name in tree.names if name[0] != "-"})
    distances = np.zeros(len(pairs))
    # A table of costs between all labels of a batch would be large: with one, pairs are computed one at a time.
    step = len(pairs) if rename is None else 1
    for begin in range(0, len(pairs), max(step, 1)):
        codes: dict[str, int] = {}
        first, second = (_pack(trees, codes) for trees in zip(*pairs[begin : begin + step], strict=True))
        costs = compiled.EXACT if rename is None else _cost_table(list(codes), rename)
        distances[begin : begin + step] = kernel(first, second, costs)
    return distances


def _pack(trees: Sequence[Postorder], codes: dict[str, int]) -> Forest:
    from videmo.edit_distance import Forest

    coded = np.array([codes.setdefault(name, len(codes)) for tree in trees for name in tree.names])
    levels = np.array([ord(name[0]) for name in codes])
    return Forest(
        coded,
        levels[coded],
        np.concatenate([tree.weights for tree in trees]),
        np.concatenate([tree.leftmost for tree in trees]),
        np.cumsum([0, *(len(tree.names) for tree in trees)]),
    )


def _cost_table(names: Sequence[str], rename: Rename) -> np.ndarray:
    table = np.ones((len(names), len(names)))
    for one, name in enumerate(names):
        for two, other in enumerate(names[:one]):
            if name[0] == other[0] != "-":
                share = rename(name[1:], other[1:])
                if not 0 <= share <= 1:
                    raise ValueError(f"rename of {name[1:]!r} and {other[1:]!r}: expected 0 to 1, got {share!r}")
                table[one, two] = table[two, one] = share
    return table
