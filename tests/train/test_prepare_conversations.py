"""What is refused before anything is trained."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from affectgpt.clip import Clip, write_clips
from affectgpt.problems import InputError
from tests.support.media import write_mute
from tests.support.rows import make_clip
from train import prepare as module
from train.monitor import Console
from train.prepare import prepare
from train.recipe import Recipe
from train.stages.sft import SftStage
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


def test_a_kind_of_stages_may_draw_rows_that_ask_nothing(monkeypatch):
    rows = {"train": [Clip(id="a", task="clip", line=1)]}
    recipe = Recipe(output="o", data={"train": "x"}, model={"tiny": {}}, stages=[stage("one", "sft", clip=1)])
    with pytest.raises(InputError, match="expected a conversation, for stage 'one' draws rows of task 'clip'"):
        module._require_conversations(recipe, {"train": Path("x")}, rows)
    monkeypatch.setattr(SftStage, "needs_conversations", False)
    module._require_conversations(recipe, {"train": Path("x")}, rows)


def test_training_takes_a_video_that_is_said_to_have_no_sound(tmp_path):
    """RAVDESS ships such clips (marcogdepinto/emotion-classification-from-audio-files#6)."""
    rows = tmp_path / "data" / "rows.jsonl"
    video = write_mute(tmp_path / "data_mute.mp4")
    write_clips(rows, [make_clip("said", video=video, has_sound=False)], tmp_path)
    data = {"train": rows, "media_root": rows.parent / ".."}
    recipe = Recipe(
        output=tmp_path / "run", data=data, model={"tiny": {}}, stages=[stage("one", "sft", emotion_label=1)]
    )
    ready = prepare(recipe, Console({}, out=io.StringIO()))
    assert (ready.bad, [clip.id for clip in ready.clips["train"]]) == (0, ["said"])
    assert ready.reader.read(ready.clips["train"])[0].inputs.keys() & {"audio_features", "face_features"} == {
        "face_features"
    }


def test_a_tiny_model_learns_the_words_of_rows_that_have_some():
    assert _texts_of(Clip(id="a", task="clip", subtitle="Oh.")) == ["Oh."]
