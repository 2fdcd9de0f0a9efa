"""The embedded default: a small Qwen3, trained from scratch, on the shipped towers, with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from affectgpt.clip import Clip
from affectgpt.evidence.prompting import prompt_of
from affectgpt.model import AffectGPTConfig, AffectGPTForConditionalGeneration, AffectGPTProcessor
from affectgpt.model.assemble import add_placeholders
from affectgpt.model.clip_encoder import PARTS, ClipEncoder, weights_hash
from affectgpt.model.encoders import load_tower
from train.config.model import ModelConfig

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with ChatML turns."""
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(r'\n| ?[^\s.,?!"]+|[.,?!"]| +'), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, padding_side="left", chat_template=CHATML
    )


def tiny_config(settings: ModelConfig, vocab_size: int, towers: Mapping[str, PreTrainedConfig]) -> AffectGPTConfig:
    """Return the configuration of the default model, without the ids of its tokens.

    Args:
        vocab_size: number of tokens, which depends on the rows; at most that of the recipe and a few.
        towers: configurations of the towers, 'vision' and 'audio'.
    """
    assert settings.tiny is not None
    return AffectGPTConfig(
        text_config=Qwen3Config(
            vocab_size=vocab_size,
            hidden_size=settings.tiny.hidden_size,
            num_hidden_layers=settings.tiny.num_layers,
            num_attention_heads=settings.tiny.num_heads,
            num_key_value_heads=max(1, settings.tiny.num_heads // 3),
            head_dim=32,
            intermediate_size=settings.tiny.intermediate_size,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=0.04,
            bos_token_id=None,
        ),
        vision_config=towers["vision"],
        audio_config=towers["audio"],
        **settings.fusion_settings(),
    )


def build_tiny(settings: ModelConfig, clips: Iterable[Clip], towers: Path, seed: int, folder: Path, home: Path) -> None:
    """Make the untrained default model, its processor and its towers, and save them in `folder`.

    Args:
        clips: rows whose text the tokenizer learns from.
        towers: folder with `vision` and `audio`.
        home: path that `folder` will be moved to; checkpoints name the towers there.
    """
    assert settings.tiny is not None
    texts = (text for clip in clips for text in _texts_of(clip))
    tokenizer = train_tokenizer(texts, settings.tiny.vocab_size)
    loaded = {kind: load_tower(str(towers / kind)) for kind in PARTS}
    config = tiny_config(settings, len(tokenizer), {kind: tower.config for kind, tower in loaded.items()})
    config.text_config.eos_token_id = tokenizer.eos_token_id
    config.text_config.pad_token_id = tokenizer.pad_token_id
    config.sources = {
        kind: {"id": str(home.absolute() / kind), "hash": weights_hash(tower)} for kind, tower in loaded.items()
    }
    config.token_ids = add_placeholders(tokenizer, config)
    torch.manual_seed(seed)
    model = AffectGPTForConditionalGeneration(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    processor = AffectGPTProcessor(
        image_processor=AutoImageProcessor.from_pretrained(towers / "vision", backend="pil", trust_remote_code=False),
        feature_extractor=AutoFeatureExtractor.from_pretrained(towers / "audio", trust_remote_code=False),
        tokenizer=tokenizer,
        chat_template=CHATML,
        num_tokens=config.num_tokens,
        prompt_style=settings.prompt_style,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    ClipEncoder(config, processor, loaded).save_pretrained(folder)


def _texts_of(clip: Clip) -> list[str]:
    """Return all texts of a row that the model reads or writes."""
    said = [*(turn["content"] for turn in prompt_of(clip)), clip.target] if clip.messages else []
    return [clip.subtitle or "", *said]
