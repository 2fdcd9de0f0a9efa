"""Figures of the page of several models: scores, and recall by class, a colour and a hatch for each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from eval.metrics.plot_style import (
    BLUE,
    GREEN,
    INK,
    MUTED,
    ORANGE,
    PURPLE,
    SKY,
    chart,
    draw_interval,
    new_figure,
    plotted,
)
from eval.metrics.stats import Metric

LOOKS = ((BLUE, ""), (ORANGE, "///"), (GREEN, "\\\\\\"), (PURPLE, "xx"), (SKY, "++"), (MUTED, "--"))
"""Colour and hatch of each model in turn."""


def _look(model: int) -> dict[str, Any]:
    colour, hatch = LOOKS[model % len(LOOKS)]
    # A hatch is drawn over the face with its opacity: it needs an opaque one.
    return {"facecolor": "white" if hatch else colour, "edgecolor": colour, "hatch": hatch, "linewidth": 1}


def _bar(axes: Axes, place: float, metric: Mapping[str, Any], model: int, height: float) -> None:
    axes.barh(place, plotted(metric.get("value")), height=height, **_look(model))
    draw_interval(axes, place, metric, across=True, color=INK, fmt="none", linewidth=1.3)


def _legend(figure: Figure, models: Sequence[str], constant: str) -> None:
    handles: list[Artist] = [Patch(**_look(place), label=name) for place, name in enumerate(models)]
    handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 3)), linewidth=1.4, label=constant))
    figure.legend(handles=handles, loc="outside upper left", ncols=min(len(handles), 4))


def _scale(axes: Axes) -> None:
    axes.set_xlim(0, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


@chart
def score_bars(
    scores: Mapping[str, Sequence[Metric]], constants: Mapping[str, float | None], models: Sequence[str]
) -> Figure:
    """Scores of every model with 95 % intervals, one panel a score; dashed is the best constant answer."""
    columns = min(3, len(scores))
    rows = -(-len(scores) // columns)
    figure = new_figure(1040, 50 + rows * (64 + 24 * len(models)))
    figure.set_layout_engine("constrained", hspace=0.1)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(scores) :]:
        axes.set_visible(False)
    for axes, (title, metrics) in zip(grid.flat, scores.items(), strict=False):
        for model, metric in enumerate(metrics):
            _bar(axes, model, metric, model, 0.7)
        if (constant := constants.get(title)) is not None:
            axes.axvline(constant, color=INK, linestyle=(0, (4, 3)), linewidth=1.4)
        axes.set_title(title)
        axes.set_yticks([])
        axes.set_ylim(len(models) - 0.5, -0.5)
        _scale(axes)
    _legend(figure, models, "best constant answer")
    return figure


@chart
def class_bars(recalls: Mapping[str, Sequence[Metric]], models: Sequence[str], chance: float) -> Figure:
    """Recall of every class by every model with 95 % intervals; dashed is a constant answer, averaged over classes."""
    height = 0.8 / len(models)
    figure = new_figure(1040, 90 + len(recalls) * (14 + 15 * len(models)))
    axes = figure.subplots()
    for place, metrics in enumerate(recalls.values()):
        for model, metric in enumerate(metrics):
            _bar(axes, place - 0.4 + height * (model + 0.5), metric, model, 0.9 * height)
    axes.axvline(chance, color=INK, linestyle=(0, (4, 3)), linewidth=1.4)
    axes.set_yticks(range(len(recalls)), list(recalls), color=INK)
    axes.set_ylim(len(recalls) - 0.45, -0.55)
    axes.set_xlabel("share of the clips of a class that are named right (recall)")
    _scale(axes)
    _legend(figure, models, "answering always the same, averaged over classes")
    return figure
