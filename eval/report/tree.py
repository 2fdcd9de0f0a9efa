"""The true tree and the tree that the model wrote, side by side, with the differences marked.

Nodes are compared by level and label. What is left over on both sides of a level is paired where it is about the same
thing, so that `mouth: smiling` for `mouth: relaxed` shows as one wrong node, not as one too many and one too few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from affectgpt.problems import shorten
from videmo.tree import LEVELS, AffectiveTree, Node, parse_tree

Pair = tuple[int | None, int | None]
"""Index of a node in the true tree and in the written one; None where the tree has no such node."""

SIGNS = {"right": "", "wrong": "✗", "extra": "+", "missing": "○", "misplaced": "⤳"}
MEANINGS = {
    "right": "in both trees",
    "wrong": "wrong; the true one follows the arrow",
    "extra": "not in the true tree",
    "missing": "missing here, in the true tree",
    "misplaced": "right, but does not support this",
}


@dataclass(frozen=True, slots=True)
class Branch:
    """A node as it is shown: what was written (or should have been), how it fares, what stands under it."""

    level: str
    label: str
    status: str
    truth: str = ""
    """The true label where `status` is 'wrong'."""
    below: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True)
class Comparison:
    """A written tree held against the true one: `emotions` with all beneath, and what supports nothing."""

    emotions: tuple[Branch, ...]
    unlinked: tuple[Branch, ...]
    counts: Counter[str]
    """Nodes by status, every node once; `links` of the true tree, and `links_found` of them."""


def pair_nodes(truth: AffectiveTree, written: AffectiveTree) -> dict[str, list[Pair]]:
    """Level -> pairs in the order written; what is missing stands behind the true node that it follows."""
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
    """What a node is about: the aspect of an attribute (`mouth`), else the words of its label and all it rests on."""
    if node.level == "a":
        return {node.label.partition(":")[0]}
    below = tree.level(LEVELS[LEVELS.index(node.level) - 1])
    return set(node.label.split()).union(*(_topics(tree, below[index]) for index in node.supports))


def compare(truth: AffectiveTree, written: AffectiveTree) -> Comparison:
    """Hold `written` against `truth`. A tree held against itself has only right nodes."""
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
    """Every support edge as (level, label above, label below)."""
    for below, level in (("a", "e"), ("e", "m")):
        for node in tree.level(level):
            for index in node.supports:
                yield level, node.label, tree.level(below)[index].label


def tree_html(title: str, truth: AffectiveTree, text: str | None = None) -> str:
    """One column: the true tree itself, or with `text` what a model wrote, held against it."""
    written = truth if text is None else parse_tree(text)
    comparison = compare(truth, written)
    summary = "what it should say" if text is None else _summary(comparison.counts)
    emotions = "".join(_block(branch) for branch in comparison.emotions)
    noticed = ""
    if comparison.unlinked:
        inner = "".join(_block(branch) if branch.below else _chip(branch) for branch in comparison.unlinked)
        noticed = f'<div class="noticed"><span class="also">also noticed</span> {inner}</div>'
    unread = ""
    if written.unparsed:
        lines = "".join(f"<li>{escape(shorten(line, 90))}</li>" for line in written.unparsed[:5])
        more = f"<li>and {len(written.unparsed) - 5} more</li>" if len(written.unparsed) > 5 else ""
        unread = f'<div class="unread">lines that break the syntax:<ul>{lines}{more}</ul></div>'
    kind = "truth" if text is None else "written"
    head = f'<h4>{escape(title)}</h4><p class="score">{summary}</p>'
    return f'<div class="tree {kind}">{head}{emotions}{noticed}{unread}</div>'


def _summary(counts: Counter[str]) -> str:
    nodes = counts["right"] + counts["wrong"] + counts["missing"]
    return f"{counts['right']} of {nodes} nodes, {counts['links_found']} of {counts['links']} links right"


def _block(branch: Branch) -> str:
    """An emotion or an expression with what supports it; an attribute is a chip."""
    if branch.level == "a":
        return _chip(branch)
    below = "".join(_block(child) for child in branch.below)
    inner = f'<div class="below">{below}</div>' if below else ""
    return f'<div class="branch {branch.level}">{_chip(branch)}{inner}</div>'


def _chip(branch: Branch) -> str:
    """`✗ mouth: smiling → relaxed`: sign, label (struck out unless true), the true label."""
    sign = f'<span class="sign">{SIGNS[branch.status]}</span> ' if SIGNS[branch.status] else ""
    aspect, colon, value = branch.label.partition(": ")
    true_aspect, _, true_value = branch.truth.partition(": ")
    shared = bool(colon) and branch.level == "a" and aspect == true_aspect
    lead = escape(aspect + colon) if shared else ""
    said, truth = (escape(value), escape(true_value)) if shared else (escape(branch.label), escape(branch.truth))
    if branch.status in ("wrong", "extra"):
        said = f"<del>{said}</del>"
    instead = f" → <b>{truth}</b>" if branch.status == "wrong" else ""
    meaning = f' title="{MEANINGS[branch.status]}"' if branch.status != "right" else ""
    return f'<span class="node {branch.level} {branch.status}"{meaning}>{sign}{lead}{said}{instead}</span>'


def legend_html() -> str:
    """What the marks mean, drawn as the trees draw them."""
    shown = [
        Branch("a", "mouth: smiling", "right"),
        Branch("a", "mouth: smiling", "wrong", "mouth: relaxed"),
        Branch("a", "mouth: smiling", "extra"),
        Branch("a", "mouth: smiling", "missing"),
        Branch("a", "mouth: smiling", "misplaced"),
    ]
    items = "".join(f"<span>{_chip(branch)} {MEANINGS[branch.status]}</span>" for branch in shown)
    return f'<p class="legend">{items}</p>'


TREE_CSS = """
.trees { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 14px; margin-top: 12px; }
.tree { border: 1px solid var(--line); border-radius: 8px; padding: 10px 12px 12px; background: #fff; }
.tree.truth { background: #f4f7fa; }
.tree h4 { margin: 0; font-size: 13px; color: var(--muted); font-weight: 600; }
.tree .score { margin: 0; font-size: 12px; color: var(--muted); }
.branch.m { margin-top: 8px; }
.branch.m > .below { border-left: 2px solid #c7d0da; margin-left: 12px; padding-left: 0; }
.branch.e { margin: 8px 0 0; }
.branch.m > .below > .branch.e::before { content: ""; float: left; width: 12px; height: 12px;
  border-bottom: 2px solid #c7d0da; margin-right: 5px; }
.branch.e > .below { margin: 2px 0 0 17px; }
.noticed .branch.e > .below { margin-left: 12px; }
.node { display: inline-block; line-height: 1.35; border: 1px solid transparent; border-radius: 6px;
  overflow-wrap: anywhere; }
.node.m { font-size: 17px; font-weight: 700; padding: 2px 12px; background: #123a5c; color: #fff; }
.node.e { font-size: 14px; font-weight: 600; padding: 0 6px; }
.node.a { font-size: 12.5px; padding: 0 7px; margin: 3px 4px 0 0; background: #e9eef3; }
.tree.truth .node.a { background: #e1e8ef; }
.node.wrong, .node.extra { background: #fde6d8; border-color: #d55e00; color: #7a3000; }
.node.misplaced { background: #fff4d6; border-color: #b98900; color: #5f4700; }
.node.missing { background: none; border: 1.5px dashed #6b7684; color: #4c5663; font-style: italic; }
.tree.truth .node.missing { background: none; }
.node del { text-decoration-thickness: 2px; }
.node b { font-weight: 700; color: var(--ink); }
.sign { font-weight: 700; font-style: normal; }
.noticed { margin-top: 10px; padding-top: 6px; border-top: 1px dotted #c7d0da; }
.also { font-size: 12px; color: var(--muted); }
.unread { margin-top: 8px; font-size: 12px; color: #7a3000; }
.unread ul { margin: 2px 0 0; padding-left: 18px; font-family: var(--mono); overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 12.5px; color: var(--muted); margin: 6px 0 16px; }
"""
