"""Settings that a user gives by name, validated against the annotations of the function that takes them."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, TypeAdapter, ValidationError

from affectgpt.problems import shorten


def read_settings(function: Callable[..., Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Convert settings to the types of a function's parameters, and explain those that do not fit.

    Args:
        given: parameter name -> the value given for it, possibly as text.

    Returns:
        Valid values by name, and for each other name a text 'expected ..., got ...'.
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
    """Return what pydantic expected, worded to follow 'expected'."""
    if error.get("type") == "path_type":
        return "a path"
    return str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")


def counts_below_one(options: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Return a problem for each option that is given and below 1."""
    return [
        f"--{name.replace('_', '-')}: expected 1 or more, got {value}."
        for name in names
        if (value := getattr(options, name)) is not None and value < 1
    ]


def _model_name(name: str) -> str:
    if (Path(name) / "config.json").is_file():
        return name
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        raise ValueError("a model's folder with its config.json, or a Hub id")
    return name


ModelName = Annotated[str, AfterValidator(_model_name)]
"""Type of a setting that names a model: a folder or a Hub id. Nothing is loaded to check it."""
