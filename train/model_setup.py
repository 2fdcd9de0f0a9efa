"""Loading of models for training and scoring: adapters and frozen parts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedModel

from affectgpt.model.loading import ADAPTER, load_model
from train.config.model import LoraSettings, ModelConfig


def load_stage_model(
    folder: Path, settings: ModelConfig, trainable: bool = False, as_stored: bool = False
) -> PreTrainedModel:
    """Load the model of a checkpoint as the recipe's `model` section says.

    A language model that is trained in full is trained in float32; under an adapter it is loaded in `model.dtype`.
    Weights whose dtype is that of their file are mapped, not read: processes of a host share that memory.

    Args:
        as_stored: leave weights that are trained in full in the dtype of their file; the caller casts them to float32.
    """
    lora = settings.lora
    in_full = trainable and lora is None
    bits = lora.bits if lora else None
    dtype = "float32" if in_full else settings.dtype
    model = load_model(folder, dtype, settings.attention, bits, trainable, as_stored and in_full)
    if as_stored and in_full and _computes_in_its_dtype(model):
        model = load_model(folder, dtype, settings.attention, bits, trainable)
    if not trainable:
        return model
    if lora is not None and not (folder / ADAPTER).is_file():
        model = add_adapter(model, lora)
    freeze_encoders(model)
    return model


def _computes_in_its_dtype(model: PreTrainedModel) -> bool:
    """Tell whether a model has constants that were rounded to its dtype when it was built, as Gemma's scales are."""
    return any(buffer.is_floating_point() and buffer.dtype != torch.float32 for buffer in model.buffers())


def add_adapter(model: PreTrainedModel, settings: LoraSettings) -> PreTrainedModel:
    """Put LoRA on every linear layer of the language model alone; what joins the modalities is trained in full."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if settings.bits is not None:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    decoder = decoder_name(model)
    inside = model.get_submodule(decoder).named_modules()
    targets = [f"{decoder}.{name}" for name, module in inside if isinstance(module, nn.Linear)]
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.dora,
        target_modules=targets,
        modules_to_save=getattr(model, "adapter_modules_to_save", None),
        task_type="CAUSAL_LM",
    )
    return cast(PreTrainedModel, get_peft_model(model, config))


def decoder_name(model: Any) -> str:
    """Return the name of the attribute that holds a model's language model."""
    decoder = model.get_decoder()
    return next(name for name, module in model.named_modules() if module is decoder)


def without_adapter(model: Any) -> Any:
    """Return the model under a LoRA adapter, or the model itself."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def freeze_encoders(model: PreTrainedModel) -> None:
    """Freeze all parameters but those of the language model, its head and what joins the modalities."""
    whole = without_adapter(model)
    joined = tuple(getattr(whole, "adapter_modules_to_save", ()))
    kept = (decoder_name(whole), "lm_head", *joined)
    for name, parameter in whole.named_parameters():
        if not any(f".{part}." in f".{name}" for part in kept):
            parameter.requires_grad_(False)


def freeze(model: PreTrainedModel, parts: Sequence[str]) -> None:
    """Freeze parts of the model: 'language_model', 'soft_tokens'."""
    whole = without_adapter(model)
    names = {"language_model": (decoder_name(whole), "lm_head"), "soft_tokens": ("soft_tokens",)}
    for name, parameter in whole.named_parameters():
        if any(f".{frozen}." in f".{name}" for part in parts for frozen in names[part]):
            parameter.requires_grad_(False)
