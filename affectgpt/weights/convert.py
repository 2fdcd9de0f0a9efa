"""Conversion of released weights to a model that can be loaded, used and trained."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from string import Formatter
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig

from affectgpt.model.assemble import assemble
from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.encoders import tower_config
from affectgpt.model.loading import load_processor
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.prompts import PAPER
from affectgpt.weights.released import Converted, State, convert, settings_of

PARTS = "parts"
"""Name of the folder of parts that the adapter adapts, inside the adapter's folder."""
FILLED = ("multi", "audio", "face", "frame", "subtitle")
"""Fields of the wording with a placeholder of their own name."""


def convert_release(
    checkpoint: Path,
    out: Path,
    llm: str,
    vision: str,
    audio: str,
    wording: dict[str, str] | None = None,
    lora_alpha: float = 32,
) -> dict[str, Any]:
    """Convert a released AffectGPT checkpoint to a LoRA adapter on a folder of parts.

    Args:
        llm, vision, audio: Hub ids or folders of the models that the checkpoint was trained with.
        wording: fields of `affectgpt.prompts.PAPER` in the wording of the release.
        lora_alpha: alpha of LoRA, which the checkpoint does not record; 32 in the release.

    Returns:
        The findings: 'pooling', 'fusion', 'lora_rank', 'lora_parameters', 'other_parameters', 'dropped'.

    Raises:
        InputError: the checkpoint does not fit; lists all weights that are missing, unexpected or of another shape.
    """
    if out.exists():
        raise InputError(Problem(str(out), "--out", "a name that is free", "something there", "Name another folder."))
    state = read_checkpoint(checkpoint)
    settings = settings_of(state)
    config = AffectGPTConfig(
        text_config=AutoConfig.from_pretrained(llm, trust_remote_code=False),
        vision_config=tower_config(AutoConfig.from_pretrained(vision, trust_remote_code=False)),
        audio_config=tower_config(AutoConfig.from_pretrained(audio, trust_remote_code=False)),
        **settings,
    )
    converted = convert(state, config)
    draft = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        assemble(draft / PARTS, llm, vision, audio, prompt_style="paper", **settings)
        processor = load_processor(draft / PARTS)
        processor.wording |= wording or {}
        processor.save_pretrained(draft / PARTS)
        processor.save_pretrained(draft)
        save_adapter(converted, draft, lora_alpha)
        os.rename(draft, out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return {
        "pooling": config.pooling,
        "fusion": config.fusion,
        "lora_rank": converted.rank,
        "lora_parameters": sum(value.numel() for value in converted.lora.values()),
        "other_parameters": sum(value.numel() for value in converted.soft_tokens.values()),
        "dropped": converted.dropped,
    }


def save_adapter(converted: Converted, folder: Path, lora_alpha: float) -> None:
    """Write converted weights as a PEFT adapter of the folder of parts in `folder`."""
    model = "model.language_model"
    LoraConfig(
        r=converted.rank,
        lora_alpha=lora_alpha,  # type: ignore[arg-type]
        lora_dropout=0.05,
        target_modules=[f"{model}.{target}" for target in converted.targets],
        modules_to_save=["soft_tokens"],
        task_type="CAUSAL_LM",
        inference_mode=True,
        base_model_name_or_path=PARTS,
    ).save_pretrained(str(folder))
    tensors = {f"base_model.model.{model}.{name}.weight": value for name, value in converted.lora.items()}
    tensors |= {
        f"base_model.model.model.soft_tokens.{name}": value.float() for name, value in converted.soft_tokens.items()
    }
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "adapter_model.safetensors")


def read_checkpoint(path: Path) -> State:
    """Read 'model' from a torch file; no code in the file is run.

    Raises:
        InputError: no such file, or one that holds anything other than tensors and plain values.
    """
    path = require_file(path, "a released checkpoint (.pth)", "Download it first.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path}: expected tensors and plain values, found objects that could run code when they are loaded "
            f"({shorten(str(error).splitlines()[0])}). Refused. Where you trust the file, load it in an environment "
            "of its own, and save its 'model' alone: torch.save({'model': ...}, NEW)."
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise InputError(f"{path}: not a whole torch file ({shorten(str(error))}). Download it again.") from error
    state = content.get("model") if isinstance(content, dict) else None
    if not (isinstance(state, dict) and state and all(isinstance(value, Tensor) for value in state.values())):
        got = f"keys {', '.join(map(str, content))}" if isinstance(content, dict) else shorten(content)
        raise InputError(Problem(str(path), "the file", "a dictionary of tensors by name under 'model'", got))
    return state


def read_wording(path: Path) -> dict[str, str]:
    """Read another wording of the plain prompt's fields from a JSON file.

    Raises:
        InputError: with every field that is unknown or cannot be filled.
    """
    path = require_file(path, "--wording", "See affectgpt convert affectgpt-release --help.")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(Problem(str(path), "the file", "a JSON object", str(error))) from error
    if not isinstance(fields, dict):
        raise InputError(Problem(str(path), "the file", "a JSON object", shorten(fields)))
    problems = []
    for name, text in fields.items():
        if name not in PAPER:
            problems.append(Problem(str(path), name, "a known field", "an unknown one", nearest(name, PAPER)))
        elif not isinstance(text, str) or (name == "stop" and not text):
            problems.append(Problem(str(path), name, "text", shorten(text)))
        elif name in FILLED and _fields(text) != [name]:
            problems.append(Problem(str(path), name, f"text with {{{name}}} once, and no other braces", shorten(text)))
    if problems:
        raise InputError(problems)
    return fields


def _fields(text: str) -> list[str] | None:
    """Return the fields of a format string; None if it is not a valid one."""
    try:
        return [name for _, name, _, _ in Formatter().parse(text) if name is not None]
    except ValueError:
        return None
