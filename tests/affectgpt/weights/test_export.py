import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from affectgpt.clip import Clip, write_clips
from affectgpt.inference.assistant import Assistant
from affectgpt.model.loading import load_model, load_processor
from affectgpt.problems import InputError
from affectgpt.weights import command, export
from affectgpt.weights.command import export_main
from tests.support.hub_models import KINDS, tiny_hub_model
from train.config.model import LoraSettings
from train.model_setup import add_adapter

QUESTION = "What does this person feel?"


def save_adapter(base, folder, strength=0.1):
    """A checkpoint of an adapter, whose every weight differs from those it began with."""
    adapted = add_adapter(load_model(base), LoraSettings(r=2))
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _, value in adapted.named_parameters():
            if value.requires_grad:
                value += strength * torch.randn(value.shape, generator=rng)
    adapted.save_pretrained(folder)
    load_processor(base).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(tiny, tmp_path):
    return save_adapter(tiny.folder, tmp_path / "adapter")


def test_an_adapter_becomes_a_model_of_its_own(tiny, adapter, tmp_path, write_mp4, capsys):
    out = tmp_path / "model"
    video = write_mp4(tmp_path / "a.mp4")
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "joy"}]
    rows = tmp_path / "rows" / "rows.jsonl"
    write_clips(rows, [Clip(id="a", messages=turns, task="text", video=video)], tmp_path)
    argv = [adapter, "--out", out, "--check-rows", rows, "--media-root", rows.parent / "..", "--json"]
    assert export_main([*map(str, argv)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["dtype"], report["prompts"], report["tolerance"]) == ("float32", 5, 1e-4)
    assert 0 < report["max_difference"] < 1e-4
    names = {path.name for path in out.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "processor_config.json"} <= names
    assert {"vision", "audio", "tokenizer.json", "chat_template.jinja"} <= names
    assert not any("lora" in name for name in load_file(out / "model.safetensors"))
    whole, adapted, base = (Assistant.from_pretrained(place) for place in (out, adapter, tiny.folder))
    features = whole.encode(video=video)
    said = [item.ask(QUESTION, features=features, max_new_tokens=12) for item in (whole, adapted, base)]
    assert said[0] == said[1] != said[2]
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []


def test_towers_come_along_and_no_folder_of_this_machine_is_named(tiny, tmp_path):
    """From a checkpoint that only says where its towers are, and whose configurations name other folders too."""
    model = tiny.model()
    model.config.sources = {part: {**tiny.sources[part], "id": str(tiny.folder / part)} for part in ("vision", "audio")}
    model.config.sources["llm"] = {"id": "Qwen/Qwen3-8B", "revision": None}
    model.config.vision_config._name_or_path = str(tiny.folder / "vision")
    model.config.text_config.tokenizer_file = str(tmp_path / "tokenizer.json")
    model.save_pretrained(tmp_path / "stage")
    tiny.processor.save_pretrained(tmp_path / "stage")
    report = export.export(tmp_path / "stage", tmp_path / "out")
    assert report["max_difference"] == 0
    assert (tmp_path / "out" / "vision" / "model.safetensors").is_file()
    assert load_model(tmp_path / "out").config.sources == {
        **tiny.sources,
        "llm": {"id": "Qwen/Qwen3-8B", "revision": None},
    }
    texts = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "out").rglob("*.json*")}
    assert len(texts) > 5
    for path, text in texts.items():
        assert str(tiny.folder) not in text, path
        assert str(tmp_path) not in text, path
        assert str(Path.home()) not in text, path


def test_an_exported_adapter_names_no_folder_of_this_machine(adapter, tiny, tmp_path):
    export.export(adapter, tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.json*"):
        text = path.read_text(encoding="utf-8")
        assert str(tmp_path) not in text, path
        assert str(tiny.folder) not in text, path


def test_half_precision(tiny, tmp_path):
    adapter = save_adapter(tiny.folder, tmp_path / "adapter", strength=0.02)
    report = export.export(adapter, tmp_path / "out", "bfloat16")
    assert (report["dtype"], report["tolerance"]) == ("bfloat16", 5e-2)
    kept = load_file(tmp_path / "out" / "model.safetensors")
    assert kept["model.language_model.layers.0.self_attn.q_proj.weight"].dtype == torch.bfloat16
    assert export.stored_precision(tmp_path / "out") == "bfloat16"


def test_weights_are_kept_in_the_precision_that_they_have(tiny, tmp_path):
    tiny.model().bfloat16().save_pretrained(tmp_path / "half")
    tiny.processor.save_pretrained(tmp_path / "half")
    tiny.encoder.save_pretrained(tmp_path / "half")
    assert export.export(tmp_path / "half", tmp_path / "out")["dtype"] == "bfloat16"
    assert export.stored_precision(tmp_path / "out") == "bfloat16"


def test_the_options_are_followed(tmp_path, monkeypatch, capsys):
    asked = []
    report = {"dtype": "bfloat16", "prompts": 9, "max_difference": 0.0, "tolerance": 0.05}
    monkeypatch.setattr(command, "export", lambda *given: asked.append(given) or dict(report))
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "joy"}]
    write_clips(tmp_path / "rows.jsonl", [Clip(id=str(place), messages=turns, task="text") for place in range(10)])
    argv = ["run", "--out", tmp_path / "out", "--dtype", "bfloat16", "--check-rows", tmp_path / "rows.jsonl"]
    assert command.export_main([*map(str, argv), "--json"]) == 0
    ((source, out, dtype, rows),) = asked
    assert (source, out, dtype) == ("run", tmp_path / "out", "bfloat16")
    assert [row.id for row in rows] == list("01234567")
    assert json.loads(capsys.readouterr().out).items() >= report.items()


@torch.no_grad()
def test_models_are_compared_by_what_comes_after_each_prompt(tiny):
    model = tiny.model()
    found = export.trial(model, tiny.processor, None)
    assert len(found.ids) == len(export.QUESTIONS)
    for ids, logits in zip(found.ids, found.logits, strict=True):
        torch.testing.assert_close(logits, model(input_ids=torch.tensor([ids])).logits[0, -1])
    with_features = export.trial(model, tiny.processor, tiny.encoder)
    assert sum(tiny.ids["face"] in ids for ids in with_features.ids) == len(export.QUESTIONS)


def test_a_merge_that_goes_wrong_leaves_nothing(adapter, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "merged", lambda model: model.unload())
    with pytest.raises(InputError, match=r"logits on prompt \d of 4 differ by .*at most 0.0001 in float32"):
        export.export(adapter, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_another_prompt_is_found(adapter, tmp_path, monkeypatch):
    real = export.load_processor

    def changed(source):
        processor = real(source)
        if "part" in str(source):
            processor.tokenizer.chat_template = processor.tokenizer.chat_template.replace("assistant", "robot")
        return processor

    monkeypatch.setattr(export, "load_processor", changed)
    with pytest.raises(InputError, match="prompt 1 of 4 becomes other ids"):
        export.export(adapter, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_other_towers_are_found(tiny, adapter, tmp_path, monkeypatch):
    from affectgpt.model.clip_encoder import ClipEncoder

    save = ClipEncoder.save_pretrained

    def other(self, folder):
        self.towers = tiny.towers(seed=1)
        save(self, folder)

    monkeypatch.setattr(ClipEncoder, "save_pretrained", other)
    with pytest.raises(InputError, match="expected the vision tower that the model was trained with"):
        export.export(adapter, tmp_path / "out")


def test_a_name_that_is_taken_is_refused(tiny, tmp_path):
    with pytest.raises(InputError, match="a name that is free"):
        export.export(tiny.folder, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_video_model_of_the_hub(kind, tmp_path, write_mp4):
    base = tiny_hub_model(kind, tmp_path / "base")
    adapter = save_adapter(base, tmp_path / "adapter")
    turns = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "joy"}]
    row = Clip(id="a", messages=turns, task="text", video=write_mp4(tmp_path / "a.mp4"))
    report = export.export(adapter, tmp_path / "out", rows=[row])
    assert report["prompts"] == 3
    assert 0 < report["max_difference"] < 1e-4
    whole, adapted = Assistant.from_pretrained(tmp_path / "out"), Assistant.from_pretrained(adapter)
    assert whole.ask(QUESTION, video=row.video) == adapted.ask(QUESTION, video=row.video)
