"""Speech to text by Whisper models, in whichever of three packages is installed: sound in, one line of text out.

All three decode greedily, and go to sampling only for a passage where that fails by Whisper's own rules (it repeats
itself, or is improbable); the random numbers start from the same seed for every sound. Packages are imported only when
they are used.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, cast

import numpy as np

from affectgpt.problems import InputError, Problem, nearest, shorten

SAMPLE_RATE = 16_000
Transcriber = Callable[[np.ndarray], str]
"""Function from sound, (samples,) float32 at SAMPLE_RATE, to its transcript on one line; empty without speech."""

_INAUDIBLE = 1e-3
"""Peak (-60 dB of full scale) below which sound is inaudible; Whisper would make up words."""
_TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def pick_engine(model: str) -> str:
    """Choose the engine that reads a model.

    A file is a checkpoint of openai-whisper. A folder, or `owner/name` of the Hub, is read by transformers where its
    config.json has a model type, and by faster-whisper where it has none (CTranslate2). A name like `small` is for
    faster-whisper where that is installed, for openai-whisper otherwise.

    Raises:
        InputError: the model is neither local nor on the Hub.
    """
    if Path(model).is_file():
        return "openai-whisper"
    if Path(model).is_dir() or "/" in model:
        return "transformers" if _model_type(model) else "faster-whisper"
    return "faster-whisper" if _is_installed("faster-whisper") else "openai-whisper"


def language_code(name: str) -> str:
    """Return Whisper's code of a language: `en` for `en`, `English` or `english`.

    Raises:
        InputError: Whisper does not know it.
    """
    from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

    code = TO_LANGUAGE_CODE.get(name.lower(), name.lower())
    if code not in LANGUAGES:
        advice = nearest(name.lower(), [*TO_LANGUAGE_CODE, *LANGUAGES])
        raise InputError(Problem("--language", "its value", "a language of Whisper, as in 'en'", repr(name), advice))
    return str(code)


def load_transcriber(model: str, engine: str, language: str | None = None) -> Transcriber:
    """Load a Whisper model, on the GPU if there is one.

    Args:
        model: a folder, a file, or a name that the engine knows.
        engine: one of `ENGINES`.
        language: code of the language; None lets the model detect it for each sound.

    Raises:
        InputError: the engine is not installed, cannot read the model, or the model does not know the language.
    """
    if not _is_installed(engine):
        raise _missing(engine)
    try:
        transcribe = ENGINES[engine](model, language)
    except InputError:
        raise
    except ImportError as error:
        raise _missing(engine, f"it, but {error}") from error
    except pickle.UnpicklingError as error:
        got = "a damaged one, or one that holds more than weights, which is not loaded"
        raise InputError(Problem(model, "--model", f"a checkpoint file of {engine}", got)) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise InputError(Problem(model, "--model", f"a Whisper model of {engine}", shorten(error, 400))) from error

    def on_one_line(sound: np.ndarray) -> str:
        return " ".join(transcribe(sound).split()) if np.abs(sound).max(initial=0) >= _INAUDIBLE else ""

    return on_one_line


def _faster_whisper(model: str, language: str | None) -> Transcriber:
    import ctranslate2  # type: ignore
    from faster_whisper import WhisperModel

    whisper = WhisperModel(model)
    _require_language(model, language, whisper.model.is_multilingual)

    def transcribe(sound: np.ndarray) -> str:
        ctranslate2.set_random_seed(0)
        segments, _ = whisper.transcribe(sound, language=language, beam_size=1, temperature=_TEMPERATURES)
        return "".join(segment.text for segment in segments)

    return transcribe


def _openai_whisper(model: str, language: str | None) -> Transcriber:
    import torch
    import whisper

    loaded = whisper.load_model(model)
    _require_language(model, language, loaded.is_multilingual)
    half = loaded.device.type == "cuda"

    def transcribe(sound: np.ndarray) -> str:
        torch.manual_seed(0)
        return str(loaded.transcribe(sound, language=language, temperature=_TEMPERATURES, fp16=half)["text"])

    return transcribe


def _transformers(model: str, language: str | None) -> Transcriber:
    import torch
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    if (kind := _model_type(model)) != "whisper":
        raise InputError(Problem(model, "model_type in config.json", "whisper", repr(kind)))
    cuda = torch.cuda.is_available()
    processor = AutoProcessor.from_pretrained(model, trust_remote_code=False)
    dtype = torch.float16 if cuda else torch.float32
    loading = WhisperForConditionalGeneration.from_pretrained(model, dtype=dtype, output_loading_info=True)
    loaded, info = cast("tuple[Any, dict[str, Any]]", loading)
    if missing := sorted(info["missing_keys"]):
        raise InputError(Problem(model, "its weights", "all of the model's", f"none for {', '.join(missing)}"))
    loaded.to("cuda" if cuda else "cpu").eval()
    settings = loaded.generation_config
    if not hasattr(settings, "no_timestamps_token_id"):  # as in checkpoints of early fine-tunings
        settings.no_timestamps_token_id = processor.tokenizer.convert_tokens_to_ids("<|notimestamps|>")
    options: dict[str, str | None] = {}
    if getattr(settings, "is_multilingual", True):
        if language is not None and f"<|{language}|>" not in getattr(settings, "lang_to_id", ()):
            got = "no such entry in lang_to_id"
            fix = "Leave out --language."
            raise InputError(Problem(model, "generation_config.json", f"the language '{language}'", got, fix))
        options["language"] = language
        if hasattr(settings, "task_to_id"):
            options["task"] = "transcribe"
    else:
        _require_language(model, language, multilingual=False)

    def transcribe(sound: np.ndarray) -> str:
        torch.manual_seed(0)
        # Sound beyond one window (30 s) is not cut off, but read window by window, from time stamp to time stamp.
        is_long = len(sound) > processor.feature_extractor.n_samples
        inputs = processor(
            sound,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            return_attention_mask=True,
            truncation=not is_long,
            padding="longest" if is_long else "max_length",
        ).to(loaded.device, loaded.dtype)
        with torch.inference_mode():
            tokens = loaded.generate(
                **inputs,
                **options,
                return_timestamps=is_long,
                temperature=_TEMPERATURES,
                compression_ratio_threshold=1.35,  # of tokens; 2.4 of characters in the other engines
                logprob_threshold=-1.0,
                no_speech_threshold=0.6,
            )
        return str(processor.batch_decode(tokens, skip_special_tokens=True)[0])

    return transcribe


ENGINES: dict[str, Callable[[str, str | None], Transcriber]] = {
    "faster-whisper": _faster_whisper,
    "openai-whisper": _openai_whisper,
    "transformers": _transformers,
}
"""Loaders by the name of their package, each from model and language to a transcriber."""


def _require_language(model: str, language: str | None, multilingual: bool) -> None:
    if not multilingual and language not in (None, "en"):
        raise InputError(Problem(model, "--language", "en, all that this model knows", repr(language)))


def _model_type(model: str) -> str | None:
    from transformers import PreTrainedConfig

    try:
        config, _ = PreTrainedConfig.get_config_dict(model)
    except (OSError, ValueError) as error:
        expected = "a folder with a config.json, or a model of the Hub"
        raise InputError(Problem(model, "--model", expected, shorten(error, 400))) from error
    return config.get("model_type")


def _is_installed(package: str) -> bool:
    # By distribution: more than one package on PyPI has a module called whisper.
    try:
        distribution(package)
    except PackageNotFoundError:
        return False
    return True


def _missing(engine: str, got: str = "nothing of that name") -> InputError:
    fix = f"Install it with: pip install {engine}"
    return InputError(Problem("--engine", engine, "an installed package", got, fix))
