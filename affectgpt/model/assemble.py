"""Assembly of a model from parts: any causal language model and any towers of the Hub, joined by new soft tokens.

A folder of parts holds the configuration, the processor and the soft tokens, and names the sources of the language
model and the towers; it does not copy them. `AffectGPTForConditionalGeneration.from_pretrained` loads it like any
model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import AddedToken
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from affectgpt.model.clip_encoder import PARTS, weights_hash
from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.encoders import family_of, feature_width, load_tower, measured_width
from affectgpt.model.modeling import SOFT_TOKENS, AffectGPTForConditionalGeneration, build_soft_tokens
from affectgpt.model.processing import PLACEHOLDERS, AffectGPTProcessor
from affectgpt.model.refusals import explains_refusals
from affectgpt.problems import InputError


@explains_refusals
def assemble(
    folder: Path,
    llm: str,
    vision: str | None = None,
    audio: str | None = None,
    revisions: dict[str, str] | None = None,
    prompt_style: str = "chat",
    seed: int = 0,
    **settings: Any,
) -> None:
    """Write a folder of parts.

    Args:
        llm, vision, audio: Hub ids or folders; without a tower its modality is left out.
        revisions: part ('llm', 'vision', 'audio') -> revision, for parts that are Hub ids.
        seed: random seed of the new soft tokens.
        settings: further arguments of `AffectGPTConfig`.

    Raises:
        InputError: a part is of an unsuitable kind, or the joined model would not reproduce its logits.
    """
    revisions = revisions or {}
    given = {"llm": llm, "vision": vision, "audio": audio}
    sources: dict[str, dict[str, Any]] = {
        part: {"id": os.path.abspath(source) if os.path.isdir(source) else source, "revision": revisions.get(part)}
        for part, source in given.items()
        if source is not None
    }
    text_config = AutoConfig.from_pretrained(llm, revision=revisions.get("llm"), trust_remote_code=False)
    if text_config.get_text_config() is not text_config:
        raise InputError(f"model.llm: expected a text-only language model, {llm} is a {text_config.model_type}")
    tokenizer = AutoTokenizer.from_pretrained(llm, revision=revisions.get("llm"), trust_remote_code=False)
    loaded: dict[str, PreTrainedModel] = {}
    for part in PARTS:
        if part in sources:
            loaded[part] = load_tower(sources[part]["id"], sources[part]["revision"])
            sources[part]["hash"] = weights_hash(loaded[part])
    towers = {part: tower.config for part, tower in loaded.items()}
    config = AffectGPTConfig(
        text_config=text_config,
        vision_config=towers.get("vision"),
        audio_config=towers.get("audio"),
        sources=sources,
        **settings,
    )
    config.token_ids = add_placeholders(tokenizer, config)
    config.architectures = [AffectGPTForConditionalGeneration.__name__]
    processor = AffectGPTProcessor(
        image_processor=load_image_processor(vision, revisions.get("vision")) if vision else None,
        feature_extractor=AutoFeatureExtractor.from_pretrained(
            audio, revision=revisions.get("audio"), trust_remote_code=False
        )
        if audio
        else None,
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        num_tokens=config.num_tokens,
        prompt_style=prompt_style,  # type: ignore[arg-type]
    )
    if vision:
        config.vision_width = _width_if_untold(config, loaded["vision"], processor)
    torch.manual_seed(seed)
    soft_tokens = build_soft_tokens(config)
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    processor.save_pretrained(folder)
    _generation_config(llm, revisions.get("llm"), tokenizer).save_pretrained(folder)
    save_file({name: value.contiguous() for name, value in soft_tokens.state_dict().items()}, folder / SOFT_TOKENS)


def _width_if_untold(config: AffectGPTConfig, tower: PreTrainedModel, processor: AffectGPTProcessor) -> int | None:
    """Try the vision tower on blank pictures; return the width of its features if its configuration tells another, or
    none.

    Raises:
        InputError: it gives no features with these settings.
    """
    assert config.vision_config is not None
    layers, pooling = config.vision_layers, config.vision_pooling
    count = config.num_frames if family_of(config.vision_config).reads_together else 1
    blank = np.zeros((count, 64, 64, 3), np.uint8)
    width = measured_width(tower, processor.pictures(blank), layers, pooling)
    try:
        told = feature_width(config.vision_config, layers, pooling)
    except InputError:
        return width
    return None if told == width else width


def add_placeholders(tokenizer: Any, config: AffectGPTConfig) -> dict[str, int]:
    """Add the placeholders that a model needs to its tokenizer, and return their ids by name.

    A tokenizer without a padding token gets its end token for it; padding is always masked.
    """
    names = [name for name in PLACEHOLDERS if name in config.num_tokens]
    tokens = [AddedToken(PLACEHOLDERS[name], normalized=False, special=True) for name in names]
    tokenizer.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "left"
    return {name: int(tokenizer.convert_tokens_to_ids(PLACEHOLDERS[name])) for name in names}


@explains_refusals
def load_image_processor(source: str, revision: str | None = None) -> Any:
    """Load a tower's image processor in its variant without torchvision, or a plain resize and normalisation."""
    try:
        return AutoImageProcessor.from_pretrained(source, revision=revision, backend="pil", trust_remote_code=False)
    except ImportError:
        values, _ = ViTImageProcessorPil.get_image_processor_dict(source, revision=revision)
        values.pop("image_processor_type", None)
        return ViTImageProcessorPil(**values)


def _generation_config(llm: str, revision: str | None, tokenizer: Any) -> GenerationConfig:
    """Build a configuration with the language model's end tokens; sampling is left to the caller."""
    try:
        own = GenerationConfig.from_pretrained(llm, revision=revision or "main")
    except OSError:
        own = GenerationConfig()
    ends = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
    ends = [*dict.fromkeys(end for end in [*ends, tokenizer.eos_token_id] if end is not None)]
    return GenerationConfig(eos_token_id=ends, pad_token_id=tokenizer.pad_token_id, bos_token_id=own.bos_token_id)
