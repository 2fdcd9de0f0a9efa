"""Style of every chart: colours that colour-blind people can tell apart, and inline SVG that is reproducible.

Colours are Okabe and Ito's; a marker, dash or hatch always carries the same information as the colour.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping
from functools import wraps
from html import escape
from typing import Any, ParamSpec

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, MUTED, GRID = "#1d2733", "#5b6675", "#e3e7ec"
BLUE, ORANGE, GREEN, PURPLE, SKY = "#0072b2", "#d55e00", "#009e73", "#b0578f", "#56b4e9"

_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "affectgpt",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#b8c0ca",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
_P = ParamSpec("_P")


def chart(draw: Callable[_P, Figure]) -> Callable[_P, str]:
    """Turn a function that draws a matplotlib figure into one that returns the SVG; its docstring becomes the text
    alternative of the chart.
    """

    @wraps(draw)
    def drawn(*args: _P.args, **kwargs: _P.kwargs) -> str:
        with matplotlib.rc_context(_STYLE):
            buffer = io.StringIO()
            draw(*args, **kwargs).savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        svg = buffer.getvalue()
        svg = svg[svg.index("<svg") :]
        svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
        # Every figure numbers its groups from the start: in one page their ids would clash, and nothing refers to them.
        svg = re.sub(r'<g id="[^"]*"', "<g", svg)
        label = escape(" ".join((draw.__doc__ or "").split()))
        width, box = re.search(r'width="([\d.]+)pt".*?viewBox="([^"]+)"', svg, flags=re.DOTALL).groups()  # type: ignore[union-attr]
        opening = f'<svg class="chart" role="img" aria-label="{label}" width="{width}" viewBox="{box}">'
        return opening + svg[svg.index(">") + 1 :].strip()

    return drawn


def new_figure(width: int, height: int) -> Figure:
    """Create a figure of that many CSS pixels."""
    return Figure(figsize=(width / 72, height / 72), dpi=72)


def plotted(value: object) -> float:
    """Return a number for matplotlib, NaN (which it leaves out) for anything else."""
    return float(value) if isinstance(value, int | float) else math.nan


def draw_interval(axes: Axes, position: float, metric: Mapping[str, Any], across: bool = False, **looks: Any) -> None:
    """Draw a point with its interval; `across` lays it along x."""
    value = plotted(metric.get("value"))
    reach = [[max(0.0, value - plotted(metric.get("low")))], [max(0.0, plotted(metric.get("high")) - value)]]
    reach = [[0.0 if math.isnan(side[0]) else side[0]] for side in reach]
    if across:
        axes.errorbar([value], [position], xerr=reach, capsize=3, **looks)
    else:
        axes.errorbar([position], [value], yerr=reach, capsize=3, **looks)
