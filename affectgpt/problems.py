"""How the project tells a user what is wrong with their input: everything at once, with the place and the remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a user's file: where it is, what was expected, what was found, how to mend it."""

    file: str
    where: str
    expected: str
    got: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.file}: {self.where}: expected {self.expected}, got {self.got}"
        return f"{text}. {self.fix}" if self.fix else text


class InputError(ValueError):
    """Bad input, explained. Carries every problem found, not only the first; commands exit with 2 on it."""

    def __init__(self, problems: Problem | str | Sequence[Problem | str], advice: str = "") -> None:
        self.problems = [problems] if isinstance(problems, Problem | str) else list(problems)
        lines = [str(problem) for problem in self.problems]
        if len(lines) > 1:
            lines = [f"{len(lines)} problems:", *(f"  {line}" for line in lines)]
        super().__init__("\n".join([*lines, advice] if advice else lines))


class RunError(RuntimeError):
    """A run that cannot go on, for no fault of its input, explained; commands exit with 1 on it."""


def nearest(name: object, known: Iterable[object]) -> str:
    """'Did you mean ...?' for a misspelt name, or the list of what there is."""
    names = [str(item) for item in known]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"Known: {shown}."


def shorten(value: object, limit: int = 80) -> str:
    """A value as an error message can carry it: its repr, cut to `limit` characters."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def require_file(path: str | Path, what: str, remedy: str) -> Path:
    """`path` as a Path; InputError naming `what` it should be and the `remedy` where no such file exists."""
    path = Path(path)
    if not path.is_file():
        raise InputError(Problem(str(path), what, "a file", "a folder" if path.is_dir() else "nothing there", remedy))
    return path
