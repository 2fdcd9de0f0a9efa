"""Rows for the tiny model of `models.py`: four prompts of unequal length, with both modalities, one, none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from affectgpt.clip import Clip
from affectgpt.inputs.reader import ClipReader
from affectgpt.model.clip_encoder import Features
from tests.support.feature_sources import Table
from tests.support.rows import make_turns

QUESTIONS = ("joy?", "What does this person feel?", "fear?", "Explain step by step.")


def tiny_rows(tiny: Any) -> tuple[list[Clip], ClipReader]:
    """The rows `row0` to `row3`, and a reader that knows their features."""
    clips = []
    features: dict[str, Features] = {}
    for index, question in enumerate(QUESTIONS):
        turns = make_turns(question, "a1 mouth: smiling")
        path = Path(f"/clips/{index}.mp4")
        media = [{"video": path}, {"face": path}, {"video": path}, {}][index]
        clips.append(Clip(id=f"row{index}", messages=turns, task="tree", answer="m1 joy", subtitle="Oh.", **media))
        if media:
            features[f"row{index}"] = tiny.features(index, audio=index != 1)
    return clips, ClipReader(tiny.processor, Table(features), ("video", "audio", "text"))
