"""The gold tree and the tree that the model wrote, side by side, with the differences marked.

Nodes are compared by level and label. Nodes left over on both sides of a level are paired if they are about the same
thing, so that `mouth: smiling` for `mouth: relaxed` shows as one wrong node, not as one too many and one too few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from affectgpt.problems import shorten
from videmo.tree import LEVELS, AffectiveTree, Node, parse_tree

Pair = tuple[int | None, int | None]
"""Index of a node in the gold tree and in the written one; None if the tree has no such node."""

MARKS = {
    "right": ("", "in both trees"),
    "wrong": ("✗", "wrong; the gold label follows the arrow"),
    "extra": ("+", "not in the gold tree"),
    "missing": ("○", "missing here, in the gold tree"),
    "misplaced": ("⤳", "right, but does not support this"),
}
"""Signs before the labels of nodes, and their meanings, by the status of a node."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Node as it is shown: what was written (or should have been), its status, the nodes below it."""

    level: str
    label: str
    status: str
    truth: str = ""
    """Gold label if `status` is 'wrong'."""
    below: tuple[Branch, ...] = ()

    @property
    def mark(self) -> tuple[str, str]:
        """Sign before the label, and its meaning."""
        return MARKS[self.status]

    @property
    def words(self) -> tuple[str, str, str]:
        """Common start of the label and the gold one (`mouth: `), the rest of the label, the rest of the gold one."""
        aspect, colon, value = self.label.partition(": ")
        gold_aspect, _, gold_value = self.truth.partition(": ")
        if self.level == "a" and colon and aspect == gold_aspect:
            return aspect + colon, value, gold_value
        return "", self.label, self.truth


@dataclass(frozen=True, slots=True)
class Comparison:
    """Comparison of a written tree with the gold tree: `emotions` with all nodes below, and unused nodes."""

    emotions: tuple[Branch, ...]
    unlinked: tuple[Branch, ...]
    counts: Counter[str]
    """Numbers of nodes by status, every node once; `links` of the gold tree, and `links_found` of them."""


def pair_nodes(truth: AffectiveTree, written: AffectiveTree) -> dict[str, list[Pair]]:
    """Return the pairs of each level in the order written; a missing node comes after the gold node that it follows."""
    return {level: _pair_level(truth, written, level) for level in LEVELS}


def _pair_level(truth: AffectiveTree, written: AffectiveTree, level: str) -> list[Pair]:
    left = list(range(len(truth.level(level))))
    partner: dict[int, int] = {}
    for index, node in enumerate(written.level(level)):
        same = [place for place in left if truth.level(level)[place].label == node.label]
        if same:
            partner[index] = same[0]
            left.remove(same[0])
    rest = [index for index in range(len(written.level(level))) if index not in partner]
    about = {place: _topics(truth, truth.level(level)[place]) for place in left}
    overlaps = sorted(
        (-len(about[place] & _topics(written, written.level(level)[index])), index, place)
        for index in rest
        for place in left
    )
    for overlap, index, place in overlaps:
        if index not in partner and place in left and (overlap < 0 or level == "m"):
            partner[index] = place
            left.remove(place)
    pairs: list[Pair] = [(partner.get(index), index) for index in range(len(written.level(level)))]
    for place in left:
        before = [number for number, (true, _) in enumerate(pairs) if true is not None and true < place]
        pairs.insert(max(before, default=-1) + 1, (place, None))
    return pairs


def _topics(tree: AffectiveTree, node: Node) -> set[str]:
    """Return the topics of a node: the aspect of an attribute (`mouth`), else the words of its label and supports."""
    if node.level == "a":
        return {node.label.partition(":")[0]}
    below = tree.level(LEVELS[LEVELS.index(node.level) - 1])
    return set(node.label.split()).union(*(_topics(tree, below[index]) for index in node.supports))


def compare(truth: AffectiveTree, written: AffectiveTree) -> Comparison:
    """Compare `written` with `truth`. A tree compared with itself has only right nodes."""
    pairs = pair_nodes(truth, written)

    def node(tree: AffectiveTree, level: str, index: int | None) -> Node | None:
        return None if index is None else tree.level(level)[index]

    def status(level: str, pair: Pair) -> str:
        true, said = node(truth, level, pair[0]), node(written, level, pair[1])
        if true is None or said is None:
            return "extra" if true is None else "missing"
        return "right" if true.label == said.label else "wrong"

    def branch(level: str, pair: Pair, shown: str) -> Branch:
        true, said = node(truth, level, pair[0]), node(written, level, pair[1])
        label = (said or true or Node(level, "")).label
        return Branch(
            level, label, shown, true.label if true and shown == "wrong" else "", tuple(children(level, true, said))
        )

    def children(level: str, true: Node | None, said: Node | None) -> Iterator[Branch]:
        if level == "a":
            return
        below = LEVELS[LEVELS.index(level) - 1]
        same_node = true is not None and said is not None and true.label == said.label
        for pair in pairs[below]:
            in_truth = true is not None and pair[0] in true.supports
            in_written = said is not None and pair[1] in said.supports
            shown = status(below, pair)
            if in_written:
                stray = same_node and not in_truth and pair[0] is not None
                yield branch(below, pair, "misplaced" if stray and shown == "right" else shown)
            # Under a node that is itself wrong, what it should rest on shows only where it was written nowhere.
            elif in_truth and (same_node or said is None or shown == "missing"):
                yield branch(below, (pair[0], None), "missing")

    unlinked = []
    for below, level in (("e", "m"), ("a", "e")):
        for pair in pairs[below]:
            tree, place = (truth, pair[0]) if pair[1] is None else (written, pair[1])
            if not any(place in parent.supports for parent in tree.level(level)):
                unlinked.append(branch(below, pair, status(below, pair)))
    counts = Counter(status(level, pair) for level in LEVELS for pair in pairs[level])
    true_links, written_links = Counter(_links(truth)), Counter(_links(written))
    counts["links"], counts["links_found"] = true_links.total(), (true_links & written_links).total()
    emotions = tuple(branch("m", pair, status("m", pair)) for pair in pairs["m"])
    return Comparison(emotions, tuple(unlinked), counts)


def _links(tree: AffectiveTree) -> Iterator[tuple[str, str, str]]:
    """Yield every support edge as (level, label above, label below)."""
    for below, level in (("a", "e"), ("e", "m")):
        for node in tree.level(level):
            for index in node.supports:
                yield level, node.label, tree.level(below)[index].label


def tree_column(title: str, truth: AffectiveTree, text: str | None = None) -> dict[str, Any]:
    """Return the values of one column of trees: the gold tree, or with `text` a response compared with it."""
    written = truth if text is None else parse_tree(text)
    compared = compare(truth, written)
    return {
        "title": title,
        "is_gold": text is None,
        "emotions": compared.emotions,
        "unlinked": compared.unlinked,
        "counts": compared.counts,
        "unread": [shorten(line, 90) for line in written.unparsed[:5]],
        "unread_more": len(written.unparsed[5:]),
    }


LEGEND = [Branch("a", "mouth: smiling", status, "mouth: relaxed" if status == "wrong" else "") for status in MARKS]
"""Nodes of each status, to explain the marks."""
