"""Gallery of the report: a card for every clip, with its inputs, its gold answer and the model's answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import av
from markupsafe import Markup

from eval.report.clip import clip_figure
from eval.report.run_folder import Run
from eval.report.tree import LEGEND, compare, tree_column
from videmo.tree import parse_tree


def gallery(run: Run) -> dict[str, Any]:
    """Return the values of the gallery: the legend of the trees and the cards of all clips of the run folder."""
    shown = _shown_stages(run)
    return {"legend": LEGEND, "cards": [_card(run, row, shown) for row in run.examples]}


def _shown_stages(run: Run) -> dict[str, str]:
    """Return the stages to show with the titles of their columns: the last one, and the one before GRPO."""
    last = str(run.final["name"])
    before = run.before_grpo
    if before is None or before["name"] == last:
        return {last: f"Model after {last}"}
    return {str(before["name"]): "Model before GRPO", last: "Model after GRPO"}


def _card(run: Run, row: Mapping[str, Any], shown: Mapping[str, str]) -> dict[str, Any]:
    gold = parse_tree(row["truth"])
    responses = {shown[stage]: row["predictions"][stage] for stage in shown if stage in row["predictions"]}
    return {
        "emotion": ", ".join(node.label for node in gold.emotions),
        "is_conflict": bool(row.get("conflict")),
        "id": row["id"],
        "group": row.get("group"),
        "clip": clip_values(run, row),
        "verdicts": [_verdict(title, row["truth"], text) for title, text in responses.items()],
        "trees": [
            tree_column("Gold tree", gold),
            *(tree_column(title, gold, text) for title, text in responses.items()),
        ],
        "as_written": {"gold tree": row["truth"], **row["predictions"]},
    }


def _verdict(title: str, gold: str, response: str) -> dict[str, Any]:
    """Return the values of a verdict: whether the model named the gold emotion."""
    written = parse_tree(response)
    return {
        "title": title,
        "emotion": ", ".join(node.label for node in written.emotions),
        "is_right": all(branch.status == "right" for branch in compare(parse_tree(gold), written).emotions),
    }


def clip_values(run: Run, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figure of a clip, None if its file is gone or broken, and its subtitle."""
    figure: Markup | None
    try:
        figure = Markup(clip_figure(run.folder / str(row["video"])))
    except (av.FFmpegError, OSError, ValueError, IndexError):
        figure = None
    return {"figure": figure, "subtitle": row.get("subtitle")}
