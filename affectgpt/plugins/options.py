"""Options shared by the commands about plugins, and the reading of their values."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from affectgpt.evidence.dialogue import TASKS
from affectgpt.media_root import add_media_root
from affectgpt.problems import InputError, Problem


def add_task_option(parser: argparse.ArgumentParser, choices: Iterable[str] = TASKS) -> None:
    """Add the option `--tasks`, which chooses the rows of a row file to use.

    Args:
        choices: tasks that a user may name; the option's default means all tasks that a plugin learns from.
    """
    texts = "use only rows of these tasks (default: all that the plugin learns from)"
    parser.add_argument("--tasks", nargs="+", choices=[*choices], default=TASKS, metavar="TASK", help=texts)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Let a user name a row file, and the folder of its media."""
    data = "a row file, or lines of context and emotion"
    parser.add_argument("--data", required=True, type=Path, metavar="FILE.jsonl", help=data)
    add_media_root(parser)


def set_values(
    given: Sequence[str], read: Callable[[dict[str, Any]], dict[str, Any]], more: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Read KEY=VALUE settings of `--set`.

    Args:
        read: function that converts texts by name to settings.
        more: settings given by other options.

    Raises:
        InputError: a setting that is given twice, or the problems that `read` raises, each prefixed with the option.
    """
    pairs: dict[str, Any] = {key: value for key, _, value in (item.partition("=") for item in given)}
    if len(pairs) < len(given):
        twice = Counter(item.partition("=")[0] for item in given).most_common(1)[0][0]
        raise InputError(Problem("--set", f"'{twice}'", "a setting given once", "several values", "Remove the others."))
    pairs.update(more or {})
    try:
        return read(pairs)
    except InputError as error:
        raise InputError([f"--set {problem}" if pairs else problem for problem in error.problems]) from None
