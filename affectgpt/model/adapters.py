"""LoRA adapters as PEFT saves them: in a folder or on the Hub, with the name of the model that they adapt."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers.utils import cached_file

from affectgpt.problems import InputError, Problem, shorten

ADAPTER = "adapter_config.json"
_AGAIN = "Copy or download the adapter again."
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def fetched(source: str | Path) -> Path:
    """Return the folder of a model; an adapter that a Hub id names is downloaded, any other source stays as it is."""
    there = Path(source).exists() or _HUB_ID.fullmatch(str(source)) is None
    return Path(source) if there else _from_hub(str(source)) or Path(source)


@lru_cache(maxsize=8)
def _from_hub(name: str) -> Path | None:
    """Download an adapter; None where the Hub has no adapter of that name, or cannot be reached."""
    quietly = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
        "_raise_exceptions_for_gated_repo": False,
    }
    try:
        settings = cached_file(name, ADAPTER, **quietly)
        return Path(snapshot_download(name)) if settings is not None else None
    except (OSError, ValueError):  # no such repository: whoever loads the model explains it
        return None


def adapter_settings(folder: Path) -> dict[str, Any] | None:
    """Read the settings of the adapter in a folder; None where there is none.

    Only LoRA is accepted: the settings of other kinds could name modules that PEFT imports.

    Raises:
        InputError: settings that cannot be read, that are not of LoRA, or that name no base.
    """
    path = folder / ADAPTER
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(Problem(str(path), "the file", "JSON", shorten(str(error)), _AGAIN)) from None
    if not isinstance(settings, dict) or settings.get("peft_type") != "LORA":
        got = settings.get("peft_type") if isinstance(settings, dict) else settings
        raise InputError(Problem(str(path), "peft_type", "'LORA'", shorten(got)))
    if settings.get("megatron_config"):
        raise InputError(Problem(str(path), "megatron_config", "none", "one, which names a module to import"))
    base = settings.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        fix = "Write the folder or Hub id of the model that it adapts there."
        raise InputError(Problem(str(path), "base_model_name_or_path", "the adapted model", shorten(base), fix))
    return settings


def base_of(folder: Path, settings: dict[str, Any]) -> str | Path:
    """Return the folder, file or Hub id of the model that an adapter adapts.

    A relative path starts from the adapter's folder or the current one; else from a folder above the adapter's, as
    those of a run do that was started there.

    Raises:
        InputError: a path at which nothing is.
    """
    base: str = settings["base_model_name_or_path"]
    beside = Path(folder, base).absolute()
    if beside.is_dir() or Path(base).exists():
        return beside if beside.is_dir() else base
    above = (parent / base for parent in folder.absolute().parents)
    if (found := next((path for path in above if path.is_dir() and "/" in base), None)) is not None:
        return found
    if Path(base).is_absolute() or base.startswith("."):
        fix = "Put the model there, or write in this file where it is now."
        where, expected = "base_model_name_or_path", "the adapted model"
        raise InputError(Problem(str(folder / ADAPTER), where, expected, f"nothing at {base}", fix))
    return base


def require_adapter_weights(folder: Path) -> None:
    """Require the weights of an adapter beside its settings.

    Raises:
        InputError: there are none.
    """
    if not any((folder / f"adapter_model.{suffix}").is_file() for suffix in ("safetensors", "bin")):
        names = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise InputError(Problem(str(folder), "the adapter", "its weights, adapter_model.safetensors", names, _AGAIN))
