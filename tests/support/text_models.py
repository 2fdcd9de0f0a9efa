"""Tiny language models that read text alone, of the real classes, saved with a tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers as hf

from tests.support.models import TEXTS
from train.tiny_model import CHATML, train_tokenizer

KINDS = ("qwen2", "llama")


def tiny_text_model(kind: str, folder: Path, chat_template: str | None = CHATML, **tokens: str | None) -> Path:
    """Save an untrained model of a kind and its tokenizer in `folder`.

    Args:
        tokens: special tokens of the tokenizer besides the usual ones, or None to take one away.
    """
    plain = train_tokenizer(TEXTS, 300)
    special: dict[str, Any] = {"eos_token": plain.eos_token, "pad_token": plain.pad_token, **tokens}
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer, chat_template=chat_template, **special
    )
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(0)
    model: Any
    if kind == "qwen2":
        model = hf.Qwen2ForCausalLM(hf.Qwen2Config(**settings))
    else:
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**settings))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
