"""Both edit distances against independent ones: zss for `ordered`, all partial matchings for `matched`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import zss

from videmo.distance import (
    Branch,
    Costs,
    Distance,
    edit_distance,
    edit_distances,
    tree_scores,
    tree_similarity,
    unfold,
    wheel_rename,
)
from videmo.tree import LEVELS, AffectiveTree, Node, parse_tree

DISTANCES: tuple[Distance, ...] = ("ordered", "matched")
LABELS = ("x", "y", "z", "unlinked")
Copy = tuple[str, str, float, list]  # level, label, weight, copies below


def draw_tree(rng: np.random.Generator, most: tuple[int, int, int] = (3, 3, 2), shared: bool = True) -> AffectiveTree:
    """A tree of few labels, so that much is alike. Unless `shared`, no node supports more than one other."""
    levels: list[tuple[Node, ...]] = []
    for level, limit in zip(LEVELS, most, strict=True):
        below, count = len(levels[-1]) if levels else 0, int(rng.integers(limit + 1))
        links = rng.random((count, below)) < 0.5
        if not shared and count:
            links = rng.integers(-1, count, below) == np.arange(count)[:, None]
        drawn = (
            Node(level, str(rng.choice(LABELS)), tuple(int(i) for i in np.flatnonzero(links[node])))
            for node in range(count)
        )
        levels.append(tuple(dict.fromkeys(drawn)) if level == "m" else tuple(drawn))
    return AffectiveTree(*levels)


def pairs(seed: int, count: int, **how: object) -> list[tuple[AffectiveTree, AffectiveTree]]:
    rng = np.random.default_rng(seed)
    return [(draw_tree(rng, **how), draw_tree(rng, **how)) for _ in range(count)]  # type: ignore[arg-type]


def zss_distance(first: Branch, second: Branch) -> float:
    def rename(left: Branch, right: Branch) -> float:
        if (left.level, left.label) == (right.level, right.label):
            return abs(left.weight - right.weight)
        return max(left.weight, right.weight)

    def weight(branch: Branch) -> float:
        return branch.weight

    return zss.distance(first, second, lambda branch: branch.below, weight, weight, rename)


def copies(tree: AffectiveTree) -> list[Copy]:
    """The unfolded tree below its root, straight from DESIGN.md."""

    def parents(above: tuple[Node, ...], index: int) -> int:
        return sum(index in node.supports for node in above)

    def copy(level: str, index: int, weight: float) -> Copy:
        node, below = tree.level(level)[index], {"m": "e", "e": "a", "a": ""}[level]
        under = [copy(below, i, weight / parents(tree.level(level), i)) for i in node.supports]
        return level, node.label, weight, under

    loose = [copy("e", i, 1.0) for i in range(len(tree.expressions)) if not parents(tree.emotions, i)]
    loose += [copy("a", i, 1.0) for i in range(len(tree.attributes)) if not parents(tree.expressions, i)]
    return [copy("m", i, 1.0) for i in range(len(tree.emotions))] + ([("", "unlinked", 0.0, loose)] if loose else [])


def size(copy: Copy) -> float:
    return copy[2] + sum(map(size, copy[3]))


def try_all(first: list[Copy], second: list[Copy]) -> float:
    """The cheapest of all partial matchings of two lists of siblings."""
    if not first:
        return sum(map(size, second))
    head, rest = first[0], first[1:]
    best = size(head) + try_all(rest, second)
    for index, other in enumerate(second):
        if head[0] == other[0]:
            rename = abs(head[2] - other[2]) if head[1] == other[1] else max(head[2], other[2])
            paired = rename + try_all(head[3], other[3])
            if paired < best:
                best = min(best, paired + try_all(rest, second[:index] + second[index + 1 :]))
    return best


@pytest.mark.parametrize("shared", [False, True])
def test_ordered_equals_zss(shared: bool) -> None:
    far = 0
    for first, second in pairs(1, 300, most=(5, 4, 3), shared=shared):
        expected = zss_distance(unfold(first), unfold(second))
        assert edit_distance(first, second, "ordered") == pytest.approx(expected)
        far += expected > 0
    assert far > 200


def test_matched_equals_the_best_of_all_matchings() -> None:
    for first, second in pairs(2, 300):
        assert edit_distance(first, second) == pytest.approx(try_all(copies(first), copies(second))), (first, second)


@pytest.mark.parametrize("shared", [False, True])
def test_every_node_weighs_one_in_total(shared: bool) -> None:
    for tree, _ in pairs(3, 200, most=(5, 4, 3), shared=shared):
        assert unfold(tree).size == pytest.approx(len(tree))
        for distance in DISTANCES:
            assert edit_distance(tree, AffectiveTree(), distance) == pytest.approx(len(tree))


@pytest.mark.parametrize("parents", [1, 2, 3, 7])
@pytest.mark.parametrize("distance", DISTANCES)
def test_a_shared_node_counts_once(parents: int, distance: Distance) -> None:
    def tree(*attributes: str) -> AffectiveTree:
        expressions = (Node("e", f"e{index}", tuple(range(len(attributes)))) for index in range(parents))
        leaves = tuple(Node("a", label) for label in attributes)
        return AffectiveTree(leaves, tuple(expressions), (Node("m", "joy", tuple(range(parents))),))

    assert unfold(tree("x")).size == pytest.approx(2 + parents)
    assert edit_distance(tree("x"), tree("y"), distance) == pytest.approx(1)
    assert edit_distance(tree("x"), tree(), distance) == pytest.approx(1)
    assert edit_distance(tree("x", "y"), tree("x"), distance) == pytest.approx(1)


def test_an_expression_that_two_emotions_share_takes_its_share_of_attributes() -> None:
    tree = parse_tree("a1 x\ne1 y <- a1\nm1 p <- e1\nm2 q <- e1")
    halves = [(branch.weight, branch.below[0].weight, branch.below[0].below[0].weight) for branch in unfold(tree).below]
    assert halves == [(1.0, 0.5, 0.5), (1.0, 0.5, 0.5)]


@pytest.mark.parametrize("distance", DISTANCES)
def test_symmetry_and_identity(distance: Distance) -> None:
    for first, second in pairs(4, 200):
        there, back = edit_distance(first, second, distance), edit_distance(second, first, distance)
        assert there == pytest.approx(back)
        assert edit_distance(first, first, distance) == 0
        assert edit_distance(first, replace(first), distance) == 0
        # Zero means that nothing tells the two apart.
        same = sorted(map(repr, copies(first))) == sorted(map(repr, copies(second)))
        assert (there > 1e-9) or same or unfold(first) == unfold(second)


def test_triangle_inequality_of_matched() -> None:
    rng = np.random.default_rng(5)
    for _ in range(200):
        a, b, c = (draw_tree(rng) for _ in range(3))
        assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c) + 1e-9


@pytest.mark.parametrize("distance", DISTANCES)
def test_no_distance_exceeds_the_nodes_of_both(distance: Distance) -> None:
    for first, second in pairs(6, 200, most=(5, 4, 3)):
        assert edit_distance(first, second, distance) <= len(first) + len(second) + 1e-9
        assert 0 <= tree_similarity(first, second, distance) <= 1


WHOLE = """a1 brows: slanted
a2 mouth: smiling
a3 tremor: trembling
a4 tempo: slow
e1 forced smile <- a1 a2
e2 shaky voice <- a3 a2
e3 plain words
m1 masked distress <- e1 e2
m2 tired <- e2"""


@pytest.mark.parametrize("label", ["aaa", "zzz", "mouth: smiling", "joy", "unlinked", "shaky voice", "-"])
def test_renaming_any_one_node_costs_one(label: str) -> None:
    tree = parse_tree(WHOLE)
    for level, name in zip(LEVELS, ("attributes", "expressions", "emotions"), strict=True):
        nodes = tree.level(level)
        for index, node in enumerate(nodes):
            if node.label != label:
                renamed = (*nodes[:index], replace(node, label=label), *nodes[index + 1 :])
                assert edit_distance(tree, replace(tree, **{name: renamed})) == pytest.approx(1), (name, index)


def test_ordered_charges_more_where_renaming_changes_the_order() -> None:
    text = "a1 b\na2 c\na3 d\ne1 m <- a1\ne2 n <- a2\ne3 o <- a3\nm1 joy <- e1 e2 e3"
    first, second = parse_tree(text), parse_tree(text.replace("e1 m", "e1 zz"))
    assert edit_distance(first, second, "matched") == pytest.approx(1)
    assert edit_distance(first, second, "ordered") > 1


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("first", "second", "cost"),
    [
        ("m1 joy", "m1 joy", 0),
        ("m1 joy", "m1 anger", 1),
        ("m1 joy", "m1 unlinked", 1),
        ("m1 joy", "", 1),
        ("m1 joy", "m1 joy\nm2 anger", 1),
        ("e1 x\nm1 joy <- e1", "m1 joy", 1),
        ("a1 x\ne1 y <- a1\nm1 joy <- e1", "a1 x\ne1 y\nm1 joy <- e1", 2),
        ("a1 x\nm1 joy", "a1 x\na2 y\nm1 joy", 1),
    ],
)
def test_distances_by_hand(first: str, second: str, cost: float, distance: Distance) -> None:
    assert edit_distance(parse_tree(first), parse_tree(second), distance) == pytest.approx(cost)


@pytest.mark.parametrize("distance", DISTANCES)
def test_one_label_on_two_levels_is_not_the_same(distance: Distance) -> None:
    assert edit_distance(parse_tree("a1 x\nm1 joy"), parse_tree("e1 x\nm1 joy"), distance) >= 1


@pytest.mark.parametrize("distance", DISTANCES)
def test_labels_that_mean_the_same_are_near_on_one_level_only(distance: Distance) -> None:
    alike = Costs(rename=lambda one, two: 0.0)
    attribute, expression, other = (parse_tree(f"{line}\nm1 joy") for line in ("a1 x", "e1 y", "a1 y"))
    assert edit_distance(attribute, other, distance, alike) == 0
    assert edit_distance(attribute, expression, distance, alike) >= 1


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_order_of_writing_does_not_matter(distance: Distance) -> None:
    # Branches of one label and one size: only what hangs below tells them apart.
    first = "a1 p\na2 q\ne1 x <- a1\ne2 x <- a2\nm1 joy <- e1 e2"
    second = "a1 q\na2 p\ne1 x <- a1\ne2 x <- a2\nm1 joy <- e2 e1"
    third = "a1 p\na2 q\ne1 x <- a2\ne2 x <- a1\nm1 joy <- e1 e2"
    for other in (second, third):
        assert edit_distance(parse_tree(first), parse_tree(other), distance) == 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_similarity_spans_zero_to_one(distance: Distance) -> None:
    empty, tree = AffectiveTree(), parse_tree(WHOLE)
    assert tree_similarity(tree, tree, distance) == 1
    assert tree_similarity(empty, empty, distance) == 1
    assert tree_similarity(tree, empty, distance) == 0
    assert tree_similarity(empty, tree, distance) == 0
    assert tree_similarity(parse_tree("m1 joy"), parse_tree("m1 anger"), distance) == 0.5


def relative_reward(reference: AffectiveTree, prediction: AffectiveTree, **settings: Any) -> float:
    return tree_scores([(reference, prediction)], "relative", **settings)[0]


def published_reward(
    reference: AffectiveTree, prediction: AffectiveTree, scale: float = 0.1, distance: Distance = "ordered"
) -> float:
    return tree_scores([(reference, prediction)], "published", scale, distance)[0]


@pytest.mark.parametrize("measure", [tree_similarity, published_reward, relative_reward])
def test_unparsed_lines_are_not_free(measure: Callable[[AffectiveTree, AffectiveTree], float]) -> None:
    tree = parse_tree(WHOLE)
    values = [measure(tree, parse_tree(WHOLE + "\nnoise" * count)) for count in range(5)]
    assert values[0] == 1
    assert all(before > after for before, after in pairwise(values))
    assert measure(AffectiveTree(), parse_tree("noise")) < 1


def test_similarity_by_hand_with_noise() -> None:
    # 2 + 1 nodes and 1 line of noise; one node is missing and the noise is too much.
    assert tree_similarity(parse_tree("e1 x\nm1 joy <- e1"), parse_tree("m1 joy\nnoise")) == pytest.approx(1 - 2 / 4)


def test_published_reward_is_the_formula_of_the_paper() -> None:
    first, second = parse_tree("e1 x\nm1 joy <- e1"), parse_tree("m1 anger")
    assert published_reward(first, second) == pytest.approx(math.exp(-0.2))
    assert published_reward(first, second, scale=1.0, distance="matched") == pytest.approx(math.exp(-2))


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(
    ("label", "cost"), [("joyful", 0.5), ("happily", 0.5), ("proud", 1), ("sad", 1), ("purple", 1), ("happy", 0)]
)
def test_words_of_one_fine_group_cost_half(label: str, cost: float, distance: Distance) -> None:
    first, second = parse_tree("a1 x\nm1 happy"), parse_tree(f"a1 x\nm1 {label}")
    assert edit_distance(first, second, distance, Costs(rename=wheel_rename)) == pytest.approx(cost)
    assert edit_distance(second, first, distance, Costs(rename=wheel_rename)) == pytest.approx(cost)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize(("change", "cost"), [("a1 x", 1), ("e1 y", 2), ("m1 joy", 4)])
def test_levels_weigh_what_they_are_told(change: str, cost: float, distance: Distance) -> None:
    text, costs = "a1 x\ne1 y <- a1\nm1 joy <- e1", Costs(1, 2, 4)
    first, second = parse_tree(text), parse_tree(text.replace(change, change[:3] + "other"))
    assert edit_distance(first, second, distance, costs) == pytest.approx(cost)
    assert edit_distance(first, AffectiveTree(), distance, costs) == pytest.approx(7) == costs.size(first)
    assert tree_similarity(first, second, distance, costs) == pytest.approx(1 - cost / 14)


def test_a_level_may_weigh_nothing() -> None:
    first, second, costs = parse_tree("a1 x\nm1 joy"), parse_tree("a1 y\na2 z\nm1 joy"), Costs(attribute=0)
    assert tree_similarity(first, second, costs=costs) == 1
    assert tree_similarity(parse_tree("a1 x"), parse_tree("a1 y"), costs=costs) == 1
    assert relative_reward(parse_tree("a1 x"), parse_tree("a1 y"), costs=costs) == 1


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_weight_is_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(ValueError, match="emotion: expected a weight of 0 or more"):
        Costs(emotion=weight)


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_a_rename_says_where_it_is_out_of_bounds(share: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        edit_distance(parse_tree("m1 joy"), parse_tree("m1 anger"), costs=Costs(rename=lambda *_: share))


@pytest.mark.parametrize("distance", DISTANCES)
def test_many_pairs_at_once(distance: Distance) -> None:
    drawn = pairs(8, 100, most=(5, 4, 3))
    for costs in (Costs(), Costs(1, 2, 3), Costs(rename=lambda one, two: 0.5)):
        expected = [edit_distance(*pair, distance, costs) for pair in drawn]
        assert edit_distances(drawn, distance, costs).tolist() == expected
    assert edit_distances([], distance).tolist() == []


def test_relative_reward_does_not_die_with_the_size_of_the_tree() -> None:
    def tree(size: int, label: str) -> AffectiveTree:
        return AffectiveTree(tuple(Node("a", f"{label if index % 2 else 'x'} {index}") for index in range(size)))

    small, large = (relative_reward(tree(size, "y"), tree(size, "z")) for size in (10, 100))
    assert small == pytest.approx(large) == pytest.approx(math.exp(-0.5))
    assert published_reward(tree(100, "y"), tree(100, "z"), scale=1.0) < 1e-20
    assert relative_reward(tree(10, "y"), AffectiveTree(), scale=2.0) == pytest.approx(math.exp(-2))
    assert relative_reward(AffectiveTree(), AffectiveTree()) == 1
