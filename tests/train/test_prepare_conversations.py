"""What is refused before anything is trained."""

from __future__ import annotations

import io
import json

import pytest

from affectgpt.clip import Clip
from affectgpt.problems import InputError
from train import prepare as module
from train.monitor import Console
from train.prepare import prepare
from train.recipe import Recipe
from train.tiny_model import _texts_of


def stage(name, kind, **mixture):
    return {"name": name, "kind": kind, "steps": 1, "batch_size": 4, "learning_rate": 1, "mixture": mixture}


def test_a_mixture_cannot_draw_rows_without_a_conversation(monkeypatch, tmp_path):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    text = {"task": "text", "messages": turns}
    shares = {"task": "distribution", "answer": {"joy": 1}}
    rows = [text, shares, {**shares, "messages": turns}, shares]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"id": str(number), **row}) for number, row in enumerate(rows)))
    stages = [
        stage("one", "sft", text=1),
        stage("two", "sft", text=1, distribution=0.5),
        stage("three", "sft", text=1, distribution=0),
    ]
    settings = {"data": {"train": path}, "model": {"tiny": {}}}
    monkeypatch.setattr(module, "_starting_model", lambda *_: pytest.fail("the rows were to be refused"))
    with pytest.raises(InputError) as caught:
        prepare(Recipe(output=tmp_path / "run", stages=stages, **settings), Console({}, out=io.StringIO()))
    assert str(caught.value) == (
        f"{path}: row 2 (1), field 'messages': expected a conversation, for stage 'two' draws rows of task "
        "'distribution', got none, here and in 1 more rows. Leave 'distribution' out of stages.two.mixture."
    )


def test_a_tiny_model_learns_the_words_of_rows_that_have_some():
    assert _texts_of(Clip(id="a", task="clip", subtitle="Oh.")) == ["Oh."]
