"""Prints the ablation table of a run as Markdown, for docs/results.md.

python scripts/results_table.py runs/demo
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from eval.metrics.evaluation import number

COLUMNS = {
    "emotion_uar": "emotion UAR",
    "tree_similarity": "tree similarity",
    "expression_accuracy": "expressions",
    "attribute_accuracy": "attributes",
    "parse_rate": "well-formed",
}


def main(run: Path) -> None:
    """Print a row per ablation (value, 95 % interval; pooled over seeds, clustered by actor), then the comparisons."""
    table = json.loads((run / "ablations.json").read_text())
    print(f"| | {' | '.join(COLUMNS.values())} |")
    print(f"|---|{'---|' * len(COLUMNS)}")
    for name, metrics in table.items():
        print(f"| `{name}` | {' | '.join(_cell(metrics.get(column)) for column in COLUMNS)} |")
    print("\n| tree similarity, paired by clip | difference | p |\n|---|---|---|")
    for name, difference in json.loads((run / "comparisons.json").read_text()).items():
        first, _, second = name.partition(" over ")
        value, low, high = (
            "–" if difference[key] is None else f"{difference[key]:+.4f}" for key in ("value", "low", "high")
        )
        interval = f"{value} ({low} to {high})"
        print(f"| `{first}` over `{second}` | {interval} | {difference['p']:.2g} |")


def _cell(metric: dict[str, float] | None) -> str:
    if not metric or metric["value"] is None:
        return "–"
    value, low, high = (number(metric[key], 3) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "ablations.json").is_file():
        sys.exit("usage: python scripts/results_table.py RUN   (a run folder of 'affectgpt demo --ablate')")
    main(Path(sys.argv[1]))
