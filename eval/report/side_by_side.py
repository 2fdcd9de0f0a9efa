"""Page of several models: the same clips, score by score, class by class, with paired differences.

The others are compared with the first run. The page is made of `report.json` and of the answers under `predictions/`
alone; every text that comes from them is escaped, and the same files give the same page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from affectgpt.problems import InputError, require_file
from eval.compare.paired import paired_scores
from eval.metrics.stats import RESAMPLES, Difference, Metric, Tally, compare, intervals, mean_tally
from eval.metrics.task_scores import TaskScore
from eval.report.html import MISSING, Cell, Cells, Table, percent, percent_range, render_template, score_cell
from eval.report.run_folder import Run, read_run
from eval.report.side_by_side_figures import class_bars, score_bars

SCORES = {
    ("tree", "emotion_uar"): ("Emotion (UAR)", "recall of the emotion, averaged over emotions: each counts the same"),
    ("tree", "emotion_war"): ("Emotion (WAR)", "share of clips whose emotion is named right"),
    ("tree", "tree_similarity"): ("Tree similarity", "how close the written explanation is to the gold one"),
    ("tree", "attribute_similarity"): ("Tree: attributes", "the same, of what is seen and heard alone"),
    ("tree", "expression_similarity"): ("Tree: expressions", "the same, of what is expressed alone"),
    ("expression_single", "accuracy"): ("Expressions", "share of questions about what is expressed answered right"),
    ("attribute_closed", "accuracy"): ("Attributes", "share of questions about what is seen and heard answered right"),
    ("emotion_label", "accuracy"): ("Emotion label (accuracy)", "share of clips whose emotion is named right"),
    ("emotion_label", "uar"): ("Emotion label (UAR)", "the same, averaged over emotions"),
}
"""Titles and meanings of (task, score), in the order of the page; the primary scores of other tasks follow."""


@dataclass(frozen=True, slots=True)
class Row:
    """Row of the page: one score of every model."""

    title: str
    meaning: str
    values: list[Metric]
    differences: list[Difference]
    """Differences of the other models from the first."""
    constant: float | None


def write_side_by_side(folders: Sequence[Path], out: Path | None = None, resamples: int = RESAMPLES) -> Path:
    """Write the page of several runs; by default `side_by_side.html` in the folder of the first.

    Raises:
        InputError: a file is missing, a run is named twice, or the runs answered different clips.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError(f"{', '.join(map(str, folders))}: a run is named twice. Name each once.")
    path = out or folders[0] / "side_by_side.html"
    runs = [read_run(folder) for folder in folders]
    if bare := [str(run.folder) for run in runs if not run.stages]:
        raise InputError(f"{', '.join(bare)}: expected a run with a stage that teaches from clips, got none.")
    text = render(runs, resamples)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def render(runs: Sequence[Run], resamples: int = RESAMPLES) -> str:
    """Return the page as HTML."""
    names = _names(runs)
    scored = _score(runs)
    rows = _rows(scored, resamples)
    first = next(iter(scored.values()))[0]
    task = next((name for name in ("tree", "emotion_label", "expression_single") if name in scored), None)
    clips = len({row.key.partition("/")[0] for scores in scored.values() for row in scores[0].rows})
    clustered = any(row.group != row.key.partition("/")[0] for row in first.rows)
    return render_template(
        "side_by_side.html.j2",
        title="Models side by side",
        subtitle=f"{len(runs)} models · {clips} test clips",
        clips=clips,
        runs=dict(zip(names, runs, strict=True)),
        first=names[0],
        scores=_scores(rows, names),
        classes=_classes(scored[task], names, resamples) if task else None,
        agreement=_agreement(scored[task], names) if task else None,
        clustered=clustered,
        differences=len(rows) * (len(runs) - 1),
    )


def _names(runs: Sequence[Run]) -> list[str]:
    """Return a short name for each run: its folder, with as many parent folders as make the names differ."""
    parts = [run.folder.resolve().parts for run in runs]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(run.folder) for run in runs]


def _answers(run: Run) -> Path:
    path = run.folder / "predictions" / f"{run.final['name']}-test.jsonl"
    return require_file(path, "the answers of the last stage", "`affectgpt train` writes them: score the run again.")


def _score(runs: Sequence[Run]) -> dict[str, list[TaskScore]]:
    """Score every run, by task, on the same clips in the same order."""
    scored: dict[str, list[TaskScore]] = {}
    for run in runs[1:]:
        for task, (before, after) in paired_scores([_answers(runs[0])], [_answers(run)]).items():
            scored.setdefault(task, [before]).append(after)
    return scored


def _rows(scored: Mapping[str, Sequence[TaskScore]], resamples: int) -> list[Row]:
    rest = {
        (task, scores[0].primary): (f"{task}: {scores[0].primary.replace('_', ' ')}", "")
        for task, scores in scored.items()
        if not any(task == known for known, _ in SCORES)
    }
    rows = []
    for (task, name), (title, meaning) in {**SCORES, **rest}.items():
        if task in scored:
            scores = scored[task]
            tallies = [score.tallies[name] for score in scores]
            rows.append(_row(title, meaning, tallies, scores, scores[0].constant[1][name].value, resamples))
    for task, scores in scored.items():
        if task == "tree":
            tallies = [mean_tally(score.readable) for score in scores]
            rows.append(
                _row("Well-formed", "share of explanations that obey the syntax", tallies, scores, None, resamples)
            )
    return rows


def _row(
    title: str,
    meaning: str,
    tallies: Sequence[Tally],
    scores: Sequence[TaskScore],
    constant: float | None,
    resamples: int,
) -> Row:
    groups = scores[0].groups
    values = intervals({str(place): tally for place, tally in enumerate(tallies)}, groups, resamples)
    differences = [compare(tallies[0], other, groups, resamples) for other in tallies[1:]]
    return Row(title, meaning, list(values.values()), differences, constant)


def _difference(found: Difference) -> Cell:
    """Make the cell of a difference, marked if its interval excludes 0."""
    if found["value"] is None:
        return MISSING
    if found["low"] is None or found["high"] is None or found["p"] is None:
        return Cell(percent(found["value"], "+"), ["no interval"])
    interval = percent_range(found["low"], found["high"], "+")
    chance = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    return Cell(percent(found["value"], "+"), [interval, chance], marked=found["low"] > 0 or found["high"] < 0)


def _scores(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    first, *others = names
    heads = ["score", "constant answer", *names, *(f"{name}\n− {first}" for name in others)]
    cells = [
        [
            Cell(row.title, [f"{row.meaning}; n {row.values[0]['n']}"], wraps=True),
            Cell(percent(row.constant), muted=True),
            *map(score_cell, row.values),
            *map(_difference, row.differences),
        ]
        for row in rows
    ]
    charted = {row.title: row.values for row in rows[:6]}
    chart = score_bars(charted, {row.title: row.constant for row in rows}, names)
    return {"chart": Markup(chart), "table": Table("All scores", heads, cells)}


def _classes(scores: Sequence[TaskScore], names: Sequence[str], resamples: int) -> Markup:
    """Draw the recall of every class, hardest first."""
    labels = list(scores[0].recalls)
    found = [intervals(score.recalls, score.groups, resamples) for score in scores]
    mean = {label: np.mean([metrics[label]["value"] or 0.0 for metrics in found]) for label in labels}
    counts = {label: int(scores[0].recalls[label].parts[:, 1].sum()) for label in labels}
    order = sorted(labels, key=lambda label: (mean[label], label))
    bars = {f"{label} ({counts[label]})": [metrics[label] for metrics in found] for label in order}
    return Markup(class_bars(bars, names, 1 / len(labels)))


def _agreement(scores: Sequence[TaskScore], names: Sequence[str]) -> Table:
    """Make a table of how many clips both models get right, one alone, none."""
    name = "emotion_war" if "emotion_war" in scores[0].tallies else "accuracy"
    right = [score.tallies[name].parts[:, 0] > 0 for score in scores]
    first, *others = names
    rows: list[Cells] = [
        [
            other,
            *(
                Cell(str(int(np.sum(mask))), [f"{100 * np.mean(mask):.1f} %"])
                for mask in (right[0] & own, right[0] & ~own, ~right[0] & own, ~right[0] & ~own)
            ),
        ]
        for own, other in zip(right[1:], others, strict=True)
    ]
    heads = [f"compared with {first}", "both right", f"only {first} right", "only the other right", "both wrong"]
    return Table("Clips", heads, rows)
