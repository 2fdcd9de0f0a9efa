"""Rows of a synthetic clip, questions at all three levels, and the plain-text rows of the replay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from affectgpt.clip import Clip
from affectgpt.tasks import TASKS
from data_recipes.synthetic.lines import lines_for
from data_recipes.synthetic.world import (
    ASPECTS,
    EMOTIONS,
    FACE_ASPECTS,
    FACES,
    LOOK_ASPECTS,
    VOICE_ASPECTS,
    VOICES,
    Annotation,
    Scene,
    pick,
    stream,
)
from videmo.tree import AffectiveTree, write_tree

CLOSED_QUESTIONS = {
    **{aspect: f"Which {aspect}?" for aspect in FACE_ASPECTS},
    **{aspect: f"Which {aspect} of voice?" for aspect in VOICE_ASPECTS},
    **{aspect: f"Which {aspect} of person?" for aspect in LOOK_ASPECTS},
    "words": "Which tone of words?",
}
ATTRIBUTES_QUESTION = "What can you see and hear?"
EXPRESSION_QUESTIONS = {"face": "What does the face show?", "voice": "What does the voice show?"}
EXPRESSIONS_QUESTION = "What do face, voice and words show, and why?"
"""Question whose answer is the lower levels of the tree, so that each stage builds on the last."""


def rows_of_clip(name: str, scene: Scene, written: Annotation, video: Path, face: Path) -> Iterator[Clip]:
    """Yield every row of one clip. Its answers are those of `written`, which may hold errors of automatic annotation.

    `extra` keeps what is certain: the scene's own emotion and whether it is a conflict.
    """

    def row(kind: str, task: str, level: str | None, question: str, target: str, **values: object) -> Clip:
        return Clip(
            id=f"{name}/{kind}",
            video=video,
            face=face,
            subtitle=scene.line,
            messages=[{"role": "user", "content": question}, {"role": "assistant", "content": target}],
            task=task,
            level=level,
            group=scene.actor.name,
            source="synthetic",
            extra={"clip": name, "conflict": scene.is_conflict, "emotion": scene.emotion},
            **{"answer": target, **values},  # type: ignore[arg-type]
        )

    shown = {**written.attributes, **scene.actor.look}
    for aspect, choices in {**ASPECTS, **LOOK_ASPECTS}.items():
        if aspect not in shown:
            continue
        yield row(
            f"attribute/{aspect}",
            "attribute_closed",
            "attribute",
            f"{CLOSED_QUESTIONS[aspect]} Choose: {', '.join(choices)}.",
            shown[aspect],
            options=list(choices),
        )
    tree = written.tree
    seen_and_heard = AffectiveTree(tree.attributes)
    yield row("attributes", "attribute_open", "attribute", ATTRIBUTES_QUESTION, write_tree(seen_and_heard))
    face_shows, voice_shows, _ = written.expressions
    for part, answer, kinds in (("face", face_shows, FACES), ("voice", voice_shows, VOICES)):
        question = f"{EXPRESSION_QUESTIONS[part]} Choose: {', '.join(kinds)}."
        yield row(f"expression/{part}", "expression_single", "expression", question, answer, options=list(kinds))
    yield row(
        "expressions",
        "expression_multi",
        "expression",
        EXPRESSIONS_QUESTION,
        write_tree(AffectiveTree(tree.attributes, tree.expressions)),
        answer=list(written.expressions),
    )
    yield row(
        "emotion",
        "emotion_label",
        "emotion",
        TASKS["emotion_label"].questions[0],
        written.emotion,
        options=list(EMOTIONS),
    )
    yield row("caption", "caption", "emotion", TASKS["caption"].questions[0], caption(written))
    yield row("tree", "tree", "emotion", TASKS["tree"].questions[0], write_tree(tree))


def caption(written: Annotation) -> str:
    """Return a sentence about a clip, the answer of a description row."""
    face, voice, words = written.expressions
    link = "but" if EMOTIONS[written.emotion].conflict else "and"
    return f"A {face}, {link} a {voice} with {words}: this person {EMOTIONS[written.emotion].says}. {written.emotion}"


def text_rows(seed: int, count: int) -> Iterator[Clip]:
    """Yield plain-text rows about the tone of a line: they preserve the model's reading (VidEmo mixes MAGPIE in)."""
    rng: np.random.Generator = stream(seed, "text")
    lines = [(tone, line) for tone, all_lines in lines_for("train").items() for line in all_lines]
    for index in range(count):
        tone, line = pick(rng, lines)
        yield Clip(
            id=f"text/{index:05d}",
            subtitle=line,
            messages=[{"role": "user", "content": TASKS["text"].questions[0]}, {"role": "assistant", "content": tone}],
            task="text",
            answer=tone,
            source="synthetic-text",
        )
