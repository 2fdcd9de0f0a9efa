"""Language models in GGUF files (llama.cpp's format), which transformers unpacks into its own classes."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedModel

from affectgpt.problems import InputError, Problem

_SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_HUB_PARTS = 3
"""Parts of the name of a file on the Hub: owner, repository, file."""
_NOTES = ("hf_quantizer", "quantization_method", "is_quantized")
"""Attributes of a model by which transformers remembers that its weights came packed."""


def located(source: str | Path) -> tuple[str, dict[str, Any]]:
    """Return where `from_pretrained` looks for a model, and its arguments that name a GGUF file there; none otherwise.

    Args:
        source: folder or Hub id of a model; a `.gguf` file, or one of the Hub as `owner/name/file.gguf`; or a folder
            that holds such a file and no config.json.

    Raises:
        InputError: several such files, a file of another kind, or the package `gguf` is not installed.
    """
    path = Path(source)
    if path.is_file() or (path.suffix == _SUFFIX and not path.is_dir()):
        folder, name = _named(path)
    elif path.is_dir() and not (path / "config.json").is_file() and (files := sorted(path.glob(f"*{_SUFFIX}"))):
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            raise InputError(Problem(str(source), "the folder", "one GGUF file", names, "Name one of the files."))
        folder, name = _named(files[0])
    else:
        return str(source), {}
    if find_spec("gguf") is None:
        got, fix = "none", "Install it with: pip install -c constraints.txt -e '.[gguf]'"
        raise InputError(Problem(str(source), "a GGUF file", "the package gguf to read it", got, fix))
    return folder, {"gguf_file": name}


def _named(path: Path) -> tuple[str, str]:
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
        if head != _MAGIC:
            fix = "Name the folder of a model, or a .gguf file."
            raise InputError(Problem(str(path), "the file", "a GGUF file, which begins with 'GGUF'", repr(head), fix))
        return str(path.parent), path.name
    owner, _, name = str(path).rpartition("/")
    if path.is_absolute() or str(path).startswith(".") or len(path.parts) != _HUB_PARTS:
        fix = "Name a file that is there, or one of the Hub as owner/name/file.gguf."
        raise InputError(Problem(str(path), "the file", "a GGUF file", "nothing there", fix))
    return owner, name


def load_causal(source: str | Path, **arguments: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Load a causal language model; the weights of a GGUF file are unpacked, so that they can be trained and saved.

    Args:
        source: see `located`.
        arguments: further arguments of `from_pretrained`.

    Returns:
        The model, and transformers' report on its weights ('missing_keys' and others).
    """
    where, file = located(source)
    auto_class: Any = AutoModelForCausalLM
    if file:
        arguments |= {"quantization_config": GgufConfig(dequantize=True), "use_safetensors": None}
    model, report = auto_class.from_pretrained(
        where, trust_remote_code=False, output_loading_info=True, **file, **arguments
    )
    if file:
        _forget_packing(model, source)
    return model, report


def _forget_packing(model: Any, source: str | Path) -> None:
    """Take from a model that was unpacked what says that it is packed, by which transformers refuses to save it."""
    for name in _NOTES:
        vars(model).pop(name, None)
    for config in (model.config, model.config.get_text_config()):
        vars(config).pop("quantization_config", None)
    # An adapter names its base by this.
    model.name_or_path = model.config._name_or_path = str(Path(source).absolute() if Path(source).exists() else source)
