"""Configurations without the folders of the machine that wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

NAMES = ("_name_or_path", "name_or_path")
"""Keys under which transformers notes where a model, a tower or a tokenizer was loaded from."""


def is_hub_id(text: str) -> bool:
    """Tell whether a text names a model of the Hub, and no folder of this machine."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return not Path(text).exists()


def forget_folders(config: Any) -> bool:
    """Remove folders of this machine from a configuration, in place; return whether there were any.

    Those are the origins of a model and its parts unless the Hub has them, and every value that is an absolute path.
    """
    if isinstance(config, list):
        return any([*map(forget_folders, config)])
    if not isinstance(config, dict):
        return False
    found = [name for name in NAMES if config.get(name) and not is_hub_id(str(config[name]))]
    found += [name for name, value in config.items() if name not in found and _is_folder(value)]
    sources = config.get("sources")
    parts = [part for part in sources.values() if isinstance(part, dict)] if isinstance(sources, dict) else []
    local = [part for part in parts if part.get("id") and not is_hub_id(str(part["id"]))]
    for name in found:
        del config[name]
    for part in local:
        del part["id"]
    return any([bool(found or local), *map(forget_folders, list(config.values()))])


def forget_folders_in(model: Path) -> None:
    """Remove folders of this machine from the configurations of a model that was just saved."""
    for path in sorted(model.rglob("*config.json")):
        config = json.loads(path.read_text(encoding="utf-8"))
        if forget_folders(config):
            path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _is_folder(value: Any) -> bool:
    """Tell whether a value is an absolute path of this machine, or of one like it."""
    if not isinstance(value, str) or "\n" in value or len(value) > 4096:
        return False
    return value.startswith(("~/", "file://")) or (value.startswith("/") and len(Path(value).parts) > 2)
