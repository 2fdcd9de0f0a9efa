"""Files from elsewhere cannot run anything: each is refused, through the function that a user would give it to.

Every payload makes a file when it is run; none may be there afterwards.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.problems import InputError, RunError


class Bomb:
    """Whatever unpickles it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[Bomb]:
    """A payload that is known to work, and did not run in the test."""
    mark = tmp_path / "it ran"
    pickle.loads(pickle.dumps(Bomb(mark)))
    assert mark.is_file()
    mark.unlink()
    yield Bomb(mark)
    assert not mark.exists(), "the payload was run"


def as_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def as_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def as_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_tar(content: Any, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickle.dumps(content)
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))


FORMS = [as_zip, as_pickle, as_legacy, as_tar]
every_form = pytest.mark.parametrize("write", FORMS, ids=lambda form: form.__name__[3:])


@every_form
def test_a_released_checkpoint(bomb, write, tmp_path):
    from affectgpt.weights.convert import read_checkpoint

    write({"model": {"weight": bomb}}, tmp_path / "released.pth")
    with pytest.raises(InputError, match=r"released\.pth"):
        read_checkpoint(tmp_path / "released.pth")


def test_face_crops(bomb, tmp_path):
    from affectgpt.inference.media_inputs import read_given
    from affectgpt.media.bundle import Wanted

    for name, allowed in (("whole.npy", np.array([bomb] * 4, dtype=object).reshape(1, 2, 2, 1)), ("raw.npy", None)):
        path = tmp_path / name
        np.save(path, allowed, allow_pickle=True) if allowed is not None else path.write_bytes(pickle.dumps(bomb))
        with pytest.raises(InputError, match=r"not a whole \.npy array of numbers"):
            read_given(Wanted(("face",), 2), {"face": path})


def test_features_of_a_store(bomb, tmp_path):
    """What stands in a store under a key is a safetensors payload, whatever the shard says."""
    from affectgpt.features.store import FeatureStore

    key = "0" * 64
    with FeatureStore(tmp_path / "store") as store:
        store.put(key, {"x": torch.zeros(4, 64)})
    (shard,) = (tmp_path / "store").rglob("*.shard")
    whole = shard.read_bytes()
    payload = pickle.dumps(bomb)
    start = whole.index(b'{"')  # of the header of safetensors
    shard.write_bytes(whole[:start] + payload + whole[start + len(payload) :])
    assert FeatureStore(tmp_path / "store").get(key) is None


@pytest.fixture
def model(tiny, tmp_path) -> Path:
    """A copy of a whole model whose weights can be replaced."""
    return Path(shutil.copytree(tiny.folder, tmp_path / "model"))


def test_a_model_of_pickled_weights(bomb, model):
    from affectgpt.model.loading import load_model

    (model / "model.safetensors").unlink()
    torch.save({"x": bomb}, model / "pytorch_model.bin")
    with pytest.raises(InputError, match="expected its weights"):
        load_model(model)


@every_form
def test_an_index_that_leads_to_pickled_weights(bomb, write, model):
    from affectgpt.model.loading import load_model

    (model / "model.safetensors").unlink()
    write({"lm_head.weight": bomb}, model / "pytorch_model.bin")
    index = {"metadata": {}, "weight_map": {"lm_head.weight": "pytorch_model.bin"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"pytorch_model\.bin"):
        load_model(model)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/outside.safetensors"])
def test_an_index_that_leads_out_of_the_folder(model, name):
    from affectgpt.model.loading import load_model

    (model / "model.safetensors").rename(model.parent / "outside.safetensors")
    name = str(model.parent / name[1:]) if name.startswith("/") else name
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=r"weight_map: expected names of \.safetensors files beside it"):
        load_model(model)


@every_form
def test_a_tower_of_pickled_weights(bomb, write, model):
    from affectgpt.model.encoders import load_tower

    (model / "vision" / "model.safetensors").unlink()
    write({"x": bomb}, model / "vision" / "pytorch_model.bin")
    with pytest.raises(InputError, match="its weights: expected only tensors, got pickled objects"):
        load_tower(str(model / "vision"))


@every_form
def test_an_adapter_of_pickled_weights(bomb, write, tiny, tmp_path):
    from affectgpt.model.loading import load_model

    adapter(tiny, tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    write({"x": bomb}, tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(InputError, match="its weights: expected only tensors, got pickled objects"):
        load_model(tmp_path / "adapter")


def adapter(tiny: Any, folder: Path) -> None:
    """A saved LoRA adapter of the tiny model."""
    from affectgpt.model.loading import load_model
    from train.config.model import LoraSettings
    from train.model_setup import add_adapter

    add_adapter(load_model(tiny.folder), LoraSettings(r=2)).save_pretrained(str(folder))


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        ({"megatron_config": {"x": 1}, "megatron_core": "payload"}, "megatron_config: expected none"),
        ({"auto_mapping": {"base_model_class": "x", "parent_library": "payload"}}, None),
        (
            {
                "peft_type": "PROMPT_TUNING",
                "prompt_tuning_init": "TEXT",
                "prompt_tuning_init_text": "x",
                "num_virtual_tokens": 2,
                "tokenizer_name_or_path": "payload",
                "tokenizer_kwargs": {"trust_remote_code": True},
            },
            "peft_type: expected 'LORA'",
        ),
    ],
    ids=["megatron", "auto_mapping", "prompt_tuning"],
)
@pytest.mark.parametrize("trainable", [False, True])
def test_an_adapter_whose_settings_name_code(bomb, tiny, tmp_path, monkeypatch, change, refused, trainable):
    from affectgpt.model.loading import load_model

    adapter(tiny, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    payload = f"from pathlib import Path\nPath({str(bomb.mark)!r}).touch()\n"
    (tmp_path / "payload").mkdir()
    for name in ("payload.py", "payload/__init__.py", "payload/evil.py"):
        (tmp_path / name).write_text(payload)
    mapping = {"auto_map": {"AutoTokenizer": ["evil.T", "evil.T"]}}
    (tmp_path / "payload" / "tokenizer_config.json").write_text(json.dumps(mapping))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with nullcontext() if refused is None else pytest.raises(InputError, match=refused):
        load_model(tmp_path / "adapter", trainable=trainable)


OWN_CODE = ["config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"]


def loaders() -> dict[str, Callable[[Path], object]]:
    """Everything that takes the name of a model."""
    from affectgpt.inference.assistant import Assistant
    from affectgpt.llm.extract import LlmExtractor
    from affectgpt.llm.sentence_encoder import SentenceEncoder
    from affectgpt.model.assemble import assemble, load_image_processor
    from affectgpt.model.encoders import load_tower
    from affectgpt.model.loading import load_model, load_processor
    from affectgpt.plugins.parts.text_encoders import HubEncoder
    from data_recipes.transcribe.engines import load_transcriber
    from videmo.caption_judge import CaptionJudge
    from videmo.reward_model import RewardModel

    return {
        "load_model": load_model,
        "load_processor": load_processor,
        "assemble": lambda folder: assemble(folder / "parts", str(folder)),
        "load_tower": lambda folder: load_tower(str(folder)),
        "load_image_processor": lambda folder: load_image_processor(str(folder)),
        "Assistant": lambda folder: Assistant.from_pretrained(str(folder)),
        "HubEncoder": lambda folder: HubEncoder.of(str(folder)),
        "LlmExtractor": lambda folder: LlmExtractor(str(folder), engine="transformers"),
        "SentenceEncoder": lambda folder: SentenceEncoder(str(folder)),
        "load_transcriber": lambda folder: load_transcriber(str(folder), "transformers"),
        "CaptionJudge": lambda folder: CaptionJudge(str(folder)),
        "RewardModel": lambda folder: RewardModel(str(folder)),
    }


def test_a_model_with_code_of_its_own(bomb, tmp_path, monkeypatch, capsys):
    """Refused without a question: transformers would ask on standard input, where a script's next line stands."""
    kinds = ("Config", "Tokenizer", "Processor", "ImageProcessor", "FeatureExtractor", "VideoProcessor", "Model")
    heads = ("ForCausalLM", "ForMultimodalLM", "ForSequenceClassification", "ForImageTextToText")
    mapping: dict[str, Any] = {f"Auto{kind}": "evil.T" for kind in (*kinds, *(f"Model{head}" for head in heads))}
    mapping["AutoTokenizer"] = ["evil.T", "evil.T"]
    for place, (name, load) in enumerate(loaders().items()):
        folder = tmp_path / f"model{place}"
        folder.mkdir()
        for file in OWN_CODE:
            (folder / file).write_text(json.dumps({"model_type": "evil", "auto_map": mapping}))
        (folder / "model.safetensors").write_bytes(b"")
        (folder / "evil.py").write_text(f"from pathlib import Path\nPath({str(bomb.mark)!r}).touch()\nT = object\n")
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
        with pytest.raises(InputError, match=r"code of the model's own|custom code|expected whisper"):
            load(folder)
        assert not bomb.mark.exists(), name
    assert "[y/N]" not in capsys.readouterr().out


def test_a_chat_template_that_reaches_for_more(bomb, model):
    from affectgpt.model.loading import load_processor

    reach = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    (model / "chat_template.jinja").write_text(reach)
    processor = load_processor(model)
    processor.tokenizer.chat_template = reach
    with pytest.raises(InputError, match="access to attribute '__class__' of 'str' object is unsafe"):
        processor.render([{"role": "user", "content": "joy?"}])


def test_a_wording_that_reaches_for_more(tiny):
    """A model's folder brings the words of its plain prompt: they are filled in, not evaluated."""
    from affectgpt.model import AffectGPTProcessor

    wording = {"audio": "{audio.__class__.__mro__} {audio:>1000000000}", "subtitle": "{subtitle.__doc__}"}
    plain = AffectGPTProcessor(
        tokenizer=tiny.processor.tokenizer, num_tokens={"audio": 1}, prompt_style="paper", wording=wording
    )
    text = plain.render([{"role": "user", "content": "joy?"}], ("audio",), "Oh")
    assert "{audio.__class__.__mro__}" in text
    assert len(text) < 1000


def test_a_plugin(bomb, tmp_path):
    """A plugin's folder names a class that is installed, and holds nothing that is run."""
    from affectgpt.plugins.plugin import load_plugin

    (tmp_path / "evil.py").write_text(f"open({str(bomb.mark)!r}, 'w')")
    note = {"plugin": "evil:Plugin", "format": 1, "kind": "emotion", "card": {}}
    (tmp_path / "plugin.json").write_text(json.dumps(note))
    with pytest.raises(InputError, match="unknown plugin 'evil:Plugin'"):
        load_plugin(tmp_path)


@every_form
def test_a_whisper_checkpoint(bomb, write, tmp_path):
    pytest.importorskip("whisper")
    from data_recipes.transcribe.engines import load_transcriber

    write({"dims": bomb, "model_state_dict": bomb}, tmp_path / "whisper.pt")
    with pytest.raises(InputError, match=r"whisper\.pt"):
        load_transcriber(str(tmp_path / "whisper.pt"), "openai-whisper")


class TextAlone:
    """Rows without media."""

    def of(self, clips: list[Clip]) -> list[dict[str, Any]]:
        return [{} for _ in clips]


@pytest.fixture(scope="module")
def interrupted(tiny, tmp_path_factory) -> Callable[[Path], Any]:
    """`interrupted(folder)` runs a supervised stage from wherever the folder's checkpoints stand."""
    from affectgpt.inputs.reader import ClipReader
    from tests.support.stages import make_context
    from train.stages.dataset import StageDataset
    from train.stages.sft import SftStage
    from train.stages.sft_trainer import run_sft

    turns = [{"role": "user", "content": "joy?"}, {"role": "assistant", "content": "joy"}]
    clips = [Clip(id=str(row), messages=turns, task="text") for row in range(4)]

    def go(folder: Path, steps: int) -> Any:
        fixed = {"name": "one", "kind": "sft", "steps": steps, "batch_size": 2, "learning_rate": 1e-3, "save_steps": 1}
        stage = SftStage.model_validate({**fixed, "mixture": {"text": 1}})
        reader = ClipReader(tiny.processor, TextAlone())
        dataset = StageDataset(clips, [[0], [1], [2], [3]] * 2, reader)
        return run_sft(make_context(folder.parent, reader), stage, tiny.model().train(), dataset, folder, [])

    return go


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin", "extra.bin"])
def test_a_trainer_checkpoint(bomb, interrupted, name, tmp_path):
    """With a manifest that fits: it tells what was damaged, not what somebody wrote."""
    from train.fault_tolerance.checkpoint import MANIFEST, publish

    steps = tmp_path / "run" / "one.steps"
    steps.mkdir(parents=True)
    interrupted(steps, 1).finish_saving()
    place = steps / "checkpoint-1"
    assert (place / name).is_file() or name == "extra.bin"
    (place / MANIFEST).unlink()
    torch.save({"x": bomb}, place / name)
    draft = place.rename(steps / ".draft")
    publish(draft, place)
    if name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with pytest.raises(RunError, match=r"checkpoint-1 holds data that are not safe to load"):
            interrupted(steps, 2)
    else:  # never read
        assert interrupted(steps, 2).state.global_step == 2


@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_clip_that_opens_other_files(kind, tmp_path):
    """FFmpeg would follow a playlist to wherever it leads; the first reader is training's, the second the report's."""
    from affectgpt.media.decode import MediaError, read_video
    from affectgpt.media.sampling import Uniform
    from eval.report.clip import read_clip

    secret, clip = tmp_path / "elsewhere" / "secret.ts", tmp_path / "clips" / {"hls": "a.m3u8", "concat": "a.mp4"}[kind]
    for path in (secret, clip):
        path.parent.mkdir()
    with av.open(str(secret), "w") as file:
        stream = file.add_stream("mpeg2video", rate=25)
        stream.width = stream.height = 32  # type: ignore[attr-defined]
        frames = [av.VideoFrame.from_ndarray(np.full((32, 32, 3), shade, np.uint8)) for shade in range(20)]
        for frame in (*frames, None):
            file.mux(stream.encode(frame))  # type: ignore[attr-defined]
    shutil.copy(secret, clip.parent)
    clip.write_text(
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n"
        if kind == "hls"
        else "ffconcat version 1.0\nfile secret.ts\n"
    )
    with av.open(str(clip)) as followed:  # as it is without care
        assert len(list(followed.decode(video=0))) == 20
    with pytest.raises(MediaError):
        read_video(clip, Uniform(2))
    with pytest.raises(av.FFmpegError):
        read_clip(clip)


def test_a_processor_that_names_something_else(tmp_path):
    from affectgpt.model.video_patches import processor_without_torchvision

    named = {"processor_class": "pipeline", "patch_size": 4, "temporal_patch_size": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(named))
    with pytest.raises(InputError, match="only Qwen's can be replaced"):
        processor_without_torchvision(tmp_path)
