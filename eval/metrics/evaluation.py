"""Result of an evaluator: one JSON object, and the same as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from eval.metrics.stats import Metric, warn_of_groups


class Evaluation(TypedDict):
    """Scores of one data set. Shares and scores are fractions, errors in the unit of the labels."""

    dataset: str
    mode: str
    n: int
    coverage: float
    """Share of the clips whose answer could be read; unread answers count as wrong."""
    primary: dict[str, Any]
    """Primary score: `name`, `value`, `low`, `high`, and `groups` where whole groups are drawn."""
    secondary: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    """Scores of constant answers, by answer."""
    notes: list[str]
    """Remarks for readers of the scores: first what the intervals are drawn by."""


def evaluation(
    dataset: str,
    mode: str,
    primary: str,
    metrics: Mapping[str, Metric],
    coverage: float,
    baselines: Mapping[str, Mapping[str, Metric]],
) -> Evaluation:
    """Assemble an evaluation; `primary` names the first of `metrics`. Its notes say what the intervals are drawn by."""
    first = metrics[primary]
    leading = {"name": primary, "value": first["value"], "low": first["low"], "high": first["high"]}
    if "groups" in first:
        leading["groups"] = first["groups"]
    return {
        "dataset": dataset,
        "mode": mode,
        "n": first["n"],
        "coverage": round(coverage, 6),
        "primary": leading,
        "secondary": {name: metric for name, metric in metrics.items() if name != primary},
        "baselines": {name: dict(scores) for name, scores in baselines.items()},
        "notes": describe_groups(first.get("groups")),
    }


def describe_groups(groups: int | None) -> list[str]:
    """Say what intervals are drawn by, and warn of few groups."""
    if groups is None:
        return ["95 % intervals by clip"]
    counted = "one group" if groups == 1 else f"{groups} groups"
    return [f"95 % intervals by group: {counted}", *filter(None, [warn_of_groups(groups)])]


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
    return "\n".join([*lines, *(f"  {note}" for note in result["notes"])])


def number(value: float | None, digits: int = 4) -> str:
    """Format a figure, a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"


def with_interval(metric: Mapping[str, Any], digits: int = 4) -> str:
    """Format a figure and its interval."""
    return f"{number(metric['value'], digits)} [{number(metric['low'], digits)}, {number(metric['high'], digits)}]"
