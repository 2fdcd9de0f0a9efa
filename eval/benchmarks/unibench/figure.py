"""Chart of the MER-UniBench table: a dot with its interval for each set, a tick for the best constant answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from eval.benchmarks.unibench.table import constant_of, title
from eval.metrics.plot_style import BLUE, GRID, MUTED, ORANGE, plotted


def draw(table: Mapping[str, Any], path: Path) -> None:
    """Draw a table of `build_table` into a file; its suffix decides the format."""
    sets: Mapping[str, Any] = table["sets"]
    names = [f"{name} · {result['primary']['name']}" for name, result in sets.items()]
    scores = [*(result["primary"] for result in sets.values()), table["mean"]]
    figure = Figure(figsize=(8, 1.4 + 0.42 * len(scores)), layout="constrained")
    axes = figure.subplots()
    for row, score in enumerate(scores):
        if score["value"] is None:
            continue
        axes.plot([plotted(score["low"]), plotted(score["high"])], [row, row], color=BLUE, linewidth=4, alpha=0.45)
        end = (1.01, row)
        axes.annotate(f"{score['value']:.1%}", end, xycoords=("axes fraction", "data"), va="center", fontsize=9)
    known = [(score["value"], row) for row, score in enumerate(scores) if score["value"] is not None]
    axes.scatter(*zip(*known, strict=True), color=BLUE, zorder=3, label="score, with its 95 % interval")
    constants = [constant_of(result)[1] or 0.0 for result in sets.values()]
    axes.scatter(
        constants, range(len(constants)), marker="|", s=220, linewidths=2.5, color=ORANGE, label="best constant answer"
    )
    axes.set_yticks(range(len(scores)), [*names, f"mean of {table['mean']['sets']}"])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, colors=MUTED)
    figure.suptitle("\n".join(wrap(title(table), 105)), x=0.01, ha="left", fontsize=9)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    figure.savefig(path, dpi=160)
