"""The part of the report about plugins: the language model with them, without, and with false evidence."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from eval.report.figures import ablation_bars
from eval.report.html import table

NAMES = {
    "plugin": "with the plugins",
    "no_plugin": "by itself",
    "oracle": "oracle: the true emotion always on the list",
    "random_emotions": "random emotions",
    "random_causes": "random causes",
    "plugin_situation": "with the plugins and the situation",
    "no_plugin_situation": "with the situation alone",
}
SHOWN = 4
"""Dialogues that are shown whole."""


def empathy(found: Mapping[str, Any]) -> str:
    """Table, figure and some dialogues of an evaluation of plugins."""
    plugin, conditions = found["plugin"], found["conditions"]
    recall = plugin["recall_at"]
    note = (
        "Small models, trained on the same dialogues, tell the language model in its prompt which few emotions are "
        "likeliest, to be looked at first, and which words may have brought the emotion about (HEF, arXiv 2402.11801). "
        f"The emotion plugin by itself is right in {_percent(plugin['accuracy'])} % of {found['n']} dialogues; the "
        f"true emotion is among its first three in {_percent(recall['3'])} %. The controls tell help from luck: with "
        "evidence shuffled at random the model must not gain; with the true emotion always on the list it may gain "
        "most."
    )
    rows = [_row(name, metrics, found["over_no_plugin"].get(name)) for name, metrics in conditions.items()]
    heads = ["the model is told", "accuracy", "more than by itself", "macro F1", "decided in stage 1", "answers read"]
    bars = [(NAMES.get(name, name), {"accuracy": metrics["accuracy"]}) for name, metrics in conditions.items()]
    figure = ablation_bars(bars, {"accuracy": "Emotions named right"})
    shown = "".join(_card(row) for row in found.get("examples", [])[:SHOWN])
    return (
        f'<p class="note">{note}</p>{figure}{table("Test dialogues", heads, rows)}'
        + _responses(found.get("responses", {}))
        + (f"<h3>Some of them, drawn without a look at the answers</h3>{shown}" if shown else "")
    )


def _row(name: str, metrics: Mapping[str, Any], over: Mapping[str, Any] | None) -> list[str]:
    difference = "–"
    if over is not None and over["value"] is not None:
        difference = f"{100 * over['value']:+.1f}<small>{100 * over['low']:+.1f} to {100 * over['high']:+.1f}</small>"
    return [
        NAMES.get(name, escape(name)),
        _cell(metrics["accuracy"]),
        difference,
        _cell(metrics["macro_f1"]),
        _cell(metrics.get("stage1_rate")),
        _cell(metrics["coverage"]),
    ]


def _cell(metric: Mapping[str, Any] | None) -> str:
    if metric is None or metric["value"] is None:
        return '<span class="none">–</span>'
    return f"{_percent(metric['value'])}<small>{_percent(metric['low'])}–{_percent(metric['high'])}</small>"


def _responses(found: Mapping[str, Mapping[str, float]]) -> str:
    if not found:
        return ""
    columns = list(next(iter(found.values())))
    rows = [
        [NAMES.get(name, escape(name)), *(_percent(scores[key]) for key in columns)] for name, scores in found.items()
    ]
    return table("Responses", ["the model is told", *map(escape, columns)], rows)


def _card(row: Mapping[str, Any]) -> str:
    """A dialogue, what the plugins say of it, and what the model says with and without them."""
    turns = "".join(f"<li>{escape(text)}</li>" for text in row["turns"])
    said = "".join(
        f"<tr><th>{NAMES[name]}</th>"
        f"<td>{_mark(found['emotion'] == row['truth'])} {escape(found['emotion'] or '–')}</td>"
        f"<td>{escape(found['response'] or '–')}</td></tr>"
        for name, found in row["said"].items()
        if name in ("no_plugin", "plugin")
    )
    # Runs of v0.1.0 kept the likeliest emotions and the causes alone.
    causes = f"causes: {', '.join(row['causes'])}" if row.get("causes") else ""
    shown = "; ".join(row.get("evidence") or filter(None, [", ".join(row["first"]), causes]))
    return (
        f'<article class="card"><header><h3>{escape(str(row["truth"]))}</h3><span class="id">{escape(row["id"])}</span>'
        f'</header><ul class="turns">{turns}</ul><p class="note">Plugins: {escape(shown)}</p>'
        f'<table class="said"><tbody>{said}</tbody></table></article>'
    )


def _mark(right: bool) -> str:
    return '<span class="yes">✓</span>' if right else '<span class="no">✗</span>'


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
