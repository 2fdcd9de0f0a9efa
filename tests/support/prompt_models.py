"""Models of several families, each with three prompts of unequal length."""

from __future__ import annotations

from typing import Any

import torch
import transformers as hf

from affectgpt.inputs.reader import EncodedRow
from affectgpt.model.loading import load_model

LM = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": None,
    "eos_token_id": 59,
    "pad_token_id": 0,
}
KINDS = ["qwen2", "qwen3", "llama", "gemma3", "affectgpt", "qwen2_5_vl", "qwen3_vl"]
GROUP = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])


def text_model(kind: str) -> Any:
    torch.manual_seed(0)
    return {
        "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**LM)),
        "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**LM, head_dim=8)),
        "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LM)),
        "gemma3": lambda: hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**LM, head_dim=8, sliding_window=64)),
    }[kind]()


def text_rows() -> list[EncodedRow]:
    rng = torch.Generator().manual_seed(1)
    return [
        EncodedRow(str(length), torch.randint(1, 59, (length,), generator=rng).tolist(), []) for length in (9, 4, 6)
    ]


def subject(kind: str, tiny: Any, hub: Any) -> tuple[Any, list[EncodedRow]]:
    """A model and three prompts for it, of unequal length; of models with media, one without."""
    if kind == "affectgpt":
        rows = [
            tiny.row("What does this person feel?", "", tiny.features(1)),
            tiny.row("joy?", "", tiny.features(2, audio=False)),
            tiny.row("Explain step by step.", "", {}),
        ]
        return tiny.model(), rows
    if kind.startswith("qwen2_5") or kind.endswith("_vl"):
        from affectgpt.inputs.vlm_reader import VlmReader
        from affectgpt.model.loading import load_processor
        from tests.support.feature_sources import Decoded
        from tests.support.rows import make_spoken_clip as clip

        folder = hub(kind)
        reader = VlmReader(load_processor(folder), Decoded(), ("video", "text"))  # type: ignore[arg-type]
        return load_model(folder), reader.read([clip("a"), clip("t", video=False), clip("b")])
    return text_model(kind), text_rows()
