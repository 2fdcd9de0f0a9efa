"""Loading of models: a saved AffectGPT, a folder of parts, a LoRA adapter, a video-language model of the Hub."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, Literal, cast

import torch
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor, PreTrainedModel

import affectgpt.model  # noqa: F401  (registers the Auto classes)
from affectgpt.model.refusals import explains_refusals
from affectgpt.model.video_patches import processor_without_torchvision
from affectgpt.problems import InputError, Problem, shorten

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Attention = Literal["auto", "eager", "sdpa", "flash_attention_2", "flex_attention"]
ADAPTER = "adapter_config.json"


def resolve_dtype(dtype: Precision = "auto") -> torch.dtype:
    """Return the torch dtype; 'auto' is bfloat16 on a GPU that supports it, else float32."""
    if dtype == "auto":
        on_gpu = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if on_gpu else torch.float32
    return cast(torch.dtype, getattr(torch, dtype))


def resolve_attention(attention: Attention, dtype: torch.dtype) -> str:
    """Return the attention implementation; 'auto' is flash attention if available for GPU and dtype, else SDPA."""
    if attention != "auto":
        return attention
    able = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)
    half = dtype in (torch.bfloat16, torch.float16)
    return "flash_attention_2" if able and half and importlib.util.find_spec("flash_attn") else "sdpa"


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
) -> PreTrainedModel:
    """Load a model from a folder or Hub id; a LoRA adapter is loaded on top of the model that it adapts.

    Args:
        dtype, attention: see `resolve_dtype` and `resolve_attention`.
        bits: 4 or 8 loads the language model quantised.
        trainable: whether an adapter's weights will be trained.

    Raises:
        InputError: a folder without a complete model, or a model with code of its own; says what is missing.
    """
    adapter = Path(source, ADAPTER)
    if adapter.is_file():
        from peft import PeftModel

        _require_lora(adapter)
        base_source = model_folder(source)
        base = load_model(base_source, dtype, attention, bits)
        model: Any = PeftModel.from_pretrained(base, str(source), is_trainable=trainable)
        # The trained model is saved elsewhere, where a relative path would lead nowhere.
        model.peft_config[model.active_adapter].base_model_name_or_path = str(base_source)
        return cast(PreTrainedModel, model)
    require_model(source)
    precision = resolve_dtype(dtype)
    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    # Of Qwen's Omni models, only the part that reads and writes is trained, not the part that speaks.
    thinker = getattr(config, "thinker_config", None)
    arguments = {"config": thinker} if thinker is not None else {}
    model = AutoModelForMultimodalLM.from_pretrained(
        source,
        dtype=precision,
        attn_implementation=resolve_attention(attention, precision),
        trust_remote_code=False,
        **arguments,
        **quantization(bits, precision),
    )
    return cast(PreTrainedModel, model)


def _require_lora(adapter: Path) -> None:
    """Accept LoRA adapters only: the settings of other kinds could name modules that PEFT imports."""
    settings = json.loads(adapter.read_text(encoding="utf-8"))
    if settings.get("peft_type") != "LORA":
        raise InputError(Problem(str(adapter), "peft_type", "'LORA'", shorten(settings.get("peft_type"))))
    if settings.get("megatron_config"):
        raise InputError(Problem(str(adapter), "megatron_config", "none", "one, which names a module to import"))


def model_folder(source: str | Path) -> str | Path:
    """Return the source of the whole model: for an adapter, the model that it adapts (a folder or Hub id)."""
    adapter = Path(source, ADAPTER)
    if not adapter.is_file():
        return source
    base = json.loads(adapter.read_text())["base_model_name_or_path"]
    beside = Path(source, base).absolute()
    return model_folder(beside if beside.is_dir() else base)


@explains_refusals
def load_processor(source: str | Path) -> Any:
    """Load the processor of a model; without torchvision, our own video processor replaces that of Qwen's models."""
    if Path(source, ADAPTER).is_file() and not Path(source, "processor_config.json").is_file():
        source = model_folder(source)
    try:
        return AutoProcessor.from_pretrained(source, trust_remote_code=False)
    except (ImportError, ValueError) as error:
        if "torchvision" not in str(error).lower():
            raise
        return processor_without_torchvision(source)


def require_model(source: str | Path) -> None:
    """Require that a local folder holds a whole model; Hub ids are not checked.

    Raises:
        InputError: something is missing; says what, and what to run.
    """
    folder = Path(source)
    if not folder.is_dir():
        if folder.is_absolute() or str(source).startswith("."):
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
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
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
