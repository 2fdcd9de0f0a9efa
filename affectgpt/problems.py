"""Errors about a user's input: all problems at once, each with its location, what was expected and how to mend it."""

from __future__ import annotations

import difflib
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from affectgpt.redaction import without_secrets
from affectgpt.terminal import printable

MOST = 20
"""Maximum number of problems that a message lists; it counts the rest."""
LONGEST = 600
"""Longest part of a problem in characters, since a row may quote anything."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem with a user's file: where it is, what was expected, what was found, and how to mend it."""

    file: str
    where: str
    expected: str
    got: str
    fix: str = ""

    def __str__(self) -> str:
        shown = {name: presentable(value, LONGEST) for name, value in asdict(self).items()}
        text = "{file}: {where}: expected {expected}, got {got}".format_map(shown)
        return f"{text}{'' if text.endswith('.') else '.'} {shown['fix']}" if self.fix else text


class InputError(ValueError):
    """Error that explains bad input; commands exit with 2 on it.

    Args:
        problems: every problem, not only the first; kept whole in `problems`.
        advice: last line of the message.
        most: maximum number of problems that the message lists.
    """

    def __init__(
        self, problems: Problem | str | Sequence[Problem | str], advice: str = "", most: int | None = MOST
    ) -> None:
        self.problems = [problems] if isinstance(problems, Problem | str) else list(problems)
        lines = [presentable(str(problem), 5 * LONGEST) for problem in self.problems[:most]]
        left = len(self.problems) - len(lines)
        if len(self.problems) > 1:
            lines = [f"{len(self.problems)} problems:", *(f"  {line}" for line in lines)]
        lines += [f"  and {left} more"] if left else []
        super().__init__("\n".join([*lines, advice] if advice else lines))


class RunError(RuntimeError):
    """Error that explains why a run cannot continue although its input is valid; commands exit with 1 on it."""

    def __init__(self, message: str) -> None:
        super().__init__(presentable(message, 5 * LONGEST))


def presentable(text: str, limit: int) -> str:
    """Return a text fit for a message: no secrets, no control characters, at most `limit` characters."""
    text = printable(without_secrets(text))
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def nearest(name: object, known: Iterable[object]) -> str:
    """Return 'Did you mean ...?' for a misspelt name, or the list of known names."""
    names = [str(item) for item in known]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"Known: {shown}." if names else "There are none."


def other_spelling(path: Path) -> str:
    """Return how a file that is not there is spelt on disk, in another case or Unicode form; an empty text if nowhere.

    macOS writes `é` as two characters, most tables as one (ArcReel/ArcReel#1578).
    """
    folder = Path(path.anchor)
    for part in path.parts[1:]:
        if not os.path.exists(folder / part):
            try:
                names = sorted(name for name in os.listdir(folder) if spelling_key(name) == spelling_key(part))
            except (OSError, ValueError):
                return ""
            if not names:
                return ""
            part = names[0]
        folder /= part
    differing = [pair for pair in zip(path.parts, folder.parts, strict=True) if pair[0] != pair[1]]
    if not differing:
        return ""
    here, there = (ascii("/".join(names)) for names in zip(*differing, strict=True))
    return f"The name is spelt {there} on disk and {here} here. Write it as on disk, or rename the file."


def spelling_key(text: str) -> str:
    """Return a text without what a reader does not see: case, spaces, invisible characters and the Unicode form."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return "".join(sign for sign in plain if not sign.isspace() and unicodedata.category(sign) != "Cf")


def shorten(value: object, limit: int = 80) -> str:
    """Return the repr of a value, cut to `limit` characters, for an error message."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def require_file(path: str | Path, what: str, remedy: str) -> Path:
    """Return `path` as a Path; raise InputError with `what` it should be and the `remedy` if no such file exists."""
    path = Path(path)
    if not path.is_file():
        raise InputError(Problem(str(path), what, "a file", "a folder" if path.is_dir() else "nothing there", remedy))
    return path
