"""Settings that a user gives by name, read as the annotations of the function that takes them have it."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from affectgpt.problems import shorten


def read_settings(function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Values of the types that a function's parameters have, and what is wrong with the others, by name.

    Args:
        given: names of parameters and what was given for each, perhaps as text.

    Returns:
        The values, and texts of the form 'expected ..., got ...'.
    """
    types = typing.get_type_hints(function, include_extras=True)
    values, wrong = {}, {}
    for name, value in given.items():
        try:
            values[name] = TypeAdapter(types.get(name, Any)).validate_python(value)
        except ValidationError as error:
            wrong[name] = f"expected {expectation(error.errors()[0])}, got {shorten(value)}"
    return values, wrong


def expectation(error: Mapping[str, Any]) -> str:
    """What pydantic expected, worded to stand behind 'expected'."""
    return str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")


def counts_below_one(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """What is wrong with options that must be 1 or more where they are given."""
    return [
        f"--{name.replace('_', '-')}: expected 1 or more, got {value}."
        for name in names
        if (value := getattr(options, name)) is not None and value < 1
    ]


def _model_name(name: str) -> str:
    if (Path(name) / "config.json").is_file():
        return name
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        raise ValueError("a model's folder, with its config.json, or an id of the Hub")
    return name


ModelName = Annotated[str, AfterValidator(_model_name)]
"""Type of a setting that names a model: a folder, or an id of the Hub. Nothing is loaded to check it."""
