"""Page of a run: one self-contained HTML file, for people who look before they read.

It shows what report.json, log.jsonl and examples.jsonl of the run folder hold, and nothing else: scores in per cent,
and every text from data or from a model escaped. Same files, same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from eval.report.empathy import empathy
from eval.report.figures import (
    Metrics,
    ablation_bars,
    confusion_matrix,
    loss_curves,
    reward_curves,
    stage_chart,
)
from eval.report.gallery import clip_values, gallery
from eval.report.html import DASH, Cell, Cells, Table, render_template, score_cell
from eval.report.run_folder import Run, read_run, value_of
from eval.report.tree import tree_column
from videmo.tree import parse_tree

METRICS = {
    "emotion_uar": ("Emotion (UAR)", "recall of the emotion, averaged over emotions: each counts the same"),
    "emotion_war": ("Emotion (WAR)", "share of clips whose emotion is named right"),
    "tree_similarity": ("Tree similarity", "how close the written explanation is to the gold one; 100 is identical"),
    "expression_accuracy": ("Expressions", "share of questions about what is expressed answered right"),
    "attribute_accuracy": ("Attributes", "share of questions about what is seen and heard answered right"),
    "parse_rate": ("Well-formed", "share of explanations that obey the syntax"),
}
SPLITS = {"train": "training", "rl": "reinforcement", "dev": "choices (dev)", "test": "this report (test)"}
NONE = "(none)"
ScoreRow = tuple[Cells, Metrics]
"""Leading cells of a row of a table, and its scores."""


def write_report(run: Path) -> Path:
    """Write `run`/report.html from the files of the run folder.

    Raises:
        InputError: a file is missing or is not what a run writes.
    """
    path = run / "report.html"
    text = render(read_run(run))
    path.write_text(text, encoding="utf-8")
    return path


def render(run: Run) -> str:
    """Return the page as HTML."""
    report = run.report
    seconds, clips = report.get("resources", {}).get("wall_s"), report.get("data", {}).get("train", {}).get("clips")
    facts = [f"{clips} training clips"] if clips is not None else []
    facts += [f"{seconds / 60:.1f} minutes"] if isinstance(seconds, int | float) else []
    return render_template(
        "run.html.j2",
        title=report.get("title", run.folder.name),
        subtitle=" · ".join([*facts, f"seed {report.get('seed', DASH)}"]),
        run=run,
        **(_taught(run) if run.stages else {}),
        empathy=empathy(run.empathy) if run.empathy else None,
        ablations=_ablations(run) if report.get("ablations") else None,
        resources=_resources(run),
    )


def _taught(run: Run) -> dict[str, Any]:
    """Return the values of the sections about the stages that train on clips."""
    return {
        "introduction": _introduction(run),
        "tiles": _tiles(run),
        "learning": _learning(run),
        "confusion": _confusion(run),
        "gallery": gallery(run),
    }


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return DASH
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds:.1f} s ({seconds / 60:.1f} min)"


def _introduction(run: Run) -> dict[str, Any]:
    test = run.report.get("data", {}).get("test", {})
    known = {"clips", "actors"} <= set(test)
    example = next((row for row in run.examples if row.get("conflict")), run.examples[0] if run.examples else None)
    return {
        "clips": f"{test['clips']} clips of {test['actors']} people" if known else "clips",
        "rewarded": any(stage["rewarded"] for stage in run.stages),
        "clip": clip_values(run, example) if example else None,
        "tree": tree_column("Gold tree of this clip", parse_tree(example["truth"])) if example else None,
    }


def _tiles(run: Run) -> list[dict[str, Any]]:
    names = ("emotion_uar", "tree_similarity", "expression_accuracy", "attribute_accuracy")
    shown = [("metrics", name, *METRICS[name]) for name in names]
    meaning = "emotion (UAR) where face, voice and words disagree"
    shown.insert(1, ("conflict_metrics", "emotion_uar", "Conflict clips only", meaning))
    before = run.before_grpo or {}
    return [
        {
            "title": title,
            "meaning": meaning,
            "metric": metric,
            "before": value_of(before.get(field, {}).get(name)),
            "baseline": run.best_baseline(name) if field == "metrics" else None,
        }
        for field, name, title, meaning in shown
        if (metric := run.final.get(field, {}).get(name))
    ]


def _names(stages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the column titles of metrics, the known ones first."""
    found = [name for scores in stages for name in scores]
    known = {name: title for name, (title, _) in METRICS.items() if name in found}
    return {**known, **{name: name for name in found if name not in known}}


def _score_table(
    caption: str, leads: Sequence[str], rows: Sequence[ScoreRow], muted: Sequence[ScoreRow] = (), about: str = ""
) -> Table:
    """Make a table of scores by row and metric, the best of `rows` in bold; `leads` are the heads of the leading cells.

    A count that a whole column shares is shown in its head.
    """
    everything = [scores for _, scores in (*rows, *muted)]
    names = _names(everything)
    best = {name: max((value_of(scores.get(name)) or 0.0 for _, scores in rows), default=0.0) for name in names}
    counts = {name: {scores[name].get("n", DASH) for scores in everything if name in scores} for name in names}

    def cells(row: ScoreRow, marked: bool) -> Cells:
        leading, scores = row
        return [*leading, *(cell(name, scores.get(name), marked) for name in names)]

    def cell(name: str, metric: Mapping[str, Any] | None, marked: bool) -> Cell:
        notes = [f"n {metric['n']}"] if metric and "n" in metric and len(counts[name]) > 1 else []
        return score_cell(metric, best[name] if marked else None, notes)

    heads = [
        Cell(title, [f"n {n}" for n in counts[name]] if len(counts[name]) == 1 else ()) for name, title in names.items()
    ]
    marked, unmarked = ([cells(row, best) for row in group] for group, best in ((rows, True), (muted, False)))
    return Table(caption, [*leads, *heads], marked, unmarked, about)


def _stage_table(run: Run, field: str, caption: str) -> Table | None:
    """Make a table of one row a stage with the scores under `field`; on test clips with the baselines beneath."""
    stages = [stage for stage in run.stages if stage.get(field)]
    baselines = run.report.get("baselines", {}) if field == "metrics" else {}
    if not stages and not baselines:
        return None
    timed = field == "metrics"
    rows = [([_stage_name(stage), *([_stage_time(stage)] if timed else [])], stage[field]) for stage in stages]
    muted = [([name, ""], scores) for name, scores in baselines.items()]
    heads = ["after stage", *(["time"] if timed else [])]
    return _score_table(caption, heads, rows, muted, "answering always the same")


def _stage_name(stage: Mapping[str, Any]) -> Cell:
    return Cell(str(stage["name"]), [str(stage["title"])])


def _stage_time(stage: Mapping[str, Any]) -> Cell:
    reused = ["reused from an earlier run"] if stage.get("reused") else []
    return Cell(_duration(stage.get("seconds")), [f"{stage.get('steps', DASH)} steps", *reused])


def _learning(run: Run) -> dict[str, Any]:
    charted = [(str(s["name"]), s["metrics"], s.get("conflict_metrics", {})) for s in run.stages if s.get("metrics")]
    titles = {name: title for name, title in _names(metrics for _, metrics, _ in charted).items() if name in METRICS}
    baselines = {name: value for name in titles if (value := run.best_baseline(name)) is not None}
    losses = {
        str(stage["name"]): run.log[stage["name"]]
        for stage in run.stages
        if not stage["rewarded"] and any("loss" in row for row in run.log.get(stage["name"], []))
    }
    rewards = []
    for stage in run.stages:
        rows = run.log.get(stage["name"], [])
        if stage["rewarded"] and any("reward" in row for row in rows):
            rewards.append((stage["name"], Markup(reward_curves(rows))))
    conflict = "Conflict clips only: face, voice and words disagree"
    return {
        "chart": Markup(stage_chart(charted, titles, baselines)) if charted and titles else None,
        "test": _stage_table(run, "metrics", "All test clips"),
        "conflict": _stage_table(run, "conflict_metrics", conflict),
        "dev": _stage_table(run, "dev_metrics", "Dev clips"),
        "losses": Markup(loss_curves(losses)) if losses else None,
        "rewards": rewards,
    }


def _confusion(run: Run) -> dict[str, Any] | None:
    stages = [stage for stage in run.stages if (stage.get("confusion") or {}).get("counts")]
    if not stages:
        return None
    *earlier, last = [(stage["name"], Markup(confusion_matrix(*_axes_of(stage["confusion"])))) for stage in stages]
    return {"last": last, "earlier": earlier, "mistakes": _mistakes(stages[-1]["confusion"])}


def _axes_of(confusion: Mapping[str, Any]) -> tuple[list[str], list[str], list[list[int]]]:
    """Return names of rows, names of columns, counts. "(none)" is never a gold label, so that it has no row."""
    counts, labels = confusion["counts"], [str(label) for label in confusion["labels"]]
    rows = [label for label in labels if label != NONE]
    columns = labels if len(counts[0]) == len(labels) else [*labels, NONE]
    return rows, columns, counts[: len(rows)]


def _mistakes(confusion: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
    """Return gold label, predicted label, count, and count of the gold label, of errors made more than once, sorted."""
    rows, columns, counts = _axes_of(confusion)
    wrong = sorted(
        (-count, gold, predicted, sum(line))
        for gold, line in zip(rows, counts, strict=True)
        for predicted, count in zip(columns, line, strict=True)
        if count > 1 and gold != predicted
    )
    return [(gold, predicted, -count, total) for count, gold, predicted, total in wrong[:8]]


def _ablations(run: Run) -> dict[str, Any]:
    ablations: dict[str, Metrics] = run.report["ablations"]
    rows = [("full model", run.final.get("metrics", {})), *ablations.items()]
    names = _names(scores for _, scores in rows)
    titles = {name: title for name, title in names.items() if name in ("emotion_uar", "tree_similarity")}
    return {
        "masked": any(name.startswith("masked_") for name in ablations),
        "chart": Markup(ablation_bars(rows, titles)) if titles else None,
        "scores": _score_table("All test clips", ["variant"], [([name], scores) for name, scores in rows]),
    }


def _resources(run: Run) -> dict[str, Any]:
    report = run.report
    resources, data = report.get("resources", {}), report.get("data", {})
    memory = resources.get("peak_rss_mb")
    versions = ", ".join(f"{name} {version}" for name, version in report.get("versions", {}).items())
    splits = {name: counts for name, counts in data.items() if isinstance(counts, Mapping)}
    columns = list(dict.fromkeys(key for counts in splits.values() for key in counts))
    rows = [
        [SPLITS.get(name, name), *(str(counts.get(key, DASH)) for key in columns)] for name, counts in splits.items()
    ]
    return {
        "facts": {
            "Time": _duration(resources.get("wall_s")),
            "Peak memory": f"{memory:.0f} MB" if isinstance(memory, int | float) else DASH,
            "Seed": report.get("seed", DASH),
            "Versions": versions or DASH,
        },
        "data": Table("Data", ["used for", *columns], rows) if rows else None,
    }
