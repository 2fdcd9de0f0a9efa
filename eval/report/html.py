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


def score_cell(metric: Mapping[str, Any] | None, best: float | None = None, notes: Sequence[str] = ()) -> Cell:
    """Make the cell of a score and its interval in per cent, then `notes`; marked if it reaches a `best` above 0."""
    value = value_of(metric)
    if metric is None or value is None:
        return MISSING
    low, high = metric.get("low"), metric.get("high")
    interval = [percent_range(low, high)] if low is not None and high is not None else []
    return Cell(percent(value), [*interval, *notes], marked=best is not None and value >= best > 0)


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
    return made
