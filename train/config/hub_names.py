"""Names of repositories of the Hub."""

from __future__ import annotations

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from affectgpt.problems import shorten
from affectgpt.weights.portable import is_hub_id

__all__ = ["is_hub_id", "name_flaw"]


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
