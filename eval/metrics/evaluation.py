"""What every evaluator says: one JSON object, and the same for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict

from eval.metrics.stats import Metric


class Evaluation(TypedDict):
    """The scores of one data set. Shares and scores are fractions, errors in the unit of the labels."""

    dataset: str
    mode: str
    n: int
    coverage: float
    """Share of the clips whose answer could be read; the others count as wrong."""
    primary: dict[str, Any]
    """`name`, `value`, `low`, `high`."""
    secondary: dict[str, Metric]
    baselines: dict[str, dict[str, Metric]]
    """Constant answer -> its scores."""
    notes: NotRequired[list[str]]


def evaluation(
    dataset: str,
    mode: str,
    primary: str,
    metrics: Mapping[str, Metric],
    coverage: float,
    baselines: Mapping[str, Mapping[str, Metric]],
) -> Evaluation:
    """Put scores together; `primary` names the one of `metrics` that stands first."""
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


def describe(found: Evaluation) -> str:
    """The evaluation as lines of text: a score, its 95 % interval, and the constant answer beside it."""
    primary: Any = {**found["primary"], "n": found["n"]}
    rows = {found["primary"]["name"]: primary, **found["secondary"]}
    width = max(map(len, rows))
    constants = list(found["baselines"].items())
    lines = [
        f"{found['dataset']} ({found['mode']}): {found['n']} clips, {found['coverage']:.1%} of the answers readable"
    ]
    for name, metric in rows.items():
        beside = [f"{number(scores[name]['value'])} by {constant}" for constant, scores in constants if name in scores]
        lines.append(f"  {name:{width}}  {with_interval(metric)}" + (f"   {'; '.join(beside)}" if beside else ""))
    return "\n".join([*lines, *(f"  {note}" for note in found.get("notes", []))])


def number(value: float | None) -> str:
    """A figure with four digits, a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def with_interval(metric: Mapping[str, Any]) -> str:
    """A figure and its interval."""
    return f"{number(metric['value'])} [{number(metric['low'])}, {number(metric['high'])}]"
