"""Export of a checkpoint as a self-contained model, checked against the checkpoint.

Shapes: V vocabulary, T features over time, D their width.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor
from transformers import PreTrainedModel

from affectgpt.clip import Clip
from affectgpt.features.sources import DecodedMedia, OnlineFeatures
from affectgpt.inference.assistant import Assistant
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.open import open_encoder, open_reader, require_readable
from affectgpt.inputs.reader import EncodedRow
from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.loading import Precision, load_config, load_model, load_processor, model_folder
from affectgpt.model.modeling import feature_widths
from affectgpt.problems import InputError, Problem
from affectgpt.weights.portable import forget_folders_in

TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Largest difference of logits, as a share of the largest logit (at least 1): merging rounds the weights again."""

QUESTIONS = ("What does this person feel?", "Explain step by step, what you see and hear. 这个人是什么心情？")
_SUBTITLE = "I am fine, really."


@dataclass(frozen=True, slots=True)
class Trial:
    """Outputs by which two models are compared."""

    ids: list[list[int]]
    logits: list[Tensor]
    """Logits (V,) of the token after each prompt, in float32."""


def export(source: str | Path, out: Path, dtype: Precision = "auto", rows: Sequence[Clip] = ()) -> dict[str, Any]:
    """Export a checkpoint as a self-contained model.

    Args:
        source: an adapter, or a whole model.
        out: the folder to create.
        dtype: dtype of the weights; 'auto' is that of the checkpoint.
        rows: further prompts for the comparison, media included.

    Returns:
        The comparison: 'dtype', 'prompts', 'max_difference', 'tolerance'.

    Raises:
        InputError: `out` exists, or the exported model differs from the checkpoint; then nothing of it is kept.
    """
    if out.exists():
        raise InputError(Problem(str(out), "--out", "a name that is free", "something there", "Name another folder."))
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        report = _write(source, draft, dtype, rows)
        os.rename(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return report


def _write(source: str | Path, draft: Path, dtype: Precision, rows: Sequence[Clip]) -> dict[str, Any]:
    if dtype == "auto":
        dtype = stored_precision(source)
    model: Any = load_model(source, dtype, "sdpa").eval()
    processor = load_processor(source)
    require_readable(processor, rows)
    encoder = open_encoder(processor, model_folder(source))
    expected = trial(model, processor, encoder, rows)
    model = merged(model)
    model.save_pretrained(draft)
    processor.save_pretrained(draft)
    if encoder is not None:
        encoder.save_pretrained(draft)
    forget_folders_in(draft)
    del model, encoder  # only one of the two models is in memory at a time

    exported = load_model(draft, dtype, "sdpa").eval()
    processor = load_processor(draft)
    encoder = open_encoder(processor, draft)
    return _compare(str(source), expected, trial(exported, processor, encoder, rows), getattr(torch, dtype))


def merged(model: Any) -> Any:
    """Merge a model's adapter into its weights; return the model itself if it has none."""
    return model.merge_and_unload() if hasattr(model, "peft_config") else model


def stored_precision(source: str | Path) -> Precision:
    """Return the dtype in which a checkpoint's language model is stored; float32 if it does not record one."""
    config = load_config(source)
    name = str(config.dtype or config.get_text_config().dtype).removeprefix("torch.")
    return name if name in get_args(Precision) else "float32"  # type: ignore[return-value]


@torch.no_grad()
def trial(model: PreTrainedModel, processor: Any, encoder: ClipEncoder | None, rows: Sequence[Clip] = ()) -> Trial:
    """Run a model on fixed prompts, of words and, if it takes them, of random features; and on rows."""
    assistant = Assistant(model, processor, "")
    made: list[EncodedRow] = []
    for seed, question in enumerate(QUESTIONS):
        for features in ({}, random_features(model, seed)) if encoder is not None else ({},):
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "joy"}]
            clip = Clip(id=question, messages=turns, task="text", subtitle=_SUBTITLE if seed else None)
            made += assistant.reader(features).read([clip])
    if rows:
        made += _read(assistant, encoder, rows)
    result = Trial([], [])
    pad_id = assistant.reader({}).tokenizer.pad_token_id
    for row in made:
        batch = {name: value.to(model.device) for name, value in prompt_batch([row], pad_id).items()}
        result.ids.append(row.prompt_ids)
        result.logits.append(model(**batch).logits[0, -1].float().cpu())
    return result


def random_features(model: Any, seed: int) -> dict[str, Tensor]:
    """Return random (T, D) features of every stream that an AffectGPT model takes."""
    config = model.config
    rng = torch.Generator().manual_seed(seed)
    lengths = dict.fromkeys(config.streams, config.num_frames) | {"audio": config.num_audio_windows}
    return {
        f"{stream}_features": torch.randn(lengths[stream], width, generator=rng)
        for stream, width in feature_widths(config).items()
    }


def _read(assistant: Assistant, encoder: ClipEncoder | None, rows: Sequence[Clip]) -> list[EncodedRow]:
    """Encode rows as prediction does."""
    online = OnlineFeatures(encoder, 1, assistant.timeout_s) if encoder is not None else None
    media = online.media if online is not None else DecodedMedia(assistant.wanted, 1, assistant.timeout_s)
    try:
        return open_reader(assistant.processor, online or media).read(rows)
    finally:
        media.close()


def _compare(source: str, expected: Trial, exported: Trial, dtype: torch.dtype) -> dict[str, Any]:
    """Compare two trials; return the report.

    Raises:
        InputError: the two models differ.
    """
    if expected.ids != exported.ids:
        number = next(index for index, ids in enumerate(expected.ids) if ids != exported.ids[index])
        before, after = len(expected.ids[number]), len(exported.ids[number])
        raise InputError(
            f"{source}: prompt {number + 1} of {len(expected.ids)} becomes other ids by the exported tokenizer and "
            f"chat template ({after} instead of {before} of them). Nothing was exported."
        )
    pairs = list(zip(expected.logits, exported.logits, strict=True))
    apart = [float((one - other).abs().max()) / max(1.0, float(one.abs().max())) for one, other in pairs]
    worst = max(apart)
    tolerance = TOLERANCE[dtype]
    name = str(dtype).removeprefix("torch.")
    if not worst <= tolerance:
        raise InputError(
            f"{source}: the merged model's logits on prompt {apart.index(worst) + 1} of {len(apart)} differ by "
            f"{worst:.2g} of the largest, expected at most {tolerance:g} in {name}. Nothing was exported. "
            + ("Try --dtype float32." if dtype != torch.float32 else "Look at the adapter with: affectgpt chat --model")
        )
    return {"dtype": name, "prompts": len(apart), "max_difference": worst, "tolerance": tolerance}
