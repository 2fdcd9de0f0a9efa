"""Result of an evaluator: one JSON object, and the same as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from eval.metrics.stats import Metric


class Evaluation(TypedDict):
    """Scores of one data set. Shares and scores are fractions, errors in the unit of the labels."""

    dataset: str
    mode: str
    n: int
    coverage: float
    """Share of the clips whose answer could be read; unread answers count as wrong."""
    primary: dict[str, Any]
    """Primary score: `name`, `value`, `low`, `high`."""
    secondary: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    """Scores of constant answers, by answer."""
    notes: NotRequired[list[str]]


def evaluation(
    dataset: str,
    mode: str,
    primary: str,
    metrics: Mapping[str, Metric],
    coverage: float,
    baselines: Mapping[str, Mapping[str, Metric]],
) -> Evaluation:
    """Assemble an evaluation; `primary` names the one of `metrics` that comes first."""
    first = metrics[primary]
    return {
        "dataset": dataset,
        "mode": mode,
        "n": first["n"],
        "coverage": round(coverage, 6),
        "primary": {"name": primary, "value": first["value"], "low": first["low"], "high": first["high"]},
        "secondary": {name: metric for name, metric in metrics.items() if name != primary},
        "baselines": {name: dict(scores) for name, scores in baselines.items()},
    }


def describe(result: Evaluation) -> str:
    """Describe an evaluation as text: each score, its 95 % interval, and that of the constant answer."""
    primary: Any = {**result["primary"], "n": result["n"]}
    rows = {result["primary"]["name"]: primary, **result["secondary"]}
    width = max(map(len, rows))
    constants = list(result["baselines"].items())
    lines = [
        f"{result['dataset']} ({result['mode']}): {result['n']} clips, {result['coverage']:.1%} of the answers readable"
    ]
    for name, metric in rows.items():
        beside = [f"{number(scores[name]['value'])} by {constant}" for constant, scores in constants if name in scores]
        lines.append(f"  {name:{width}}  {with_interval(metric)}" + (f"   {'; '.join(beside)}" if beside else ""))
    return "\n".join([*lines, *(f"  {note}" for note in result.get("notes", []))])


def number(value: float | None) -> str:
    """Format a figure with four digits, a dash for None."""
    return "–" if value is None else f"{value:.4f}"


def with_interval(metric: Mapping[str, Any]) -> str:
    """Format a figure and its interval."""
    return f"{number(metric['value'])} [{number(metric['low'])}, {number(metric['high'])}]"
