"""Templates of the report pages, and the plain values that they lay out.

Every value is escaped but `Markup`, which only figures are; a name without a value in a template is an error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from eval.report.glossary import Term
from eval.report.run_folder import value_of

DASH = "–"


@dataclass(frozen=True, slots=True)
class Cell:
    """Cell of a table: its text, bold if `marked`, grey if `muted`, and small lines below."""

    text: str
    notes: Sequence[str] = ()
    marked: bool = False
    muted: bool = False
    wraps: bool = False
    """Whether the notes may be longer than the column is wide."""
    about: str = ""
    """Definition of what the text names, shown when it is pointed at."""


MISSING = Cell(DASH, muted=True)
Cells = Sequence[Cell | str]
"""Cells of a row of a table, its name first."""


@dataclass(frozen=True, slots=True)
class Table:
    """Table; `muted` rows follow the others under the subheading `about`."""

    caption: str
    heads: Cells
    rows: Sequence[Cells]
    muted: Sequence[Cells] = ()
    about: str = ""


def percent(value: Any, sign: str = "") -> str:
    """Write a fraction in per cent, a dash if it is no finite number; with `sign` "+", gains get a plus."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return DASH
    return f"{100 * value:{sign}.1f}".replace("-", "−")


def percent_range(low: Any, high: Any, sign: str = "") -> str:
    """Write an interval in per cent."""
    return f"{percent(low, sign)}{' to ' if sign else DASH}{percent(high, sign)}"


def plain(value: Any, sign: str = "") -> str:
    """Write a number that is no share, a dash if it is not finite; with `sign` "+", gains get a plus."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        return DASH
    return f"{value:{sign}.3f}".replace("-", "−")


def plain_range(low: Any, high: Any, sign: str = "") -> str:
    """Write an interval of numbers that are no shares."""
    return f"{plain(low, sign)} to {plain(high, sign)}"


def score_cell(
    metric: Mapping[str, Any] | None, best: float | None = None, notes: Sequence[str] = (), term: Term | None = None
) -> Cell:
    """Make the cell of a score and its interval, in per cent unless its `term` says otherwise, then `notes`.

    It is marked if it reaches the `best` score; a score of 0 is never the best, an error of 0 is.
    """
    value = value_of(metric)
    if metric is None or value is None:
        return MISSING
    is_share = term is None or term.unit == "share"
    write, spread = (percent, percent_range) if is_share else (plain, plain_range)
    low, high = metric.get("low"), metric.get("high")
    interval = [spread(low, high)] if low is not None and high is not None else []
    if term is not None and term.lower_is_better:
        marked = best is not None and value <= best
    else:
        marked = best is not None and value >= best > 0
    return Cell(write(value), [*interval, *notes], marked=marked)


def sentence(parts: Sequence[str]) -> str:
    """Join parts with commas and "and": "a, b and c"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def render_template(name: str, **values: Any) -> str:
    """Render the template `templates/<name>`."""
    return environment().get_template(name).render(values)


@cache
def environment() -> Environment:
    """Return the environment of the templates, the same for all pages."""
    made = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["percent"] = percent
    made.filters["sentence"] = sentence
    return made
