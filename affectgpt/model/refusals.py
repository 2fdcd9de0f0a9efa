"""Refusals of models that would run code when they are loaded: nothing is run, and the message explains why."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from affectgpt.problems import InputError, Problem, shorten

P = ParamSpec("P")
T = TypeVar("T")
_REPOSITORY = re.compile(r"The repository (\S+)")
_CONVERT = "If you trust it, convert it in a separate environment: load it there and save it as safetensors."


def explains_refusals(load: Callable[P, T]) -> Callable[P, T]:
    """Wrap a loading function so that it raises `InputError` where transformers or torch refuse to run a model's code.

    Such code is classes of the model's own (all loading passes `trust_remote_code=False`), or weights pickled with more
    than tensors.
    """

    @wraps(load)
    def explained(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return load(*args, **kwargs)
        except pickle.UnpicklingError as error:
            raise _pickled(str(args[0]), error) from None
        except RuntimeError as error:
            if "weights_only" not in str(error):
                raise
            raise _pickled(str(args[0]), error) from None
        except ValueError as error:
            if "trust_remote_code" not in str(error):
                raise
            repository = _REPOSITORY.search(str(error))
            expected, got = "classes of transformers", "code of the model's own, which is never run here"
            fix = "Use a model that needs none, or convert it with its authors' code to one that transformers has."
            source = repository[1] if repository else str(args[0])
            raise InputError(Problem(source, "auto_map", expected, got, fix)) from None

    return explained


def _pickled(source: str, error: Exception) -> InputError:
    reason = next((line for line in str(error).splitlines() if "Unsupported" in line), str(error).splitlines()[0])
    got = f"pickled objects, which could run code ({shorten(reason.strip(), 120)}). Refused"
    return InputError(Problem(source, "its weights", "only tensors", got, _CONVERT))
