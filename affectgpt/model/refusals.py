"""Models that would run code when they are loaded: none of it is run, and why is said in our words."""

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
_CONVERT = "Where you trust it, convert it in an environment of its own: load it there, and save it as safetensors."


def explains_refusals(load: Callable[P, T]) -> Callable[P, T]:
    """A function that loads a model, with `InputError` where transformers or torch refuse to run what it brings.

    These are classes of the model's own (all loading passes `trust_remote_code=False`), and weights that are pickled
    with more than tensors.
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
            found = _REPOSITORY.search(str(error))
            expected, got = "classes that transformers has", "code of the model's own, which is never run here"
            fix = "Take a model that needs none, or convert it with its authors' code to one that transformers knows."
            raise InputError(Problem(found[1] if found else str(args[0]), "auto_map", expected, got, fix)) from None

    return explained


def _pickled(source: str, error: Exception) -> InputError:
    reason = next((line for line in str(error).splitlines() if "Unsupported" in line), str(error).splitlines()[0])
    got = f"pickled objects, which could run code ({shorten(reason.strip(), 120)}). Refused"
    return InputError(Problem(source, "its weights", "tensors alone", got, _CONVERT))
