"""Rows opened for a model, whatever it takes."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.features.sources import OnlineFeatures
from affectgpt.inference import media_inputs, row_assistant
from affectgpt.inference.assistant import Assistant
from affectgpt.inference.row_assistant import RowAssistant
from affectgpt.inputs.reader import ClipReader
from affectgpt.problems import InputError
from tests.support.films import copy_streams
from tests.support.text_models import tiny_text_model


def row(name, video=None):
    turns = [{"role": "user", "content": "What now?"}, {"role": "assistant", "content": "joy"}]
    return Clip(id=name, messages=turns, task="text", answer="joy", video=video)


@pytest.fixture
def clips(tmp_path, write_mp4):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    good = write_mp4(tmp_path / "good.mp4")
    return [row("a", good), row("words"), row("bad", tmp_path / "bad.mp4"), row("b", good)]


def test_rows_are_read_as_training_reads_them_and_bad_clips_are_named(tiny, clips):
    work = RowAssistant(Assistant.from_pretrained(tiny.folder), workers=1)
    with closing(work):
        rows = work.open(clips)
    assert [clip.id for clip in rows.usable] == ["a", "words", "b"]
    assert set(rows.bad) == {"bad"}
    assert "bad.mp4" in rows.bad["bad"]
    online = OnlineFeatures(tiny.encoder, 1, 20)
    expected = ClipReader(tiny.processor, online).read(rows.usable)
    online.media.close()
    for one, other in zip(rows.reader.read(rows.usable), expected, strict=True):
        assert (one.prompt_ids, one.target_ids) == (other.prompt_ids, other.target_ids)
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs | other.inputs)


def test_a_model_is_given_what_it_was_trained_to_take(tiny, clips):
    assistant = Assistant.from_pretrained(tiny.folder)
    assistant.processor.inputs = ["video"]
    work = RowAssistant(assistant, workers=1)
    with closing(work):
        rows = work.open(clips)
    assert set(rows.reader.read(clips[:1])[0].inputs) == {"face_features"}


def test_parts_hold_every_row_in_turn_stored_or_not(tiny, clips, tmp_path, monkeypatch):
    monkeypatch.setattr(row_assistant, "_BATCHES_AT_ONCE", 1)
    work = RowAssistant(Assistant.from_pretrained(tiny.folder), workers=1)
    with closing(work):
        for store in (None, tmp_path / "store"):
            parts = list(work.open_in_parts(clips, 3, store))
            assert [[clip.id for clip in part.clips] for part in parts] == [["a", "words", "bad"], ["b"]]
            assert [[clip.id for clip in part.usable] for part in parts] == [["a", "words"], ["b"]]


@pytest.mark.parametrize("stored", [False, True])
def test_of_a_clip_without_a_sound_track_the_pictures_are_read(tiny, clips, write_mp4, tmp_path, caplog, stored):
    media_inputs._silent.clear()
    mute = copy_streams([write_mp4(tmp_path / "a.mp4")], tmp_path / "mute.mp4", "video")
    rows = [clips[0], row("mute", mute), row("mute2", mute), clips[2]]
    work = RowAssistant(Assistant.from_pretrained(tiny.folder), workers=1)
    with closing(work):
        opened = work.open_stored(rows, tmp_path / "store") if stored else work.open(rows)
        parts = list(work.open_in_parts(rows, 1, tmp_path / "store" if stored else None))
    assert set(opened.bad) == {"bad"}
    read = {item.id: set(item.inputs) for item in opened.reader.read(opened.usable)}
    both = {"face_features", "audio_features"}
    assert read == {"a": both, "mute": {"face_features"}, "mute2": {"face_features"}}
    assert [clip.has_sound for part in parts for clip in part.usable] == [True, False, False]
    declared = replace(row("declared", mute), has_sound=False)
    with closing(RowAssistant(Assistant.from_pretrained(tiny.folder), workers=1)) as work:
        other = work.open([declared])
        (expected,) = other.reader.read(other.usable)
    (found,) = opened.reader.read([opened.usable[1]])
    assert found.prompt_ids == expected.prompt_ids
    assert torch.equal(found.inputs["face_features"], expected.inputs["face_features"])
    assert caplog.text.count("mute.mp4: no sound track: the answer is from the pictures alone") == 1


@pytest.mark.parametrize("stored", [False, True])
def test_a_model_that_only_hears_refuses_a_clip_without_a_sound_track(tiny, write_mp4, tmp_path, stored):
    mute = row("mute", copy_streams([write_mp4(tmp_path / "a.mp4")], tmp_path / "mute.mp4", "video"))
    assistant = Assistant.from_pretrained(tiny.folder)
    assistant.model.config.vision_config = None
    with closing(RowAssistant(assistant, workers=1)) as work:
        opened = work.open_stored([mute], tmp_path / "store") if stored else work.open([mute])
    assert "mute.mp4: no audio stream. " in opened.bad["mute"]
    assert 'write "audio": false on its row' in opened.bad["mute"]


def test_a_model_of_words_has_no_store_and_takes_no_clips(clips, tmp_path):
    work = RowAssistant(Assistant.from_pretrained(tiny_text_model("llama", tmp_path / "model")), workers=1)
    with pytest.raises(InputError) as caught:
        next(work.open_in_parts(clips, 1))
    assert len(caught.value.problems) == 3
    with pytest.raises(InputError, match="--store: this model has no features to store"):
        next(work.open_in_parts([row("words")], 1, tmp_path / "store"))
    assert not (tmp_path / "store").exists()
    assert work.open([row("words")]).reader.read([row("words")])[0].inputs == {}
    work.close()
