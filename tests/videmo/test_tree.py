"""The affective tree as text and as a graph: what is read, what is refused, what is the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videmo.tree import LEVELS, AffectiveTree, Node, explain_syntax_errors, parse_tree, write_tree

WHOLE = """a1 mouth: smiling
a2 tremor: trembling
e1 forced smile <- a1
e2 shaky voice <- a2
m1 masked distress <- e1 e2"""

PATIENT = settings(deadline=None, max_examples=80)

# What ends a line for `str.splitlines` cannot stand in a label, nor can the arrow's characters.
LABELS = (
    st.text(st.characters(exclude_characters="<>\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", codec="utf-8"), max_size=12)
    .map(str.strip)
    .filter(bool)
)


@st.composite
def trees(draw: st.DrawFn) -> AffectiveTree:
    """Any tree that can be written: no two nodes of a level alike."""
    levels: list[tuple[Node, ...]] = []
    for level in LEVELS:
        below = len(levels[-1]) if levels else 0
        supports = st.lists(st.sampled_from(range(below)), unique=True, max_size=4) if below else st.just([])
        nodes = st.builds(lambda label, up, level=level: Node(level, label, tuple(up)), LABELS, supports)
        unique = st.lists(nodes, max_size=12, unique_by=lambda node: (node.label, frozenset(node.supports)))
        levels.append(tuple(draw(unique)))
    return AffectiveTree(*levels)


def shuffled(tree: AffectiveTree, rng: random.Random) -> AffectiveTree:
    """The same tree with the nodes of every level, and their supports, in another order."""
    levels, place = [], {}
    for level in LEVELS:
        nodes = tree.level(level)
        order = rng.sample(range(len(nodes)), len(nodes))
        levels.append(
            tuple(
                Node(level, nodes[old].label, tuple(rng.sample([place[i] for i in up], len(up))))
                for old in order
                for up in [nodes[old].supports]
            )
        )
        place = {old: new for new, old in enumerate(order)}
    return AffectiveTree(*levels)


def test_the_example_is_read_as_it_is_meant() -> None:
    tree = parse_tree(WHOLE)
    assert tree == AffectiveTree(
        (Node("a", "mouth: smiling"), Node("a", "tremor: trembling")),
        (Node("e", "forced smile", (0,)), Node("e", "shaky voice", (1,))),
        (Node("m", "masked distress", (0, 1)),),
    )
    assert tree.is_valid
    assert len(tree) == 5
    assert tree.attribute_values() == {"mouth": "smiling", "tremor": "trembling"}
    assert write_tree(tree) == WHOLE
    assert explain_syntax_errors(WHOLE) == []


@PATIENT
@given(trees())
def test_what_is_written_is_read_back(tree: AffectiveTree) -> None:
    again = parse_tree(write_tree(tree))
    assert again == tree
    assert again.unparsed == ()


@PATIENT
@given(trees())
def test_reading_then_writing_changes_no_letter(tree: AffectiveTree) -> None:
    text = write_tree(tree)
    assert write_tree(parse_tree(text)) == text


TREE_LIKE = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.text("aem1234567890 <->: xy\n\t", max_size=30),
        st.builds(
            "{}{} {} <- {}".format,
            st.sampled_from("aem"),
            st.integers(0, 5),
            st.text(max_size=5),
            st.sampled_from(["", "a1", "e1 e2", "a1 a1", "m1", "a9"]),
        ),
    ),
    max_size=12,
).map("\n".join)


@settings(PATIENT, max_examples=300)
@given(st.one_of(st.text(), TREE_LIKE))
def test_reading_never_raises_and_loses_no_line(text: str) -> None:
    tree = parse_tree(text)
    assert len(tree) + len(tree.unparsed) == sum(bool(line.strip()) for line in text.splitlines())
    assert all(line.strip() and line.strip() in text for line in tree.unparsed)
    # What was understood obeys the syntax: written down, it is read back whole.
    assert parse_tree(write_tree(tree)) == tree
    assert parse_tree(write_tree(tree)).unparsed == ()


@pytest.mark.parametrize(
    "text",
    [
        "x" * 10_000,
        "a1 " * 3_333,
        "a1" + " " * 10_000 + "x <",
        "a1 x" + " <-" * 3_000,
        "e1 x <-" + " a1" * 3_000 + "!",
        "a" + "1" * 10_000 + " x",
        "\x00\ud800\U0010ffff\u202e" * 2_500,
        "m1 \u0130stanbul \U0001f642" + "\u0301" * 9_000,
        "a1 x\n" * 2_500,
        "<" * 5_000 + ">" * 5_000,
    ],
    ids=lambda text: ascii(text[:12]),
)
def test_long_garbage_is_read_without_raising(text: str) -> None:
    tree = parse_tree(text)
    assert len(tree) + len(tree.unparsed) == len(text.split("\n")) - text.endswith("\n")


@pytest.mark.parametrize(
    ("broken", "line"),
    {
        "no label": ("a1\nm1 joy", "a1"),
        "no number": ("a x\nm1 joy", "a x"),
        "unknown level": ("b1 x\nm1 joy", "b1 x"),
        "capital level": ("A1 x\nm1 joy", "A1 x"),
        "number out of sequence": ("a2 x\nm1 joy", "a2 x"),
        "number repeated": ("a1 x\na1 y\nm1 joy", "a1 y"),
        "number zero": ("a0 x\nm1 joy", "a0 x"),
        "leading zero": ("a01 x\nm1 joy", "a01 x"),
        "digit of another script": ("a١ x\nm1 joy", "a١ x"),
        "two spaces before the label": ("a1  x\nm1 joy", "a1  x"),
        "tab before the label": ("a1\tx\nm1 joy", "a1\tx"),
        "level after a higher one": ("e1 x\na1 y\nm1 joy", "a1 y"),
        "emotion before an expression": ("m1 joy\ne1 x", "e1 x"),
        "repeated line": ("a1 x\na2 x\nm1 joy", "a2 x"),
        "repeated line, supports swapped": ("a1 x\na2 y\ne1 z <- a1 a2\ne2 z <- a2 a1\nm1 joy", "e2 z <- a2 a1"),
        "support of its own level": ("e1 x\ne2 y <- e1\nm1 joy", "e2 y <- e1"),
        "support two levels below": ("a1 x\nm1 joy <- a1", "m1 joy <- a1"),
        "support of the level above": ("e1 x <- m1\nm1 joy", "e1 x <- m1"),
        "an attribute supported": ("a1 x\na2 y <- a1\nm1 joy", "a2 y <- a1"),
        "support not written": ("a1 x\ne1 y <- a2\nm1 joy", "e1 y <- a2"),
        "support named twice": ("a1 x\ne1 y <- a1 a1\nm1 joy", "e1 y <- a1 a1"),
        "arrow without support": ("a1 x\ne1 y <-\nm1 joy", "e1 y <-"),
        "support with a leading zero": ("a1 x\ne1 y <- a01\nm1 joy", "e1 y <- a01"),
        "supports set apart by commas": ("a1 x\na2 z\ne1 y <- a1, a2\nm1 joy", "e1 y <- a1, a2"),
        "another arrow": ("a1 x\ne1 y -> a1\nm1 joy", "e1 y -> a1"),
        "two arrows": ("a1 x\ne1 y <- a1 <- a1\nm1 joy", "e1 y <- a1 <- a1"),
        "chatter": ("Sure! Here is the tree:\na1 x\nm1 joy", "Sure! Here is the tree:"),
    }.values(),
    ids=lambda value: ascii(value) if "\n" not in value else "",
)
def test_each_broken_rule_leaves_that_line_unparsed(broken: str, line: str) -> None:
    tree = parse_tree(broken)
    assert tree.unparsed == (line,)
    assert len(tree) == len(broken.splitlines()) - 1
    assert not tree.is_valid
    assert explain_syntax_errors(broken)[0] == f"line {line!r} breaks the tree syntax"


def test_a_tree_without_emotion_is_read_but_not_valid() -> None:
    tree = parse_tree("a1 x\ne1 y <- a1")
    assert (len(tree), tree.unparsed, tree.is_valid) == (2, (), False)
    assert explain_syntax_errors("a1 x\ne1 y <- a1") == ["there is no emotion (an 'm1 ...' line)"]


def test_blank_lines_and_indentation_do_not_matter() -> None:
    assert parse_tree("\n\n  a1 x  \n\n\tm1 joy\r\n") == parse_tree("a1 x\nm1 joy")
    assert parse_tree("\n\n  a1 x  \n\n\tm1 joy\r\n").is_valid


def test_one_label_twice_with_other_support_is_no_repetition() -> None:
    assert parse_tree("a1 x\na2 y\ne1 z <- a1\ne2 z <- a2\nm1 joy").is_valid


def test_the_first_of_a_repeated_aspect_counts() -> None:
    assert parse_tree("a1 mouth: open\na2 mouth: shut\na3 gaze\nm1 joy").attribute_values() == {"mouth": "open"}


@PATIENT
@given(trees(), st.randoms(use_true_random=False))
def test_canonical_form_does_not_depend_on_the_order(tree: AffectiveTree, rng: random.Random) -> None:
    assert shuffled(tree, rng).canonical() == tree.canonical()


@PATIENT
@given(trees())
def test_canonical_form_says_the_same(tree: AffectiveTree) -> None:
    def said(of: AffectiveTree) -> list[list[tuple[str, list[str]]]]:
        below: tuple[Node, ...] = ()
        levels = []
        for level in LEVELS:
            nodes = of.level(level)
            levels.append(sorted((node.label, sorted(below[i].label for i in node.supports)) for node in nodes))
            below = nodes
        return levels

    canonical = tree.canonical()
    assert said(canonical) == said(tree)
    assert canonical.canonical() == canonical
    assert all([node.label for node in canonical.level(x)] == sorted(n.label for n in tree.level(x)) for x in LEVELS)


def test_canonical_form_keeps_what_was_not_understood() -> None:
    assert parse_tree("hm\na1 x\nm1 joy").canonical().unparsed == ("hm",)
