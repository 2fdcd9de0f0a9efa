"""Loading of models to train or ask: a saved AffectGPT, a folder of parts, a LoRA adapter, a model of the Hub.

Models of the Hub are video-language models and language models that read text alone, these also as GGUF files.
"""

from __future__ import annotations

import importlib.util
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import affectgpt.model  # noqa: F401  (registers the Auto classes)
from affectgpt.model.adapters import ADAPTER, adapter_settings, base_of, fetched, require_adapter_weights
from affectgpt.model.gguf import load_causal, located
from affectgpt.model.refusals import explains_refusals
from affectgpt.model.video_patches import processor_without_torchvision
from affectgpt.problems import InputError, Problem, shorten

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"]
_COPY = "Copy or download the model again."
_UNLOADABLE = (
    *(OSError, ValueError, LookupError, ImportError, RuntimeError, SafetensorError, StrictDataclassError),
    *(TypeError, AttributeError, ArithmeticError, AssertionError, struct.error),
)
"""Errors that transformers raises for files that it cannot use, of a configuration that makes no sense among them."""


def resolve_dtype(dtype: Precision = "auto") -> torch.dtype:
    """Return the torch dtype; 'auto' is bfloat16 on a GPU that supports it, else float32."""
    if dtype == "auto":
        on_gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if on_gpu else torch.float32
    return cast(torch.dtype, getattr(torch, dtype))


def resolve_attention(attention: Attention, dtype: torch.dtype) -> str:
    """Return the attention implementation; 'auto' is flash attention if available for GPU and dtype, else SDPA.

    A language model whose class knows neither (Gemma 2, GPT-OSS, Bloom, Mamba) gets 'eager' for 'auto'.
    """
    if attention != "auto":
        return attention
    able = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    half = dtype in (torch.bfloat16, torch.float16)
    return "flash_attention_2" if able and half and importlib.util.find_spec("flash_attn") else "sdpa"


def _known_attention(config: Any, chosen: str) -> str:
    """Return the chosen attention if a language model's class knows it, else the nearest that it knows."""
    writers: Any = AutoModelForCausalLM._model_mapping
    writer = writers.get(type(config), None)
    if chosen == "flash_attention_2" and not getattr(writer, "_supports_flash_attn", False):
        chosen = "sdpa"
    return chosen if chosen != "sdpa" or getattr(writer, "_supports_sdpa", False) else "eager"


def quantization(bits: int | None, dtype: torch.dtype) -> dict[str, Any]:
    """Return the arguments of `from_pretrained` that load a language model in 4 or 8 bits (QLoRA).

    Raises:
        InputError: bitsandbytes is not installed.
    """
    if bits is None:
        return {}
    if importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(
            f"model.lora.bits: {bits} needs bitsandbytes and a GPU. Install it with: pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    if bits == 8:
        return {"quantization_config": BitsAndBytesConfig(load_in_8bit=True)}
    return {
        "quantization_config": BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    }


@explains_refusals
def load_model(
    source: str | Path,
    dtype: Precision = "auto",
    attention: Attention = "auto",
    bits: int | None = None,
    trainable: bool = False,
    as_stored: bool = False,
) -> PreTrainedModel:
    """Load a model from a folder or Hub id; a LoRA adapter is loaded on top of the model that it adapts.

    Args:
        dtype, attention: see `resolve_dtype` and `resolve_attention`.
        bits: 4 or 8 loads the language model quantised.
        trainable: whether an adapter's weights will be trained.
        as_stored: leave the weights in the dtype of their file, to be cast to `dtype` later; without an adapter.

    Raises:
        InputError: a folder without a model, a model that writes no text or that has code of its own; says what is
            missing.
    """
    folder = fetched(source)
    if adapter_settings(folder) is not None:
        return _load_adapter(folder, dtype, attention, bits, trainable)
    require_model(source)
    where, file = located(source)
    precision = resolve_dtype(dtype)
    arguments = {
        "dtype": "auto" if as_stored else precision,
        "attn_implementation": resolve_attention(attention, precision),
        **quantization(bits, precision),
    }
    if file and bits is not None:
        fix = "Leave model.lora.bits out, or take the model's safetensors."
        raise InputError(Problem(str(source), "model.lora.bits", "none with a GGUF file", str(bits), fix))
    with _explained(source, "the model"):
        config: Any = AutoConfig.from_pretrained(where, trust_remote_code=False, **file)
        # Of Qwen's Omni models, the part that reads and writes; the part that speaks is not trained.
        thinker = getattr(config, "thinker_config", None)
        if file or reads_text_alone(thinker or config):
            if attention == "auto":
                arguments["attn_implementation"] = _known_attention(config, arguments["attn_implementation"])
            return _load_language_model(source, config, arguments)
        arguments |= {"config": thinker} if thinker is not None else {}
        model = AutoModelForMultimodalLM.from_pretrained(where, trust_remote_code=False, **arguments)
        return cast(PreTrainedModel, model)


def _load_adapter(
    folder: Path, dtype: Precision, attention: Attention, bits: int | None, trainable: bool
) -> PreTrainedModel:
    """Load an adapter on top of the model that it adapts."""
    from peft import PeftModel

    require_adapter_weights(folder)
    base_source = model_folder(folder)
    try:
        base = load_model(base_source, dtype, attention, bits)
    except InputError as error:
        advice = f"It is the model that the adapter {folder} adapts, by its {ADAPTER}."
        raise InputError(error.problems, advice) from error
    with _explained(folder, "the adapter"):
        model: Any = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    # The trained model is saved elsewhere, where a relative path would lead nowhere.
    model.peft_config[model.active_adapter].base_model_name_or_path = str(base_source)
    return cast(PreTrainedModel, model)


def _load_language_model(source: str | Path, config: Any, arguments: dict[str, Any]) -> PreTrainedModel:
    """Load a causal language model that reads text alone; every weight comes from safetensors or a GGUF file."""
    _require_writer(source, config)
    model, report = load_causal(source, config=config, use_safetensors=True, **arguments)
    if missing := sorted(report["missing_keys"]):
        got = f"all but {len(missing)}, such as {missing[0]}"
        raise InputError(Problem(str(source), "its weights", "those that its configuration names", got, _COPY))
    return model


def reads_text_alone(config: Any) -> bool:
    """Tell whether a model is no AffectGPT, nor any other that transformers gives pictures or sound."""
    return type(config) not in AutoModelForMultimodalLM._model_mapping


def _require_writer(source: str | Path, config: Any) -> None:
    """Refuse, before weights are read, what writes no text: encoders, classifiers, reward models.

    Raises:
        InputError: names the classes that the model was saved by.
    """
    writers: Any = AutoModelForCausalLM._model_mapping
    writer = writers[type(config)].__name__ if type(config) in writers else None
    saved_by = config.architectures or ([writer] if writer else [])
    if writer not in saved_by:
        expected = "a causal language model, or one that looks at videos"
        got = f"{config.model_type} ({', '.join(saved_by) or 'without a class'})"
        raise InputError(Problem(str(source), "the model", expected, got, "Take a model that writes text."))


@contextmanager
def _explained(source: str | Path, what: str) -> Iterator[None]:
    """Say in a sentence why transformers cannot load something.

    Refusals to run code pass, see `explains_refusals`, and so do errors about the machine's memory and its GPU.
    """
    try:
        yield
    except InputError:
        raise
    except _UNLOADABLE as error:
        text = str(error)
        of_machine = isinstance(error, RuntimeError) and any(word in text for word in ("memory", "CUDA"))
        if of_machine or "trust_remote_code" in text or "weights_only" in text or "torchvision" in text.lower():
            raise
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if isinstance(error, TypeError | AttributeError | LookupError | ArithmeticError | AssertionError) or not lines:
            lines = [type(error).__name__, *lines]
        fix = "Look at its files, or at how the Hub id is spelt, or take another model."
        problem = Problem(str(source), what, "files that transformers can load", shorten(" ".join(lines), 300), fix)
        raise InputError(problem) from error


def model_folder(source: str | Path) -> str | Path:
    """Return the source of the whole model: for an adapter, the model that it adapts (a folder or Hub id).

    Raises:
        InputError: an adapter whose settings cannot be used, or whose model is not there.
    """
    passed: list[Path] = []
    while (settings := adapter_settings(folder := fetched(source))) is not None:
        if folder.resolve() in passed:
            raise InputError(
                Problem(str(folder / ADAPTER), "base_model_name_or_path", "the adapted model", "the adapter itself")
            )
        passed.append(folder.resolve())
        source = base_of(folder, settings)
    return source


def load_config(source: str | Path) -> PreTrainedConfig:
    """Load the configuration of a model; for an adapter, of the model that it adapts.

    Raises:
        InputError: there is none that transformers can load.
    """
    where, file = located(model_folder(source))
    with _explained(source, "its configuration"):
        return cast(PreTrainedConfig, AutoConfig.from_pretrained(where, trust_remote_code=False, **file))


def weight_files(source: str | Path) -> list[Path]:
    """Return the files in which a local source keeps its weights, sorted; of a Hub id there are none."""
    path = Path(source)
    return [path] if path.is_file() else sorted(path.glob("*.safetensors")) or sorted(path.glob("*.gguf"))


@explains_refusals
def load_processor(source: str | Path) -> Any:
    """Load the processor of a model; of one that reads text alone, its tokenizer.

    Without torchvision, the video processor of Qwen's models is replaced by our own.

    Raises:
        InputError: there is none, or one with code of its own.
    """
    folder = fetched(source)
    whole = adapter_settings(folder) is None or (folder / "processor_config.json").is_file()
    where, file = located(folder if whole else model_folder(folder))
    try:
        with _explained(source, "the processor"):
            # A GGUF file holds the tokenizer of a language model, and no other processor.
            kind: Any = AutoTokenizer if file else AutoProcessor
            processor: Any = kind.from_pretrained(where, trust_remote_code=False, **file)
    except (ImportError, ValueError) as error:
        if isinstance(error, InputError) or "torchvision" not in str(error).lower():
            raise
        return processor_without_torchvision(where)
    if isinstance(processor, PreTrainedTokenizerBase):
        _require_tokenizer(source, processor)
    return processor


def _require_tokenizer(source: str | Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse the empty tokenizer that transformers makes of a folder without the files of one, and one without an end.

    Raises:
        InputError: says which.
    """
    if not tokenizer("a")["input_ids"]:
        expected, got = "the files of one, such as tokenizer.json", "none"
    elif tokenizer.eos_token_id is None:
        expected, got = "an end token (eos_token)", "none"
    else:
        return
    raise InputError(Problem(str(source), "the tokenizer", expected, got, _COPY))


def _shards_of(index: Path) -> list[str]:
    """Read the names of the weight files from an index.

    Raises:
        InputError: the index cannot be read.
    """
    try:
        return sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        expected, got = "JSON whose 'weight_map' names a file for each weight", shorten(str(error))
        raise InputError(Problem(str(index), "the index", expected, got, _COPY)) from None


def require_model(source: str | Path) -> None:
    """Require that a local folder holds a whole model; Hub ids are not checked.

    Raises:
        InputError: something is missing; says what, and what to run.
    """
    folder = Path(source)
    if located(source)[1]:
        return
    if not folder.is_dir():
        if folder.is_absolute() or str(source).startswith(".") or str(source).count("/") > 1:
            raise InputError(f"{source}: expected a model folder, found nothing. Name a checkpoint or a Hub id.")
        return
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: expected config.json of a model, found none. A finished stage of a run is in "
            "RUN/checkpoints/STAGE."
        )
    whole = ["model.safetensors", "soft_tokens.safetensors"]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        shards = _shards_of(index)
        if foreign := [name for name in shards if Path(name).name != name or not name.endswith(".safetensors")]:
            expected = "names of .safetensors files beside it"
            raise InputError(Problem(str(index), "weight_map", expected, shorten(foreign[0])))
        if lost := [name for name in shards if not (folder / name).is_file()]:
            raise InputError(
                f"{folder}: expected {len(shards)} weight files, {', '.join(lost)} missing. Copy or download the "
                "checkpoint again."
            )
    elif not any((folder / name).is_file() for name in whole):
        raise InputError(
            f"{folder}: expected its weights ({whole[0]}, or {whole[1]} of a folder of parts), found "
            f"{', '.join(sorted(path.name for path in folder.iterdir()))}. Copy or download the checkpoint again."
        )
