"""Names of repositories of the Hub."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from affectgpt.problems import shorten


def name_flaw(repo: str) -> str | None:
    """Return why a text is not the name of a user's repository, `user/name`; None if it is one."""
    if repo.count("/") != 1:
        return f"expected user/name, got {shorten(repo)}"
    try:
        validate_repo_id(repo)
    except HFValidationError:
        return (
            f"expected user/name of letters, digits, '-', '_' and '.', at most 96 of them, no '--' or '..', "
            f"got {shorten(repo)}"
        )
    return None


def is_hub_id(text: str) -> bool:
    """Tell whether a text names a model of the Hub, and no folder of this machine."""
    try:
        validate_repo_id(text)
    except HFValidationError:
        return False
    return not Path(text).exists()
