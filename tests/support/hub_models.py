"""Tiny video-language models of the Hub's real classes, with processors that need no torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from affectgpt.model.video_patches import PatchVideoProcessor, without_class_checks
from tests.support.models import TEXTS
from train.tiny_model import train_tokenizer

TEMPLATE = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{% for part in turn['content'] %}"
    "{% if part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif part['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MARKS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "audio_token": "<|AUDIO|>",
    "vision_bos_token": "<|vision_start|>",
    "vision_eos_token": "<|vision_end|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
}
KINDS = ("qwen2_5_vl", "qwen3_vl", "qwen2_5_omni")


def tiny_hub_model(kind: str, folder: Path) -> Path:
    """Save an untrained model of a kind, and its processor, in `folder`."""
    plain = train_tokenizer(TEXTS, 300)
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer,
        eos_token=plain.eos_token,
        pad_token=plain.pad_token,
        padding_side="left",
        chat_template=TEMPLATE,
        extra_special_tokens=MARKS,
    )
    ids = {name: tokenizer.convert_tokens_to_ids(mark) for name, mark in MARKS.items()}
    ends = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {**TEXT, "vocab_size": len(tokenizer), **ends}
    picture_ids = {
        "image_token_id": ids["image_token"],
        "video_token_id": ids["video_token"],
        "vision_start_token_id": ids["vision_bos_token"],
        "vision_end_token_id": ids["vision_eos_token"],
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 4,
        "out_hidden_size": 32,
        "spatial_merge_size": 2,
    }
    windowed = {**vision, "window_size": 16, "fullatt_block_indexes": [1], "tokens_per_second": 2}
    torch.manual_seed(0)
    parts = [
        Qwen2VLImageProcessorPil(patch_size=4),
        tokenizer,
        PatchVideoProcessor(size={"shortest_edge": 64, "longest_edge": 1024}, patch_size=4),
    ]
    model: Any
    if kind == "qwen2_5_vl":
        config = hf.Qwen2_5_VLConfig(text_config=text, vision_config=windowed, **picture_ids)
        model, family = hf.Qwen2_5_VLForConditionalGeneration(config), hf.Qwen2_5_VLProcessor
    elif kind == "qwen3_vl":
        deep = {**vision, "deepstack_visual_indexes": [0], "num_position_embeddings": 64}
        config = hf.Qwen3VLConfig(text_config={**text, "head_dim": 8}, vision_config=deep, **picture_ids)
        model, family = hf.Qwen3VLForConditionalGeneration(config), hf.Qwen3VLProcessor
    else:
        audio = {
            "num_mel_bins": 16,
            "d_model": 32,
            "encoder_layers": 2,
            "encoder_attention_heads": 2,
            "encoder_ffn_dim": 32,
            "output_dim": 32,
            "n_window": 20,
            "max_source_positions": 100,
        }
        thinker = {
            "text_config": text,
            "vision_config": windowed,
            "audio_config": audio,
            "audio_token_id": ids["audio_token"],
            "image_token_id": ids["image_token"],
            "video_token_id": ids["video_token"],
            "vision_start_token_id": ids["vision_bos_token"],
            "vision_end_token_id": ids["vision_eos_token"],
            "audio_start_token_id": ids["audio_bos_token"],
            "audio_end_token_id": ids["audio_eos_token"],
            "position_id_per_seconds": 25,
        }
        config = hf.Qwen2_5OmniThinkerConfig(**thinker)
        model, family = hf.Qwen2_5OmniThinkerForConditionalGeneration(config), hf.Qwen2_5OmniProcessor
        extractor = hf.WhisperFeatureExtractor(feature_size=16, chunk_length=2)
        parts = [parts[0], parts[2], extractor, tokenizer]
    for name, value in ends.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    without_class_checks(family)(*parts, chat_template=TEMPLATE).save_pretrained(folder)
    return folder
