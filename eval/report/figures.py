"""Figures of a run's report, each an inline SVG without script, link or font of its own. Same numbers, same bytes.

Charts are drawn by matplotlib; the figure of a clip is written by hand, so that frames, voice and pitch share one time
axis and the frames stay small JPEGs. Colours are Okabe and Ito's, which colour-blind people tell apart; marker, dash or
hatch always says the same as the colour.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from eval.metrics.plot_style import (
    BLUE,
    GREEN,
    GRID,
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

Metrics = Mapping[str, Mapping[str, Any]]
"""Metric name -> {"value", "low", "high", "n"}, as in report.json."""

StageScores = tuple[str, Metrics, Metrics]
"""Name of a stage, its scores on all clips and on conflict clips."""


def _curve(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str, colour: str) -> tuple[float, float] | None:
    """Draw raw values faint and their running mean over an eighth of the curve strong; return the end of the mean."""
    points = [(row["step"], plotted(row.get(key))) for row in rows]
    steps, values = np.array([point for point in points if math.isfinite(point[1])]).reshape(-1, 2).T
    half = len(values) // 16
    smooth = [values[max(0, index - half) : index + half + 1].mean() for index in range(len(values))]
    axes.plot(steps, values, color=colour, alpha=0.3, linewidth=1)
    axes.plot(steps, smooth, color=colour, linewidth=2.2)
    return (float(steps[-1]), float(smooth[-1])) if smooth else None


def _step_axis(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))


@chart
def loss_curves(curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Training loss over steps, one panel a stage, on one common scale."""
    columns = min(4, len(curves))
    rows = math.ceil(len(curves) / columns)
    figure = new_figure(1040, 230 * rows)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(curves) :]:
        axes.set_visible(False)
    for axes, (stage, points) in zip(grid.flat, curves.items(), strict=False):
        _curve(axes, points, "loss", BLUE)
        _step_axis(axes, stage)
    grid[0, 0].set_ylim(bottom=0)
    for axes in grid[:, 0]:
        axes.set_ylabel("loss")
    return figure


@chart
def reward_curves(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Reward of a GRPO stage over steps, in all and by component, beside signs of the health of training."""
    figure = new_figure(1040, 320)
    health = {
        "kl": "drift from the start (KL)",
        "entropy": "entropy",
        "completion_length": "length (tokens)",
        "loss": "loss",
    }
    health = {key: title for key, title in health.items() if any(math.isfinite(plotted(row.get(key))) for row in rows)}
    side = figure.add_gridspec(2, 4, width_ratios=(1, 1, 0.9, 0.9))
    main = figure.add_subplot(side[:, :2] if health else side[:, :])
    components = sorted({key for row in rows for key in row if key.startswith("rewards/") and not key.endswith("/std")})
    looks = zip([INK, BLUE, ORANGE, GREEN, PURPLE, SKY], "osD^vP", strict=True)
    for key, (colour, marker) in zip(["reward", *components], looks, strict=False):
        end = _curve(main, rows, key, colour)
        label = "all together" if key == "reward" else key.removeprefix("rewards/").removesuffix("/mean")
        if end:
            # The marker at the end names the curve in the legend: by shape as well as by colour.
            main.plot(*end, marker=marker, color=colour, label=label, clip_on=False, markersize=7)
    _step_axis(main, "reward")
    main.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=6, handletextpad=0.2, columnspacing=1.4)
    for place, (key, title) in zip(((0, 2), (0, 3), (1, 2), (1, 3)), health.items(), strict=False):
        axes = figure.add_subplot(side[place])
        _curve(axes, rows, key, MUTED)
        _step_axis(axes, title)
        axes.title.set_fontsize(12)
    return figure


@chart
def confusion_matrix(labels: Sequence[str], columns: Sequence[str], counts: Sequence[Sequence[int]]) -> Figure:
    """Confusion matrix: rows are gold labels, columns the model's predictions, shades the share of the row."""
    table = np.array(counts, float).reshape(len(labels), len(columns))
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    size = 40 if len(columns) <= 16 else 26
    figure = new_figure(230 + size * len(columns), 170 + size * len(labels))
    axes = figure.subplots()
    axes.imshow(shares, cmap=LinearSegmentedColormap.from_list("share", ["#ffffff", BLUE]), vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(table), strict=True):
        colour = "white" if shares[row, column] > 0.5 else INK
        bold = "bold" if labels[row] == columns[column] else "normal"
        axes.text(column, row, f"{table[row, column]:.0f}", ha="center", va="center", color=colour, weight=bold)
    axes.grid(False)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(columns)), columns, rotation=40, ha="left", rotation_mode="anchor", color=INK)
    axes.set_yticks(range(len(labels)), labels, color=INK)
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(-0.5, len(columns)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(labels)), minor=True)
    axes.grid(which="minor", color=GRID)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("the model said")
    axes.set_ylabel("gold")
    return figure


@chart
def class_chart(recalls: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Recall of every class with its 95 % interval; dashed is a constant answer, averaged over classes."""
    figure = new_figure(760, 70 + 26 * len(recalls))
    axes = figure.subplots()
    for place, metric in enumerate(recalls.values()):
        axes.barh(place, plotted(metric.get("value")), height=0.62, color="#9ccbe6")
        draw_interval(axes, place, metric, across=True, color=INK, fmt="none", linewidth=1.5)
    axes.axvline(1 / len(recalls), color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4)
    axes.set_yticks(range(len(recalls)), list(recalls), color=INK)
    axes.set_ylim(len(recalls) - 0.45, -0.55)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("recall; in brackets, the number of clips; dashed: any constant answer, averaged over classes")
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
    return figure


def _series(axes: Axes, metric: str, scores: Sequence[Any], shift: float, **looks: Any) -> None:
    """Draw one metric over stages, shifted from their ticks."""
    values = [plotted(stage.get(metric, {}).get("value")) for stage in scores]
    places = [place + shift for place in range(len(values))]
    axes.plot(places, values, color=looks["color"], alpha=0.35, linewidth=1.5)
    for place, stage in zip(places, scores, strict=True):
        if metric in stage:
            draw_interval(axes, place, stage[metric], markersize=7, **looks)


@chart
def stage_chart(
    stages: Sequence[StageScores],
    titles: Mapping[str, str],
    baselines: Mapping[str, float],
    shares: Sequence[str] | None = None,
) -> Figure:
    """Every metric after every stage with 95 % intervals: all clips, conflict clips alone, best constant answer."""
    shares = list(titles) if shares is None else shares
    has_conflicts = any(conflict for _, _, conflict in stages)
    columns = min(3, len(titles))
    rows = math.ceil(len(titles) / columns)
    figure = new_figure(1040, 235 * rows + 30)
    figure.set_layout_engine("constrained", hspace=0.09, wspace=0.04)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(titles) :]:
        axes.set_visible(False)
    for axes, (metric, title) in zip(grid.flat, titles.items(), strict=False):
        places = range(len(stages))
        whole, conflict = ([stage[index] for stage in stages] for index in (1, 2))
        apart = 0.1 if has_conflicts else 0.0
        _series(axes, metric, whole, -apart, color=BLUE, marker="o", markerfacecolor=BLUE)
        _series(axes, metric, conflict, apart, color=ORANGE, marker="s", markerfacecolor="white")
        if metric in baselines:
            axes.axhline(baselines[metric], color=MUTED, linestyle=(0, (4, 3)), linewidth=1.4)
        axes.set_title("\n".join(textwrap.wrap(title, 34)))
        axes.set_xlim(-0.5, len(stages) - 0.5)
        axes.set_xticks(places, [name for name, _, _ in stages])
        if metric in shares:
            axes.set_ylim(0, 1.03)
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(axis="x", visible=False)
    line = matplotlib.lines.Line2D
    entries = [line([], [], color=BLUE, marker="o", markersize=7, label="all test clips")]
    if has_conflicts:
        looks: dict[str, Any] = {"color": ORANGE, "marker": "s", "markersize": 7, "markerfacecolor": "white"}
        entries.append(line([], [], label="conflict clips only", **looks))
    if baselines:
        entries.append(line([], [], color=MUTED, linestyle=(0, (4, 3)), label="constant answer"))
    figure.legend(handles=entries, loc="outside upper left", ncols=3)
    return figure


@chart
def ablation_bars(rows: Sequence[tuple[str, Metrics]], titles: Mapping[str, str]) -> Figure:
    """Scores lost without a part: the full model and its ablations with 95 % intervals, one panel a metric."""
    figure = new_figure(1040, 70 + 34 * len(rows))
    grid = figure.subplots(1, len(titles), sharey=True, squeeze=False)
    for axes, (metric, title) in zip(grid.flat, titles.items(), strict=True):
        for place, (name, metrics) in enumerate(rows):
            if metric not in metrics:
                continue
            hatched = name.startswith("masked_")
            looks: dict[str, Any] = {"color": BLUE} if place == 0 else {"color": "#9ccbe6"}
            if hatched:
                looks = {"facecolor": "white", "edgecolor": "#7fb5d6", "hatch": "////"}
            axes.barh(place, plotted(metrics[metric].get("value")), height=0.62, **looks)
            draw_interval(axes, place, metrics[metric], across=True, color=INK, fmt="none", linewidth=1.5)
        whole = plotted(rows[0][1].get(metric, {}).get("value"))
        if math.isfinite(whole):
            axes.axvline(whole, color=BLUE, linestyle=(0, (2, 3)), linewidth=1.4)
        axes.set_title(title)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    grid[0, 0].set_yticks(range(len(rows)), [name for name, _ in rows], color=INK)
    grid[0, 0].set_ylim(len(rows) - 0.4, -0.6)
    return figure
