"""The one file that tells models apart: what each takes, and what reads its rows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.inputs.open import (
    open_encoder,
    open_reader,
    remember_inputs,
    require_readable,
    takes,
    wanted_of,
)
from affectgpt.inputs.reader import ClipReader
from affectgpt.inputs.text_reader import TextReader
from affectgpt.inputs.vlm_reader import VlmReader
from affectgpt.model.loading import load_processor
from affectgpt.problems import InputError
from tests.support.text_models import tiny_text_model


@pytest.fixture(scope="module")
def processors(tiny, hub, tmp_path_factory):
    text = tiny_text_model("qwen2", tmp_path_factory.mktemp("text"))
    folders = {"features": tiny.folder, "media": hub("qwen2_5_vl"), "words": text}
    return {kind: load_processor(folder) for kind, folder in folders.items()}


def row(**fields):
    turns = [{"role": "user", "content": "What now?"}, {"role": "assistant", "content": "sad"}]
    return Clip(**{"id": "q", "messages": turns, "task": "text", **fields})


class Nothing:
    """A source that no row is asked of."""

    def of(self, clips):
        raise AssertionError


def test_every_kind_of_model_has_its_reader(processors):
    readers = {"features": ClipReader, "media": VlmReader, "words": TextReader}
    for kind, processor in processors.items():
        assert takes(processor) == kind
        assert type(open_reader(processor, Nothing(), ("video", "text"))) is readers[kind]
        assert open_reader(processor, Nothing(), ("video", "text")).inputs == ("video", "text")


def test_the_inputs_are_those_that_a_model_was_trained_to_take(processors, monkeypatch):
    monkeypatch.setattr(processors["features"], "inputs", ["audio"])
    assert open_reader(processors["features"], Nothing()).inputs == ("audio",)
    for kind in ("media", "words"):
        assert open_reader(processors[kind], Nothing()).inputs == ("video", "audio", "text")


def test_a_processor_of_no_known_kind_is_named():
    with pytest.raises(InputError, match=r"its processor: expected a model of AffectGPT, .* got SimpleNamespace"):
        takes(SimpleNamespace(image_processor=object()))


def test_one_clip_at_hand_is_what_every_row_is_about(tiny, processors):
    features = tiny.features(0, audio=False)
    read = open_reader(processors["features"], features).read([row(), row(id="other")])
    assert [set(item.inputs) for item in read] == [{"face_features"}] * 2
    assert torch.equal(read[1].inputs["face_features"][0], features["face_features"])
    assert open_reader(processors["features"], {}).read([row()])[0].inputs == {}


def test_what_is_decoded_follows_the_model(tiny, processors):
    assert wanted_of(processors["words"], None).streams == ()
    assert wanted_of(processors["features"], tiny.template.config, reader="pyav").streams == ("face", "audio")
    assert wanted_of(processors["media"], None, 5, 2.0).sampling.fps == 2.0
    processors["media"].video_processor.num_frames = None
    assert wanted_of(processors["media"], None).num_frames == 8
    remember_inputs(processors["media"], ("video",), 3, None)
    assert wanted_of(processors["media"], None).num_frames == 3
    remember_inputs(processors["words"], ("text",), 3, None)


def test_only_features_have_towers(tiny, processors):
    assert open_encoder(processors["features"], tiny.folder).config.model_type == "affectgpt"
    assert open_encoder(processors["media"], tiny.folder) is None
    assert open_encoder(processors["words"], tiny.folder) is None


def test_rows_with_media_are_refused_for_words_alone(tmp_path, processors):
    clips = [row(), row(id="seen", video=tmp_path / "a.mp4")]
    for kind in ("features", "media"):
        require_readable(processors[kind], clips)
    with pytest.raises(InputError, match=r"row seen: its media"):
        require_readable(processors["words"], clips)
