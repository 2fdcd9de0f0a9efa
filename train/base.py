"""The embedded default: a small Qwen3 that starts from nothing, on the shipped towers, with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoFeatureExtractor, AutoImageProcessor, PreTrainedTokenizerFast, Qwen3Config

from affectgpt.clip import Clip
from affectgpt.model import AffectGPTConfig, AffectGPTForConditionalGeneration, AffectGPTProcessor
from affectgpt.model.encoders import load_tower
from affectgpt.model.processing import PLACEHOLDERS
from train.config import ModelConfig

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHATML = (
    "{% for turn in messages %}<|im_start|>{{ turn['role'] }}\n{{ turn['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer with ChatML turns; placeholders come after the vocabulary, outside the embedding."""
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
    marks = [AddedToken(mark, normalized=False, special=True) for mark in PLACEHOLDERS.values()]
    tokenizer.add_special_tokens(marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, padding_side="left", chat_template=CHATML
    )


def build_tiny(settings: ModelConfig, clips: Iterable[Clip], towers: Path, seed: int, folder: Path) -> None:
    """Make the untrained default model and its processor and save them in `folder`.

    Args:
        clips: rows whose text the tokenizer learns from.
        towers: folder with `vision` and `audio`.
    """
    assert settings.tiny is not None
    texts = (text for clip in clips for text in (clip.subtitle or "", *(turn["content"] for turn in clip.messages)))
    tokenizer = train_tokenizer(texts, settings.tiny.vocab_size)
    ids = {name: tokenizer.get_vocab()[mark] for name, mark in PLACEHOLDERS.items()}
    vision, audio = (load_tower(str(towers / kind)) for kind in ("vision", "audio"))
    num_tokens = {"video": 1, "audio": 1, "multi": 1} | {
        str(name): count for name, count in settings.num_tokens.items()
    }
    config = AffectGPTConfig(
        text_config=Qwen3Config(
            vocab_size=min(ids.values()),
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
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=vision.config,
        audio_config=audio.config,
        pooling=settings.pooling,
        fusion=settings.fusion,
        num_video_tokens=num_tokens["video"],
        num_audio_tokens=num_tokens["audio"],
        num_multi_tokens=num_tokens["multi"],
        video_token_id=ids["video"],
        audio_token_id=ids["audio"],
        multi_token_id=ids["multi"],
    )
    torch.manual_seed(seed)
    model = AffectGPTForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(vision.state_dict())
    model.model.audio_tower.load_state_dict(audio.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    if config.fusion == "none":
        num_tokens["multi"] = 0
    processor = AffectGPTProcessor(
        image_processor=AutoImageProcessor.from_pretrained(towers / "vision", backend="pil"),
        feature_extractor=AutoFeatureExtractor.from_pretrained(towers / "audio"),
        tokenizer=tokenizer,
        chat_template=CHATML,
        num_tokens=num_tokens,
        num_frames=config.num_frames,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
