"""Builds the whole table of MER-UniBench from a folder of predictions: every set, one checkpoint each, and the mean.

The folder holds `SET/predictions_NN.jsonl`, one file for each checkpoint NN, or `SET.jsonl` for a single one.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.problems import InputError, Problem
from eval.benchmarks.unibench.scores import Scored
from eval.benchmarks.unibench.sets import BENCHMARKS
from eval.metrics.evaluation import number, with_interval
from eval.metrics.stats import size_of_mean, summary

ALONE = "-"
"""Name of the checkpoint of a file that names none."""
RULES = {
    "best-per-set": "in each set the checkpoint with the best score there, chosen on the test data as in the paper",
    "one": "one checkpoint for all sets",
}


def find_runs(folder: Path) -> dict[str, dict[str, Path]]:
    """Find the prediction files of a folder: data set -> checkpoint -> file, both in order.

    Raises:
        InputError: no such folder, or no prediction file in it.
    """
    if not folder.is_dir():
        raise InputError(Problem(str(folder), "the run", "a folder of predictions", "no folder"))
    runs: dict[str, dict[str, Path]] = {}
    for name in BENCHMARKS:
        files = [*(folder / name).glob("predictions*.jsonl"), *folder.glob(f"{name}.jsonl")]
        named = {path.stem.removeprefix("predictions").strip("_-") or ALONE: path for path in files[::-1]}
        if folder / f"{name}.jsonl" in files:
            named = {ALONE if stem == name else stem: path for stem, path in named.items()}
        if named:
            runs[name] = dict(sorted(named.items(), key=lambda item: _in_order(item[0])))
    if not runs:
        expected = "SET/predictions_NN.jsonl or SET.jsonl"
        shown = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "an empty folder"
        fix = f"SET is one of {', '.join(BENCHMARKS)}."
        raise InputError(Problem(str(folder), "its files", expected, shown, fix))
    return runs


def _in_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers by value: 5 before 30."""
    return [(int(part or 0), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def choose(scores: Mapping[str, Mapping[str, Scored]], rule: str) -> dict[str, str]:
    """Choose the checkpoint of each set.

    Args:
        scores: data set -> checkpoint -> scores.
        rule: `best-per-set`, `one` (the last that all sets have; ignores scores), or the name of a checkpoint.

    Raises:
        InputError: a set lacks the checkpoint.
    """
    if rule == "best-per-set":
        return {name: max(runs, key=lambda run: _value(runs[run])) for name, runs in scores.items()}
    shared = [run for run in next(iter(scores.values())) if all(run in runs for runs in scores.values())]
    if rule != "one" and rule not in shared:
        got = f"{rule!r}; all sets have {', '.join(shared) or 'none in common'}"
        raise InputError(Problem("--checkpoint", "its value", "best-per-set, one, or a checkpoint of all sets", got))
    if not shared:
        listed = "; ".join(f"{name}: {', '.join(runs)}" for name, runs in scores.items())
        fix = "Predict all sets with one checkpoint, or pass --checkpoint best-per-set."
        raise InputError(Problem("--checkpoint one", "the run", "a checkpoint that all sets have", listed, fix))
    return dict.fromkeys(scores, shared[-1] if rule == "one" else rule)


def build_table(scores: Mapping[str, Mapping[str, Scored]], rule: str, mode: str) -> dict[str, Any]:
    """Build the table as one JSON object: mode, checkpoints, scores of sets, unweighted mean of primary metrics."""
    chosen = choose(scores, rule)
    picked = {name: scores[name][run] for name, run in chosen.items()}
    value = float(np.mean([_value(item) for item in picked.values()]))
    drawn = np.mean([item.drawn for item in picked.values()], axis=0)
    mean = summary(value, drawn, len(picked), size=size_of_mean([item.size for item in picked.values()]))
    return {
        "mode": mode,
        "checkpoint": {"rule": rule, "chosen": chosen},
        "mean": {"value": value, "low": mean["low"], "high": mean["high"], "sets": len(picked), "of": len(BENCHMARKS)},
        "sets": {name: item.evaluation for name, item in picked.items()},
        "per_checkpoint": {name: {run: _value(item) for run, item in runs.items()} for name, runs in scores.items()},
    }


def _value(scored: Scored) -> float:
    """Return the primary metric; 0 if nothing could be scored."""
    return float(scored.evaluation["primary"]["value"] or 0.0)


def title(table: Mapping[str, Any]) -> str:
    """Return the title of the table: mode, checkpoint rule, number of sets."""
    rule, mean = table["checkpoint"]["rule"], table["mean"]
    how = RULES.get(rule, f"checkpoint {rule} for all sets")
    which = f" ({next(iter(table['checkpoint']['chosen'].values()))})" if rule == "one" else ""
    head = f"MER-UniBench, mode {table['mode']}, {mean['sets']} of {mean['of']} sets"
    return f"{head}; {how}{which}; 95 % intervals by dialogue or video where names tell them, else by clip"


def as_markdown(table: Mapping[str, Any]) -> str:
    """Render the table as Markdown."""
    head = ["set", "metric", "checkpoint", "clips", "score", "best constant answer", "readable"]
    lines = [title(table) + ".", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(table, with_interval)]
    lines.append(f"| **mean** | | | | {with_interval(table['mean'])} | | |")
    notes = [f"- {name}: {note}" for name, result in table["sets"].items() for note in result["notes"]]
    return "\n".join([*lines, *([""] if notes else []), *notes, ""])


def _rows(table: Mapping[str, Any], show: Callable[[Mapping[str, Any]], str]) -> list[list[str]]:
    rows = []
    for name, result in table["sets"].items():
        primary = result["primary"]
        constant, value = constant_of(result)
        beside = f"{number(value)} ({constant})"
        run = table["checkpoint"]["chosen"][name]
        rows.append([name, primary["name"], run, str(result["n"]), show(primary), beside, f"{result['coverage']:.1%}"])
    return rows


def constant_of(result: Mapping[str, Any]) -> tuple[str, float | None]:
    """Return the best constant answer to a set, and its primary score."""
    constant, scores = next(iter(result["baselines"].items()))
    return constant, scores[result["primary"]["name"]]["value"]


def as_csv(table: Mapping[str, Any]) -> str:
    """Render one row for each metric of each set, and the mean."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["set", "mode", "rule", "checkpoint", "metric", "value", "low", "high", "n", "coverage"])
    rule, mode = table["checkpoint"]["rule"], table["mode"]

    def write(name: str, run: str, metric: str, figure: Mapping[str, Any], rest: Sequence[object]) -> None:
        writer.writerow([name, mode, rule, run, metric, figure["value"], figure["low"], figure["high"], *rest])

    for name, result in table["sets"].items():
        run, rest = table["checkpoint"]["chosen"][name], [result["n"], result["coverage"]]
        write(name, run, result["primary"]["name"], result["primary"], rest)
        for metric, figure in result["secondary"].items():
            write(name, run, metric, figure, rest)
    write("mean", "", "mean of primaries", table["mean"], ["", ""])
    return out.getvalue()
