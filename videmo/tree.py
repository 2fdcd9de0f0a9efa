"""The affective tree, as text and as a graph: what was seen and heard, what it expresses, what emotion follows.

The model writes it bottom-up, evidence before verdict, one node a line:

    a1 mouth: smiling
    a2 tremor: trembling
    e1 forced smile <- a1
    e2 shaky voice <- a2
    m1 masked distress <- e1 e2

`a` lines are attributes, `e` lines expressions, `m` lines emotions (VidEmo's three levels); `<-` names the nodes of the
level below that support a node, the paper's rationale edges. A node may support several, so the object is a DAG.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LEVELS = ("a", "e", "m")
_LINE = re.compile(r"([aem])([1-9][0-9]{0,2}) ([^<>\s](?:[^<>]*[^<>\s])?)(?: <-((?: [aem][1-9][0-9]{0,2})+))?")


@dataclass(frozen=True, slots=True)
class Node:
    """Node of a tree: its level ('a', 'e' or 'm'), its label, and the indices of its supporters one level below."""

    level: str
    label: str
    supports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class AffectiveTree:
    """Tree as nodes by level, and the lines that could not be parsed.

    `supports` of a node index the list of the level below. `unparsed` is empty for a tree that obeys the syntax.
    """

    attributes: tuple[Node, ...] = ()
    expressions: tuple[Node, ...] = ()
    emotions: tuple[Node, ...] = ()
    unparsed: tuple[str, ...] = field(default=(), compare=False)

    def level(self, level: str) -> tuple[Node, ...]:
        """Return the nodes of one level, 'a', 'e' or 'm'."""
        return {"a": self.attributes, "e": self.expressions, "m": self.emotions}[level]

    def __len__(self) -> int:
        return len(self.attributes) + len(self.expressions) + len(self.emotions)

    @property
    def is_valid(self) -> bool:
        """Whether the text obeyed the syntax to the letter and names at least one emotion."""
        return not self.unparsed and bool(self.emotions)

    def attribute_values(self) -> dict[str, str]:
        """Map aspects to values of the attribute lines (`mouth: smiling`); the first of a repeated aspect counts."""
        values: dict[str, str] = {}
        for node in self.attributes:
            aspect, colon, value = node.label.partition(":")
            if colon:
                values.setdefault(aspect.strip(), value.strip())
        return values

    def canonical(self) -> AffectiveTree:
        """Return the tree with every level sorted by label: trees with the same content become equal."""
        below: tuple[Node, ...] = ()
        position: dict[int, int] = {}
        levels: list[tuple[Node, ...]] = []
        for level in LEVELS:
            nodes = [
                Node(level, node.label, tuple(sorted(position[index] for index in node.supports)))
                for node in self.level(level)
            ]
            order = sorted(range(len(nodes)), key=lambda index: (nodes[index].label, nodes[index].supports))
            position = {old: new for new, old in enumerate(order)}
            below = tuple(nodes[index] for index in order)
            levels.append(below)
        return AffectiveTree(levels[0], levels[1], levels[2], self.unparsed)


def write_tree(tree: AffectiveTree) -> str:
    """Write the tree as text, in the syntax at the top of this file; `parse_tree` reads it back equal."""
    lines = []
    for below, level in zip(("", *LEVELS), LEVELS, strict=False):
        for number, node in enumerate(tree.level(level), start=1):
            support = " ".join(f"{below}{index + 1}" for index in node.supports)
            lines.append(f"{level}{number} {node.label}" + (f" <- {support}" if support else ""))
    return "\n".join(lines)


def parse_tree(text: str) -> AffectiveTree:
    """Read a written tree without ever raising: lines that break the syntax are kept in `unparsed`.

    A line breaks it that does not match the pattern, has a number out of sequence within its level, belongs to a level
    below an earlier one, repeats a node, or names a support that is not one level below or not written yet.
    """
    nodes: dict[str, list[Node]] = {level: [] for level in LEVELS}
    unparsed: list[str] = []
    highest = 0
    for raw in text.strip().splitlines():
        line = raw.strip()
        if not line:
            continue
        node = _parse_line(line, nodes, highest)
        if node is None:
            unparsed.append(line)
            continue
        highest = LEVELS.index(node.level)
        nodes[node.level].append(node)
    return AffectiveTree(tuple(nodes["a"]), tuple(nodes["e"]), tuple(nodes["m"]), tuple(unparsed))


def _parse_line(line: str, nodes: dict[str, list[Node]], highest: int) -> Node | None:
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    level, number, label, support = match.groups()
    rank = LEVELS.index(level)
    if rank < highest or int(number) != len(nodes[level]) + 1:
        return None
    supports: list[int] = []
    for name in (support or "").split():
        if rank == 0 or name[0] != LEVELS[rank - 1]:
            return None
        index = int(name[1:]) - 1
        if not 0 <= index < len(nodes[name[0]]) or index in supports:
            return None
        supports.append(index)
    if any(other.label == label and set(other.supports) == set(supports) for other in nodes[level]):
        return None
    return Node(level, label, tuple(supports))


def explain_syntax_errors(text: str) -> list[str]:
    """Explain in words how a written tree breaks the syntax; empty when it does not. For gold trees in data files."""
    tree = parse_tree(text)
    errors = [f"line {shown!r} breaks the tree syntax" for shown in tree.unparsed]
    if not tree.emotions:
        errors.append("there is no emotion (an 'm1 ...' line)")
    return errors
