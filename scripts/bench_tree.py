"""Times tree edit distances on one core, after compilation.

- `ted40_apted`, `ted40_zss`: a pair of random trees of 40 nodes, `ordered`, against the packages of that name (ms).
- `ted93x1024`, `matched93x1024`: a GRPO step's worth of affective trees of 93 nodes, eight against each reference, from
  the parsed trees on, with nothing cached but the machine code (s). There is no peer.

Values are compared with those of the peers before anything is timed.
"""

from __future__ import annotations

import argparse
import random
from functools import partial
from typing import Any

import numpy as np
import zss
from _bench import alternate, compare, report
from apted import APTED, Config

from videmo.distance import Branch, Distance, branch_distances, edit_distances, in_postorder
from videmo.tree import AffectiveTree, Node

Pair = tuple[Branch, Branch]
REPEATS = 20
"""Calls timed together, since one takes only a millisecond or two."""


class AptedCosts(Config):
    """Unit costs over `Branch`es for apted."""

    def rename(self, node1: Branch, node2: Branch) -> int:
        """Return 1 for labels that differ, else 0."""
        return int(node1.label != node2.label)

    def children(self, node: Branch) -> tuple[Branch, ...]:
        """Return the branches below."""
        return node.below


def random_tree(rng: random.Random, nodes: int) -> Branch:
    """Draw a tree in which each node hangs under a random earlier one, with one of ten labels."""
    below: list[list[int]] = [[] for _ in range(nodes)]
    for node in range(1, nodes):
        below[rng.randrange(node)].append(node)

    def branch(node: int) -> Branch:
        branches = tuple(map(branch, below[node]))
        return Branch("a", rng.choice("abcdefghij"), 1.0, branches, 1.0 + sum(each.size for each in branches))

    return branch(0)


def affective_tree(rng: random.Random) -> AffectiveTree:
    """Draw a tree of 60 attributes of 15 aspects, 25 expressions and 8 emotions; each node supports one above."""
    counts = {"a": 60, "e": 25, "m": 8}
    levels: dict[str, tuple[Node, ...]] = {}
    below = 0
    for level, count in counts.items():
        supports: list[list[int]] = [[] for _ in range(count)]
        for index in range(below):
            supports[rng.randrange(count)].append(index)
        levels[level] = tuple(
            Node(level, f"{level}{rng.randrange(15)}: {rng.randrange(10)}", tuple(indices)) for indices in supports
        )
        below = count
    return AffectiveTree(levels["a"], levels["e"], levels["m"])


def by_apted(pairs: list[Pair]) -> list[float]:
    """Compute distances with apted."""
    return [APTED(*pair, AptedCosts()).compute_edit_distance() for pair in pairs]


def by_zss(pairs: list[Pair]) -> list[float]:
    """Compute distances with zss."""
    return [
        zss.distance(
            *pair, lambda node: node.below, lambda _: 1, lambda _: 1, lambda one, two: int(one.label != two.label)
        )
        for pair in pairs
    ]


def afresh(pairs: list[tuple[AffectiveTree, AffectiveTree]], distance: Distance) -> None:
    """Compute distances of trees that are in no cache."""
    in_postorder.cache_clear()
    edit_distances(pairs, distance)


def main() -> None:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run fewer pairs and rounds: within half a minute")
    options = parser.parse_args()
    rng = random.Random(0)
    rounds, count = (2, 8) if options.quick else (7, 32)

    small = [(random_tree(rng, 40), random_tree(rng, 40)) for _ in range(count)]
    values = branch_distances(small, "ordered")
    for peer in (by_apted, by_zss):
        np.testing.assert_allclose(values, peer(small))
    seconds = alternate(
        lambda: [branch_distances(small, "ordered") for _ in range(REPEATS)],
        {"apted": partial(by_apted, small), "zss": partial(by_zss, small)},
        rounds,
    )
    seconds["ours"] /= REPEATS
    each = {name: value / count * 1000 for name, value in seconds.items()}

    references = [affective_tree(rng) for _ in range(128)]
    large = [(reference, affective_tree(rng)) for reference in references for _ in range(8)]
    steps = alternate(partial(afresh, large, "ordered"), {"matched": partial(afresh, large, "matched")}, rounds)
    results: list[dict[str, Any]] = [
        compare("ted40_apted", "ms", each["ours"], each["apted"]),
        compare("ted40_zss", "ms", each["ours"], each["zss"]),
        compare("ted93x1024", "s", steps["ours"]),
        compare("matched93x1024", "s", steps["matched"]),
    ]
    report(results, rounds, ["numba", "numpy", "apted", "zss"])


if __name__ == "__main__":
    main()
