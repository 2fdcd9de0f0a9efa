"""The part of the report about plugins: the language model with them, without, and with false evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from eval.report.figures import ablation_bars
from eval.report.glossary import EMPATHY_WORDS
from eval.report.html import DASH, Cell, Cells, Table, percent, percent_range, score_cell

NAMES = {
    "plugin": "with the plugins",
    "no_plugin": "by itself",
    "oracle": "oracle: the gold emotion always on the list",
    "random_emotions": "random emotions",
    "random_causes": "random causes",
    "plugin_situation": "with the plugins and the situation",
    "no_plugin_situation": "with the situation alone",
}
SHOWN = 4
"""Number of dialogues that are shown whole."""


def empathy(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of empathy.html.j2: table, figure and some dialogues of an evaluation of plugins."""
    conditions = found["conditions"]
    rows = [_row(name, metrics, found["over_no_plugin"].get(name)) for name, metrics in conditions.items()]
    figures = ["accuracy", "more than by itself", "macro F1", "decided in stage 1", "answers read"]
    heads: Cells = ["the model is given", *(Cell(name, about=EMPATHY_WORDS[name]) for name in figures)]
    bars = [(NAMES.get(name, name), {"accuracy": metrics["accuracy"]}) for name, metrics in conditions.items()]
    return {
        "n": found["n"],
        "plugin": found["plugin"],
        "figure": Markup(ablation_bars(bars, {"accuracy": "Emotions named right"})),
        "conditions": Table("Test dialogues", heads, rows),
        "responses": _responses(found.get("responses", {})),
        "dialogues": [{**row, "shown": _shown(row)} for row in found.get("examples", [])[:SHOWN]],
        "shown": {name: NAMES[name] for name in ("no_plugin", "plugin")},
    }


def _shown(row: Mapping[str, Any]) -> str:
    """Write the evidence of an example as text; runs of v0.1.0 kept only the likeliest emotions and the causes."""
    causes = f"causes: {', '.join(row['causes'])}" if row.get("causes") else ""
    return "; ".join(row.get("evidence") or filter(None, [", ".join(row["first"]), causes]))


def _row(name: str, metrics: Mapping[str, Any], over: Mapping[str, Any] | None) -> Cells:
    difference = Cell(DASH)
    if over is not None and over["value"] is not None:
        difference = Cell(percent(over["value"], "+"), [percent_range(over["low"], over["high"], "+")])
    return [
        NAMES.get(name, name),
        score_cell(metrics["accuracy"]),
        difference,
        score_cell(metrics["macro_f1"]),
        score_cell(metrics.get("stage1_rate")),
        score_cell(metrics["coverage"]),
    ]


def _responses(scores: Mapping[str, Mapping[str, float]]) -> Table | None:
    if not scores:
        return None
    columns = list(next(iter(scores.values())))
    rows = [[NAMES.get(name, name), *(percent(values[key]) for key in columns)] for name, values in scores.items()]
    return Table("Responses", ["the model is given", *columns], rows)
