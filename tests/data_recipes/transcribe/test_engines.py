"""Speech to text: tiny Whisper models of each engine that say a sentence they were built to say, and their choice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from affectgpt.clip import Clip, read_clips, write_clips
from affectgpt.problems import InputError
from data_recipes.transcribe import engines as transcribe
from data_recipes.transcribe.command import main
from data_recipes.transcribe.engines import SAMPLE_RATE, language_code, load_transcriber, pick_engine

WIDTH = 48
PROMPT = ("<|startoftranscript|>", "<|en|>", "<|transcribe|>")
SENTENCE = ("<|0.00|>", "Ġhello", "Ġthere", "<|endoftext|>")


def noise(seconds: float) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, int(seconds * SAMPLE_RATE)).astype(np.float32)


def script(model: torch.nn.Module, embedding: torch.Tensor, positions: torch.Tensor, ids: dict[str, int]) -> None:
    """Make a decoder say SENTENCE: what it hears is weak beside its positions, and each points at the next token."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(0.1)
        embedding.copy_(torch.randn(embedding.shape))
        positions[0] = 30 * embedding[ids["<|en|>"]]  # where the language is found out
        for index, token in enumerate(SENTENCE, start=len(PROMPT) - 1):
            positions[index] = 30 * embedding[ids[token]]


def save_whisper(folder: Path, seconds: int = 1, multilingual: bool = True) -> Path:
    """A checkpoint of transformers whose window is that many seconds, with a tokenizer of bytes and a few words."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperProcessor,
        WhisperTokenizer,
    )

    specials = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>"]
    specials += ["<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    specials += [f"<|{0.02 * step:.2f}|>" for step in range(50 * seconds + 1)]
    words = [*sorted(ByteLevel.alphabet()), "Ġhello", "Ġthere"]
    ids = {token: number for number, token in enumerate([*words, *specials])}
    tokenizer = WhisperTokenizer(vocab={word: ids[word] for word in words}, merges=[], pad_token="<|endoftext|>")
    tokenizer.add_tokens(specials, special_tokens=True)
    assert tokenizer.convert_tokens_to_ids(specials) == [ids[token] for token in specials]
    config = WhisperConfig(
        vocab_size=len(ids),
        num_mel_bins=80,
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_source_positions=50 * seconds,
        max_target_positions=24,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(config)
    script(model, model.model.decoder.embed_tokens.weight, model.model.decoder.embed_positions.weight, ids)
    settings = model.generation_config
    settings._from_model_config = False
    settings.max_length = config.max_target_positions
    settings.is_multilingual = multilingual
    settings.no_timestamps_token_id = ids["<|notimestamps|>"]
    settings.max_initial_timestamp_index = 50
    settings.alignment_heads = [[0, 0]]
    if multilingual:
        settings.lang_to_id = {token: ids[token] for token in ("<|en|>", "<|de|>")}
        settings.task_to_id = {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")}
    model.save_pretrained(folder)
    WhisperProcessor(WhisperFeatureExtractor(chunk_length=seconds), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_whisper(tmp_path_factory.mktemp("whisper"))


# transformers


@pytest.mark.parametrize("language", [None, "en", "de"])
def test_transformers(checkpoint: Path, language: str | None) -> None:
    assert load_transcriber(str(checkpoint), "transformers", language)(noise(0.5)) == "hello there"


def test_long_sound_is_read_window_by_window(checkpoint: Path) -> None:
    hear = load_transcriber(str(checkpoint), "transformers")
    assert hear(noise(1.0)) == "hello there"
    assert hear(noise(2.7)) == "hello there hello there hello there"


def test_what_a_model_is_asked_for(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def generate(self: Any, **settings: Any) -> torch.Tensor:
        asked.append({**settings, "seed": torch.initial_seed(), "dtype": self.dtype})
        return torch.zeros(1, 1, dtype=torch.long)

    monkeypatch.setattr(WhisperForConditionalGeneration, "generate", generate)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    hear = load_transcriber(str(checkpoint), "transformers", "de")
    for seconds in (0.5, 2.7):
        torch.manual_seed(5)  # what was drawn before does not matter
        hear(noise(seconds))
    for settings in asked:
        assert (settings["seed"], settings["language"], settings["task"]) == (0, "de", "transcribe")
        assert settings["dtype"] == torch.float32
        assert settings["temperature"] == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    # Steps of 10 ms: half a second of the second that a window has, and all of the long sound.
    assert [(item["input_features"].shape[-1], int(item["attention_mask"].sum())) for item in asked] == [
        (100, 50),
        (270, 270),
    ]
    assert [settings["return_timestamps"] for settings in asked] == [False, True]
    load_transcriber(str(checkpoint), "transformers")(noise(0.5))
    assert asked[2]["language"] is None


def test_an_english_model(tmp_path: Path) -> None:
    folder = str(save_whisper(tmp_path, multilingual=False))
    # Its prompt is shorter by language and task, so the sentence starts in other places; that it speaks is enough.
    load_transcriber(folder, "transformers", "en")(noise(0.5))
    with pytest.raises(InputError, match=r"--language: expected en, all that this model knows, got 'de'"):
        load_transcriber(folder, "transformers", "de")


def test_the_model_must_know_the_language(checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"generation_config.json: expected the language 'fr'.*Leave out --language"):
        load_transcriber(str(checkpoint), "transformers", "fr")


@pytest.mark.parametrize("sound", [np.zeros(8000, np.float32), np.full(8000, 1e-4, np.float32)])
def test_in_silence_nothing_is_said(checkpoint: Path, sound: np.ndarray) -> None:
    assert load_transcriber(str(checkpoint), "transformers")(sound) == ""


def test_other_models_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(InputError, match=r"model_type in config.json: expected whisper, got 'bert'"):
        load_transcriber(str(tmp_path), "transformers")


def test_a_checkpoint_without_all_weights_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.encoder.conv1.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"all of the model's, got none for model.encoder.conv1.weight"):
        load_transcriber(str(tmp_path), "transformers")


def test_a_checkpoint_without_files_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    with pytest.raises(InputError, match=r"--model: expected a Whisper model of transformers, got"):
        load_transcriber(str(tmp_path), "transformers")


def test_a_checkpoint_with_an_early_generation_config(checkpoint: Path, tmp_path: Path) -> None:
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "generation_config.json").read_text())
    for name in ("no_timestamps_token_id", "lang_to_id", "task_to_id", "is_multilingual"):
        del settings[name]
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    # Without language and task its prompt is shorter, so the sentence starts elsewhere; that it speaks is enough.
    hear = load_transcriber(str(tmp_path), "transformers")
    assert all(isinstance(hear(noise(seconds)), str) for seconds in (0.5, 2.5))


# The other engines


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint file of openai-whisper, whose vocabulary is the published one."""
    whisper = pytest.importorskip("whisper")
    from whisper.tokenizer import get_tokenizer

    dims = whisper.ModelDimensions(
        n_mels=80,
        n_audio_ctx=1500,
        n_audio_state=WIDTH,
        n_audio_head=2,
        n_audio_layer=1,
        n_vocab=51865,
        n_text_ctx=24,
        n_text_state=WIDTH,
        n_text_head=2,
        n_text_layer=1,
    )
    model = whisper.model.Whisper(dims)
    tokens = get_tokenizer(multilingual=True).encoding
    ids = {token: tokens.encode_single_token(token.replace("Ġ", " ")) for token in (*SENTENCE, "<|en|>")}
    torch.nn.init.zeros_(model.decoder.positional_embedding)
    script(model, model.decoder.token_embedding.weight, model.decoder.positional_embedding, ids)
    path = tmp_path_factory.mktemp("openai") / "tiny.pt"
    torch.save({"dims": vars(dims), "model_state_dict": model.state_dict()}, path)
    return path


@pytest.mark.parametrize("language", [None, "de"])
def test_openai_whisper(file: Path, language: str | None) -> None:
    assert pick_engine(str(file)) == "openai-whisper"
    assert load_transcriber(str(file), "openai-whisper", language)(noise(0.5)) == "hello there"


def test_openai_whisper_runs_no_code_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("whisper")
    torch.save({"dims": {}, "model_state_dict": {"weight": Path("x")}}, tmp_path / "evil.pt")
    with pytest.raises(InputError, match=r"got a damaged one, or one that holds more than weights"):
        load_transcriber(str(tmp_path / "evil.pt"), "openai-whisper")


def test_openai_whisper_explains_what_is_no_model(tmp_path: Path) -> None:
    pytest.importorskip("whisper")
    for name, content in {"empty.pt": b"", "text.pt": b"no model"}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"expected a .* of openai-whisper, got"):
            load_transcriber(str(tmp_path / name), "openai-whisper")
    with pytest.raises(InputError, match=r"expected a Whisper model of openai-whisper, got .*not found"):
        load_transcriber("tinny", "openai-whisper")


def test_faster_whisper(tmp_path: Path) -> None:
    pytest.importorskip("faster_whisper")
    from ctranslate2.converters import TransformersConverter
    from transformers import WhisperFeatureExtractor

    folder = save_whisper(tmp_path / "transformers", seconds=30)
    WhisperFeatureExtractor().save_pretrained(folder)
    copied = ["tokenizer.json", "preprocessor_config.json"]
    TransformersConverter(str(folder), copy_files=copied).convert(str(tmp_path / "converted"))
    assert pick_engine(str(tmp_path / "converted")) == "faster-whisper"
    # CTranslate2 starts this unnatural decoder elsewhere in its script: a few characters come first.
    assert load_transcriber(str(tmp_path / "converted"), "faster-whisper", "en")(noise(0.5)).endswith("hello there")


# Which engine, which language


def test_the_engine_goes_by_the_model(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text('{"lang_ids": []}')
    assert pick_engine(str(checkpoint)) == "transformers"
    assert pick_engine(str(tmp_path)) == "faster-whisper"
    assert pick_engine(str(tmp_path / "config.json")) == "openai-whisper"
    for present in (True, False):
        monkeypatch.setattr(transcribe, "_is_installed", lambda package, present=present: present)
        assert pick_engine("small") == ("faster-whisper" if present else "openai-whisper")


@pytest.mark.parametrize("model", ["nobody/nothing", "nowhere/tiny/model"])
def test_a_model_that_is_nowhere(model: str) -> None:
    with pytest.raises(InputError, match=rf"{model}: --model: expected a folder with a config.json, or a model of the"):
        pick_engine(model)


def test_an_engine_that_is_missing(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "_is_installed", lambda package: False)
    with pytest.raises(InputError, match=r"faster-whisper.*Install it with: pip install faster-whisper"):
        load_transcriber("small", "faster-whisper")


def test_an_engine_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "_is_installed", lambda package: True)
    monkeypatch.setitem(sys.modules, "whisper", None)
    with pytest.raises(InputError, match=r"got it, but .*whisper.*Install it with: pip install openai-whisper"):
        load_transcriber("small", "openai-whisper")


def test_languages() -> None:
    assert [language_code(name) for name in ("en", "EN", "English", "mandarin", "yue")] == ["en"] * 3 + ["zh", "yue"]
    with pytest.raises(InputError, match=r"a language of Whisper.*got 'germann'.*Did you mean 'german'"):
        language_code("germann")


# The command with a real model


def test_the_command(
    checkpoint: Path, tmp_path: Path, write_mp4: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_mp4(tmp_path / "a.mp4")
    turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "Joy."}]
    write_clips(tmp_path / "rows.jsonl", [Clip(id="a", task="text", messages=turns, video=tmp_path / "a.mp4")])
    rows, out = str(tmp_path / "rows.jsonl"), str(tmp_path / "new.jsonl")
    assert main([rows, "--model", str(checkpoint), "--out", out, "--language", "english", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"rows": 1, "transcribed": 1, "kept": 0, "silent": 0, "bad": []}
    assert "1/1 sounds" in printed.err
    assert [clip.subtitle for clip in read_clips(out)] == ["hello there"]


def test_nothing_heavy_is_imported_before_it_is_used() -> None:
    code = (
        "import sys, data_recipes.transcribe.command; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
