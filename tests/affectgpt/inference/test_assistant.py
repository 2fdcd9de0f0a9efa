import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.features.sources import DecodedMedia, OnlineFeatures
from affectgpt.inference import assistant as module
from affectgpt.inference.assistant import Assistant
from affectgpt.inference.generate import Answer
from affectgpt.inference.media_inputs import resample
from affectgpt.inputs.reader import ClipReader
from affectgpt.inputs.vlm_reader import VlmReader, wanted_by_vlm
from affectgpt.media.bundle import Wanted
from affectgpt.media.decode import read_audio, read_frames
from affectgpt.model.loading import load_model
from affectgpt.problems import InputError
from tests.support.hub_models import KINDS, tiny_hub_model
from tests.support.limits import PATIENCE_S

QUESTION = "What does this person feel?"
INPUTS = ("video", "audio", "text")


@pytest.fixture(scope="module")
def assistant(tiny):
    return Assistant.from_pretrained(tiny.folder)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    from data_recipes.synthetic.generate import SAMPLE_RATE, write_video

    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames = np.random.default_rng(0).integers(0, 255, (15, 32, 32, 3), np.uint8)
    wave = 0.3 * np.sin(200 * np.arange(int(0.6 * SAMPLE_RATE)) / SAMPLE_RATE)
    write_video(path, frames, wave.astype(np.float32))
    return path


@pytest.fixture
def adapter(tiny, tmp_path):
    """A folder with nothing but a LoRA adapter that changes what the model says."""
    from train.config.model import LoraSettings
    from train.model_setup import add_adapter

    adapted = add_adapter(load_model(tiny.folder), LoraSettings(r=2))
    with torch.no_grad():
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value, std=0.5, generator=torch.Generator().manual_seed(len(name)))
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def asked(assistant, monkeypatch, *args, **kwargs):
    """The ids that a question gives the model, and what it is given besides."""
    seen = {}
    generate = assistant.model.generate

    def spy(**inputs):
        seen.update(inputs)
        return generate(**inputs)

    monkeypatch.setattr(assistant.model, "generate", spy)
    assistant.ask(*args, max_new_tokens=2, **kwargs)
    monkeypatch.undo()
    return seen


def question_row(**fields):
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "joy"}]
    return Clip(id="a", messages=turns, task="text", **fields)


def test_a_question_is_read_as_training_reads_a_row(tiny, assistant, video, monkeypatch):
    source = OnlineFeatures(tiny.encoder, 1, 20)
    row = ClipReader(tiny.processor, source, INPUTS).read([question_row(video=video, subtitle="I did not")])[0]
    source.media.close()
    seen = asked(assistant, monkeypatch, QUESTION, video=video, subtitle="I did not")
    assert seen["input_ids"][0].tolist() == row.prompt_ids
    assert set(row.inputs) == {"face_features", "audio_features"}
    for name, value in row.inputs.items():
        assert torch.equal(seen[name], value)


def test_arrays_are_as_good_as_files(tiny, assistant, video):
    rate = assistant.wanted.sample_rate
    by_file = assistant.encode(video=str(video))
    by_array = assistant.encode(video=read_frames(video, 3), audio=read_audio(video, rate))
    assert by_file.keys() == by_array.keys()
    assert all(torch.equal(by_file[name], by_array[name]) for name in by_file)


def test_video_of_an_array_has_no_sound_and_face_crops_replace_it(tiny, assistant, video, tmp_path):
    frames = read_frames(video, 6)
    assert set(assistant.encode(video=frames)) == {"face_features"}
    np.save(tmp_path / "face.npy", frames)
    by_file, by_array = assistant.encode(face=tmp_path / "face.npy"), assistant.encode(face=frames)
    assert torch.equal(by_file["face_features"], by_array["face_features"])
    both = assistant.encode(video=video, face=frames)
    assert torch.equal(both["face_features"], by_array["face_features"])
    assert "audio_features" in both


def test_samples_of_another_rate_are_resampled_as_decoding_does(tmp_path):
    from scipy.io import wavfile

    wave = np.random.default_rng(0).normal(0, 0.1, 4410).astype(np.float32)
    wavfile.write(tmp_path / "a.wav", 44100, wave)
    np.testing.assert_allclose(resample(wave, 44100, 16000), read_audio(tmp_path / "a.wav", 16000), atol=1e-6)


def test_features_need_no_towers(tiny, assistant, video, monkeypatch):
    features = assistant.encode(video=video)
    fresh = Assistant.from_pretrained(tiny.folder)
    with_media = asked(assistant, monkeypatch, QUESTION, video=video)
    with_features = asked(fresh, monkeypatch, QUESTION, features=features)
    assert torch.equal(with_media["input_ids"], with_features["input_ids"])
    assert fresh.ask(QUESTION, features=features) == assistant.ask(QUESTION, video=video)
    assert fresh.ask(QUESTION)
    assert "encoder" not in vars(fresh)


def test_the_clip_stands_in_the_first_turn_of_the_history(tiny, assistant, monkeypatch):
    features = tiny.features(0)
    history = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "joy"}]
    ids = asked(assistant, monkeypatch, "Explain.", features=features, history=history)["input_ids"][0].tolist()
    turns = [*history, {"role": "user", "content": "Explain."}]
    assert ids == tiny.processor.tokenise(turns, streams=("face", "audio")).prompt_ids
    assert ids.index(tiny.ids["face"]) < len(ids) / 2


def test_an_adapter_is_asked_like_its_whole(tiny, adapter, video):
    adapted = Assistant.from_pretrained(adapter)
    features = adapted.encode(video=video)
    merged = adapted.model.merge_and_unload()
    whole = Assistant(merged, tiny.processor, tiny.folder)
    assert whole.ask(QUESTION, features=features) == adapted.ask(QUESTION, features=features)


def test_an_adapter_finds_its_base_beside_it(tiny, adapter):
    path = adapter / "adapter_config.json"
    config = json.loads(path.read_text())
    (adapter / "base").symlink_to(tiny.folder)
    path.write_text(json.dumps(config | {"base_model_name_or_path": "base"}))
    model = load_model(adapter)
    assert model.peft_config["default"].base_model_name_or_path == str(adapter / "base")


def test_drawing_follows_temperature(tiny, assistant):
    features = tiny.features(0)
    torch.manual_seed(0)
    answers = {assistant.ask(QUESTION, features=features, temperature=2.0, max_new_tokens=8) for _ in range(4)}
    assert len(answers) > 1
    assert len({assistant.ask(QUESTION, features=features, max_new_tokens=8) for _ in range(2)}) == 1


def test_a_model_is_loaded_as_it_is_asked_for(tiny):
    assistant = Assistant.from_pretrained(tiny.folder, "cpu", "bfloat16", "eager")
    assert assistant.model.dtype == torch.bfloat16
    assert assistant.model.config.text_config._attn_implementation == "eager"
    assert not assistant.model.training


def test_how_to_answer_and_to_decode_reaches_those_who_do(tiny, assistant, monkeypatch):
    given, drawn = [], []
    monkeypatch.setattr(module, "read_given", lambda *args: given.append(args) or {})
    monkeypatch.setattr(module, "answer", lambda *args: drawn.append(args[3:]) or [Answer("joy", True)])
    asked = Assistant(assistant.model, tiny.processor, tiny.folder, timeout_s=7.0)
    wave, streamer = np.zeros(80, np.float32), object()
    assert asked.ask(QUESTION, audio=wave, sample_rate=8_000) == "joy"
    settings = {"max_new_tokens": 5, "temperature": 0.5, "top_p": 0.9, "streamer": streamer}
    assert asked.ask(QUESTION, **settings) == "joy"
    assert given == [(asked.wanted, {"audio": wave}, 8_000, 7.0)]
    assert drawn == [(512, 0.0, 1.0, None), (5, 0.5, 0.9, streamer)]


@pytest.mark.parametrize(
    ("sampling", "wanted"),
    [
        ({"num_frames": 6, "fps": None}, Wanted(("frame", "audio"), 6, 24_000)),
        ({"num_frames": None, "fps": 2.0}, Wanted(("frame", "audio"), 8, 24_000, 2.0)),
        ({}, Wanted(("frame", "audio"), 8, 24_000)),
    ],
)
def test_a_processor_of_the_hub_says_which_frames_it_takes(sampling, wanted):
    processor = SimpleNamespace(
        video_processor=SimpleNamespace(**sampling), feature_extractor=SimpleNamespace(sampling_rate=24_000)
    )
    assert Assistant(None, processor, "").wanted == wanted


def test_what_the_model_cannot_be_given_is_explained(tiny, assistant, video, tmp_path):
    with pytest.raises(InputError, match=r"features: face_features: expected .*D 24 of face.*got \(3, 7\) Tensor"):
        assistant.ask(QUESTION, features={"face_features": torch.zeros(3, 7)})
    with pytest.raises(InputError, match="got both"):
        assistant.ask(QUESTION, video=video, features=tiny.features(0))
    with pytest.raises(InputError, match=r"turn 1: .*content"):
        assistant.ask("  ")
    with pytest.raises(InputError, match=r"history.*turn 1"):
        assistant.ask(QUESTION, history=[{"role": "robot", "content": "hm"}])
    with pytest.raises(InputError) as caught:
        assistant.ask(QUESTION, video=np.zeros((2, 4, 4)), audio=np.zeros((2, 2), np.float32))
    assert len(caught.value.problems) == 2
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match=r"bad\.mp4"):
        assistant.ask(QUESTION, video=tmp_path / "bad.mp4")
    with pytest.raises(InputError, match=r"gone\.mp4"):
        assistant.ask(QUESTION, video=tmp_path / "gone.mp4")


def test_media_that_the_model_has_no_tower_for(tiny, tmp_path, video):
    model = tiny.build(audio_config=None)
    model.save_pretrained(tmp_path)
    deaf = Assistant(model, tiny.processor, tmp_path)
    with pytest.raises(InputError, match="audio: the medium: expected video, face, got audio"):
        deaf.ask(QUESTION, audio=np.zeros(8, np.float32))


@pytest.mark.slow
def test_a_script_without_a_guard_decodes(tiny, video, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from affectgpt.inference.assistant import Assistant\n"
        f"print('loading')\nassistant = Assistant.from_pretrained({str(tiny.folder)!r})\n"
        f"print(sorted(assistant.encode(video={str(video)!r})))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.splitlines() == ["loading", "['audio_features', 'face_features']"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_video_model_of_the_hub_is_asked_the_same_way(kind, video, tmp_path, monkeypatch):
    assistant = Assistant.from_pretrained(tiny_hub_model(kind, tmp_path))
    source = DecodedMedia(wanted_by_vlm(assistant.processor, 8), 1, 20)
    row = VlmReader(assistant.processor, source, INPUTS).read([question_row(video=video, subtitle="I did not")])[0]
    source.close()
    seen = asked(assistant, monkeypatch, QUESTION, video=video, subtitle="I did not")
    assert seen["input_ids"][0].tolist() == row.prompt_ids
    assert all(torch.equal(seen[name], value) for name, value in row.inputs.items())
    features = assistant.encode(video=video)
    assert assistant.ask(QUESTION, features=features) == assistant.ask(QUESTION, video=video)
    with pytest.raises(InputError, match="face: the medium: expected video"):
        assistant.ask(QUESTION, face=np.zeros((1, 4, 4, 3), np.uint8))
