"""Options that several commands about plugins take, and what is read of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from affectgpt.evidence.dialogue import TASKS
from affectgpt.problems import InputError


def add_task_option(parser: argparse.ArgumentParser, choices: Iterable[str] = TASKS) -> None:
    """Let a user choose which rows of a row file are taken.

    Args:
        choices: tasks that there may be; the default stands for all that a plugin learns from.
    """
    texts = "take rows of these tasks alone (all that the plugin learns from)"
    parser.add_argument("--tasks", nargs="+", choices=[*choices], default=TASKS, metavar="TASK", help=texts)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Let a user name a row file, and the folder of its media."""
    data = "a row file, or lines of context and emotion"
    parser.add_argument("--data", required=True, type=Path, metavar="FILE.jsonl", help=data)
    roots = "folder of media paths (default: the row file's)"
    parser.add_argument("--media-root", type=Path, metavar="DIR", help=roots)


def set_values(
    given: Sequence[str], read: Callable[[dict[str, Any]], dict[str, Any]], more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read KEY=VALUE settings of `--set`.

    Args:
        read: makes settings of texts by name.
        more: settings of other options.

    Raises:
        InputError: of `read`, each problem headed by the option.
    """
    pairs: dict[str, Any] = {key: value for key, _, value in (item.partition("=") for item in given)}
    pairs.update(more or {})
    try:
        return read(pairs)
    except InputError as error:
        raise InputError([f"--set {problem}" if pairs else problem for problem in error.problems]) from None
