"""The lenient reader: captions by hand, and that no text makes it raise or write what cannot be read back."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from videmo.caption_tree import EXPRESSIONS, PARTS, TRAITS, read_caption
from videmo.distance import tree_similarity
from videmo.tree import AffectiveTree, parse_tree, write_tree


@pytest.mark.parametrize(
    ("caption", "tree"),
    [
        (
            "The woman is probably embarrassed, because of her forced smile with raised eyebrows.",
            "a1 gender: woman\na2 eyebrow: raised\ne1 forced smile <- a2\nm1 embarrassed <- e1",
        ),
        (
            "His eyebrows are furrowed and his eyes are narrowed. This suggests an angry expression.",
            "a1 eyebrow: furrowed\na2 eye: narrowed\ne1 angry expression <- a1 a2\nm1 angry",
        ),
        (
            "With a broad smile and crinkled eyes, she appears joyful.",
            "a1 eye: crinkled\ne1 broad smile\nm1 joyful <- e1",
        ),
        ("She frowns; therefore she is angry.", "e1 frown\nm1 angry <- e1"),
        ("She is sad, as her lips tremble.", "a1 mouth: tremble\nm1 sad"),
        ("She looks as if she were sad.", "m1 sad"),
        ("An elderly man with grey hair speaks.", "a1 age: elderly\na2 gender: man\na3 hair: grey"),
        ("He isn't smiling, wears no glasses and is not sad.", ""),
        ("Her voice is low and trembling.", "a1 voice: low"),
        ("", ""),
        ("The train leaves at noon.", ""),
    ],
)
def test_captions_by_hand(caption, tree):
    assert write_tree(read_caption(caption)) == tree


def test_a_written_tree_is_read_as_such():
    text = "a1 mouth: smiling\ne1 open smile <- a1\nm1 joy <- e1"
    assert read_caption(text) == parse_tree(text)


@pytest.mark.parametrize("aspect", sorted(PARTS))
def test_every_part_takes_what_is_said_of_it(aspect):
    word = PARTS[aspect].split()[0]
    for caption in (f"a purple {word}", f"her {word} is purple", f"{word} slightly purple"):
        assert [node.label for node in read_caption(caption).attributes] == [f"{aspect}: purple"], caption


@pytest.mark.parametrize("aspect", sorted(TRAITS))
def test_every_trait_is_a_value(aspect):
    for word in TRAITS[aspect].split():
        assert [node.label for node in read_caption(f"there is {word}").attributes] == [f"{aspect}: {word}"], word


def test_the_aspects_of_emo_cfg_are_all_there():
    assert len({*PARTS, *TRAITS} - {"voice"}) == 15


def test_the_same_said_otherwise_is_nearer_than_something_else():
    first = read_caption("She is sad because of her deep frown with furrowed brows.")
    same = read_caption("Her brows are furrowed. This shows a deep frown, suggesting that she is sad.")
    other = read_caption("He is joyful because of his broad smile with raised brows.")
    assert tree_similarity(first, same) == 1 > tree_similarity(first, other)


GLUE = "sad happy angry because since as with so suggests not no is are low purple her a1 <- e1 , . ;"
WORDS = [*EXPRESSIONS, *" ".join([*PARTS.values(), *TRAITS.values(), GLUE]).split(), "\n"]


def check(text: str) -> None:
    tree = read_caption(text)
    assert parse_tree(write_tree(tree)) == tree
    assert not tree.unparsed
    assert tree_similarity(tree, tree) == 1


@given(st.text())
def test_no_text_makes_it_raise(text):
    check(text)


@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_what_it_reads_can_be_written_and_read_back(words):
    check(" ".join(words))


def test_a_long_text_is_cut():
    rng = random.Random(0)
    check(" ".join(rng.choices(WORDS, k=100_000)))
    assert read_caption("x" * 1_000_000) == AffectiveTree()
