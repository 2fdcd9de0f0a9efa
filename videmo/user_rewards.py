"""Resolves a reward's name and settings in a recipe to a function: the project's own, or one in a file of the user's.

A reward's parameters are columns, which every call passes by name, and settings, which the recipe gives. Mistakes in
either are reported here, before anything loads.
"""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from affectgpt.clip import FIELDS
from affectgpt.problems import InputError, Problem, nearest, require_file
from affectgpt.settings import read_settings
from videmo.rewards import REWARDS, RewardFunction

TRAINER_COLUMNS = ("completions", "prompts", "completion_ids", "trainer_state", "log_extra", "log_metric")
COLUMNS = (*TRAINER_COLUMNS, *FIELDS)
"""Columns that every call passes by name: those of TRL, and the fields of the rows."""
_SIGNATURE = "def {name}(completions, answer, **_) -> list[float | None]"


def reward_function(name: str, settings: Mapping[str, Any], files: Sequence[Path] = ()) -> RewardFunction:
    """Return the reward of that name with its settings filled in.

    Args:
        files: Python files of the user, which are run; their functions are rewards beside the project's.

    Raises:
        InputError: no such reward, or two; a signature that cannot be called; a setting that is unknown, missing or of
            the wrong type.
    """
    matches: list[tuple[str, Any]] = [("videmo.rewards", REWARDS[name])] if name in REWARDS else []
    functions = [(file, user_functions(file)) for file in files]
    matches += [(str(file), known[name]) for file, known in functions if name in known]
    if not matches:
        known = [*REWARDS, *(other for _, others in functions for other in others)]
        raise InputError(f"unknown reward '{name}'. {nearest(name, known)}")
    if len(matches) > 1:
        raise InputError(f"reward '{name}' is defined in {' and in '.join(file for file, _ in matches)}. Rename one")
    source, function = matches[0]
    return partial(function, **_checked(f"{source}: reward '{name}'", name, function, settings))


def _checked(where: str, name: str, function: Callable[..., Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the settings to the types of the function's annotations."""
    parameters = inspect.signature(function).parameters.values()
    kinds = {parameter.kind for parameter in parameters}
    unfit = kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}
    if unfit or inspect.Parameter.VAR_KEYWORD not in kinds or inspect.iscoroutinefunction(function):
        signature = f"{'async ' if inspect.iscoroutinefunction(function) else ''}{name}{inspect.signature(function)}"
        raise InputError(f"{where}: expected the signature '{_SIGNATURE.format(name=name)}', got '{signature}'")
    known = {
        parameter.name: parameter.default
        for parameter in parameters
        if parameter.name not in COLUMNS and parameter.kind is not inspect.Parameter.VAR_KEYWORD
    }
    problems = [f"{where}: unknown setting '{key}'. {_settings_of(key, known)}" for key in settings if key not in known]
    problems += [
        f"{where}: '{key}' is no column and has no value. {_meant(key)}A setting needs a value in the recipe"
        for key, default in known.items()
        if default is inspect.Parameter.empty and key not in settings
    ]
    values, wrong = read_settings(function, {key: value for key, value in settings.items() if key in known})
    problems += [f"{where}: setting '{key}': {problem}" for key, problem in wrong.items()]
    if problems:
        raise InputError(problems)
    return values


def _meant(key: str) -> str:
    """Return a hint at the column that was meant, if one is similar."""
    hint = nearest(key, COLUMNS)
    return f"{hint} " if hint.startswith("Did you mean") else ""


def _settings_of(key: str, known: Mapping[str, Any]) -> str:
    return nearest(key, ["weight", *known]) if known else "It has none besides 'weight'."


def user_functions(file: Path) -> dict[str, Callable[..., Any]]:
    """Return the public functions that a user's file defines, by name. The file is run once, and again when it changes.

    Raises:
        InputError: no such file, one that is not Python, or one that raises.
    """
    file = require_file(file, "a file of rewards", "Paths are relative to the folder of the command.").resolve()
    return _functions(file, file.read_bytes())


@lru_cache
def _functions(file: Path, content: bytes) -> dict[str, Callable[..., Any]]:
    name = f"rewards_{hashlib.sha256(str(file).encode() + content).hexdigest()[:16]}"
    spec = importlib.util.spec_from_loader(name, loader=None, origin=str(file))
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(file)
    sys.modules[name] = module  # dataclasses and pickle look a module up by its name
    try:
        exec(compile(content, file, "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        line = error.lineno if isinstance(error, SyntaxError) else frames[-1] if frames else 1
        got = f"{type(error).__name__}: {error}"
        raise InputError(Problem(str(file), f"line {line}", "a file that Python can run", got)) from error
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and inspect.isroutine(value) and value.__module__ == name
    }
