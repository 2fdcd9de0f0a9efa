"""The option `--search` of `affectgpt predict`: its settings, and the search for trees that they ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from affectgpt.problems import InputError, nearest, shorten
from affectgpt.settings import expectation

if TYPE_CHECKING:
    from videmo.search import SearchSettings, TreeSearch


def read_search(given: Sequence[str] | None) -> SearchSettings | None:
    """Read the settings, KEY=VALUE each; None where no search is asked for.

    Raises:
        InputError: with every problem of the settings.
    """
    if given is None:
        return None
    from pydantic import ValidationError

    from videmo.search import SearchSettings

    pairs = [item.partition("=") for item in given]
    try:
        return SearchSettings(**{key: value for key, _, value in pairs})  # type: ignore[arg-type]
    except ValidationError as errors:
        raise InputError([_problem(error, SearchSettings.model_fields) for error in errors.errors()]) from None


def open_search(settings: SearchSettings | None, device: Any) -> TreeSearch | None:
    """Load the scorer of a search, on the device of the model, and seed its drawing."""
    if settings is None:
        return None
    import torch

    from videmo.scorers import load_scorer
    from videmo.search import TreeSearch

    torch.manual_seed(settings.seed)
    return TreeSearch(settings, load_scorer(settings.scorer, device))


def _problem(error: Any, known: Iterable[str]) -> str:
    name = error["loc"][0]
    if error["type"] == "extra_forbidden":
        return f"--search {name}: unknown setting. {nearest(name, known)}"
    expected, _, hint = expectation(error).partition(". ")
    return f"--search {name}: expected {expected}, got {shorten(error['input'])}. {hint}".removesuffix(". ")
