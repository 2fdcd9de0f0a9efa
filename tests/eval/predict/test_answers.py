"""Answers to rows: each beside its own row, whether it ended, and whose it is."""

from __future__ import annotations

from affectgpt.clip import Clip
from affectgpt.inputs.reader import ClipReader
from eval.predict.answers import answer_rows
from tests.support.feature_sources import NoMedia
from tests.support.rows import make_clip


def rows() -> list[Clip]:
    """Rows whose questions and tasks ask for another order than that in which they stand."""
    asked = ["Joy?", "What does this person feel, and why, and since when?", "What is felt?", "Say it step by step."]
    return [
        make_clip(
            f"row{place}",
            f"joy {place}",
            ("emotion_label", "caption")[place % 2],
            question,
            group="actor" if place == 2 else None,
        )
        for place, question in enumerate(asked)
    ]


def test_every_answer_stands_beside_its_row(tiny):
    model, reader = tiny.model().eval(), ClipReader(tiny.processor, NoMedia())
    together = answer_rows(model, reader, rows(), batch_size=2, max_new_tokens=8)
    assert [(one["id"], one["task"], one["answer"]) for one in together] == [
        (clip.id, clip.task, clip.answer) for clip in rows()
    ]
    alone = [answer_rows(model, reader, [clip], max_new_tokens=8)[0] for clip in rows()]
    assert [one["response"] for one in together] == [one["response"] for one in alone]
    assert [one.get("group") for one in together] == [None, None, "actor", None]


def test_an_answer_that_was_cut_off_says_so(tiny):
    model, reader = tiny.model().eval(), ClipReader(tiny.processor, NoMedia())
    model.generation_config.eos_token_id = None
    [cut] = answer_rows(model, reader, rows()[:1], max_new_tokens=1)
    assert cut["status"] == "truncated"
