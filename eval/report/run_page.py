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

from eval.report.answered import answered, confusion
from eval.report.empathy import empathy
from eval.report.figures import Metrics, ablation_bars, loss_curves, reward_curves, stage_chart
from eval.report.findings import MODALITIES, findings
from eval.report.gallery import clip_values, gallery, is_tree
from eval.report.glossary import (
    EMPATHY_WORDS,
    SCORES,
    SIGNAL_WORDS,
    TERMS,
    TREE_WORDS,
    WORDS,
    definitions,
    is_taught,
    term_of,
)
from eval.report.html import DASH, Cell, Cells, Table, percent, plain, render_template, score_cell
from eval.report.model_inputs import WORDS as SENSES
from eval.report.model_inputs import model_inputs, reads_evidence
from eval.report.run_folder import Run, read_run, value_of
from eval.report.tree import tree_column
from videmo.tree import parse_tree

SPLITS = {"train": "training", "rl": "reinforcement", "dev": "choices (dev)", "test": "this report (test)"}
NOT_ASKED = Cell("not asked", muted=True)
HEADLINED = 6
"""Number of scores that stand first on the page."""
ScoreRow = tuple[Cells, Mapping[str, Any]]
"""Leading cells of a row of a table, and the stage whose scores it shows, with `metrics` and perhaps `taught`."""


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
    values: dict[str, Any] = {
        "findings": findings(report),
        "introduction": None,
        "tiles": [],
        "learning": None,
        "confusion": None,
        "answered": [],
        "gallery": None,
        **(_taught(run) if run.stages else {}),
        "empathy": empathy(run.empathy) if run.empathy else None,
        "ablations": _ablations(run) if report.get("ablations") else None,
    }
    sections = {
        "findings": ("What the figures say", values["findings"]),
        "scores": ("What it can do now", values["tiles"]),
        "learning": ("How it learned", values["learning"]),
        "confusion": ("Which answers it confuses", values["confusion"]),
        "answered": ("Task by task", values["answered"]),
        "clips": ("Single clips", values["gallery"]),
        "empathy": ("Plugins", values["empathy"]),
        "ablations": ("What each part is worth", values["ablations"]),
    }
    return render_template(
        "run.html.j2",
        title=report.get("title", run.folder.name),
        subtitle=_subtitle(run),
        run=run,
        sections={name: title for name, (title, content) in sections.items() if content},
        resources=_resources(run),
        words=_words(run, values),
        **values,
    )


def _subtitle(run: Run) -> str:
    report = run.report
    train, seconds = report.get("data", {}).get("train", {}), report.get("resources", {}).get("wall_s")
    counted = "clips" if train.get("clips") else "rows"
    facts = [f"{train[counted]} training {counted}"] if counted in train else []
    facts += [f"{seconds / 60:.1f} minutes"] if isinstance(seconds, int | float) else []
    return " · ".join([*facts, f"seed {report.get('seed', DASH)}"])


def _taught(run: Run) -> dict[str, Any]:
    """Return the values of the sections about the stages that train on clips."""
    return {
        "introduction": _introduction(run),
        "tiles": _tiles(run),
        "learning": _learning(run),
        "confusion": confusion(run.stages),
        "answered": answered(run.final, run.report.get("answers", {})),
        "gallery": gallery(run),
    }


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return DASH
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds:.1f} s ({seconds / 60:.1f} min)"


def _introduction(run: Run) -> dict[str, Any]:
    test = run.report.get("data", {}).get("test", {})
    trees = [row for row in run.examples if is_tree(row)]
    example = next((row for row in trees if row.get("conflict")), trees[0] if trees else None)
    tasks = run.final.get("tasks", {})
    return {
        "senses": [SENSES[name] for name in model_inputs(run.report)],
        "evidence": ["reads the evidence of plugins"] if reads_evidence(run.report) else [],
        "measured": _measured(test),
        "questions": [(task["title"], task["question"], task["n"]) for task in tasks.values() if task.get("question")],
        "has_trees": bool(trees) or value_of(run.final.get("metrics", {}).get("tree_similarity")) is not None,
        "rewarded": any(stage["rewarded"] for stage in run.stages),
        "clip": clip_values(run, example) if example else None,
        "tree": tree_column("Gold tree of this clip", parse_tree(example["truth"])) if example else None,
    }


def _measured(test: Mapping[str, Any]) -> str:
    """Describe the test data: how many clips and people, and whether these are in the training data too."""
    if not {"clips", "actors"} <= set(test):
        return "clips that are not in the training data"
    count, noun = (test["clips"], "clip") if test["clips"] else (test.get("rows", 0), "row")
    text = f"{count} {noun}{'' if count == 1 else 's'}"
    people, known = test["actors"], test.get("actors_in_training", 0)
    if not people:
        return f"{text}, which name no speakers"
    text += f" of {people} {'person' if people == 1 else 'people'}"
    return (
        f"{text}, none of whom is in the training data" if not known else f"{text}, {known} of whom it has trained on"
    )


def _tiles(run: Run) -> list[dict[str, Any]]:
    metrics = run.final.get("metrics", {})
    names = ["emotion_uar", "tree_similarity", "expression_accuracy", "attribute_accuracy"]
    names += [name for name in metrics if name not in TERMS]
    shown = [("metrics", name, term_of(name).title, term_of(name).meaning) for name in names]
    meaning = "emotion (UAR) where face, voice and words disagree"
    shown.insert(1, ("conflict_metrics", "emotion_uar", "Conflict clips only", meaning))
    before = run.before_grpo or {}
    return [
        {
            "title": title,
            "meaning": meaning,
            "metric": metric,
            "is_share": term_of(name).unit == "share",
            "write": percent if term_of(name).unit == "share" else plain,
            "before": value_of(before.get(field, {}).get(name)),
            "baseline": run.best_baseline(name) if field == "metrics" else None,
        }
        for field, name, title, meaning in shown
        if value_of(metric := run.final.get(field, {}).get(name)) is not None
    ][:HEADLINED]


def _names(stages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return the titles of metrics that have a value somewhere, the known ones first."""
    found = [name for scores in stages for name, metric in scores.items() if value_of(metric) is not None]
    known = [name for name in TERMS if name in found]
    return {name: term_of(name).title for name in dict.fromkeys([*known, *found])}


def _score_table(
    caption: str, leads: Sequence[str], rows: Sequence[ScoreRow], muted: Sequence[ScoreRow] = (), about: str = ""
) -> Table | None:
    """Make a table of scores by row and metric, the best of `rows` in bold; `leads` are the heads of the leading cells.

    A count that a whole column shares is shown in its head. Columns without any value are left out; None if all are.
    """
    everything = [stage["metrics"] for _, stage in (*rows, *muted)]
    names = _names(everything)
    if not names:
        return None
    best: dict[str, float] = {}
    for name in names:
        values = [found for _, stage in rows if (found := value_of(stage["metrics"].get(name))) is not None]
        best[name] = (min if term_of(name).lower_is_better else max)(values, default=0.0)
    with_value = {
        name: [scores[name] for scores in everything if value_of(scores.get(name)) is not None] for name in names
    }
    counts = {name: {_count(metric) for metric in metrics} for name, metrics in with_value.items()}

    def cell(stage: Mapping[str, Any], name: str, marked: bool) -> Cell:
        metric = stage["metrics"].get(name)
        if not is_taught(stage, name):
            value = value_of(metric)
            measured = [f"measured: {percent(value)}"] if value and percent(value) != "0.0" else []
            return Cell("not taught", measured, muted=True)
        if not stage.get("answers_clips", True) or (metric is not None and value_of(metric) is None):
            return NOT_ASKED if value_of(metric) is None else score_cell(metric, None, (), term_of(name))
        notes = [_count(metric)] if metric and "n" in metric and len(counts[name]) > 1 else []
        return score_cell(metric, best[name] if marked else None, notes, term_of(name))

    heads = [
        Cell(title, [*counts[name]] if len(counts[name]) == 1 else (), about=term_of(name).meaning)
        for name, title in names.items()
    ]
    table = [[*leading, *(cell(stage, name, True) for name in names)] for leading, stage in rows]
    beneath = [[*leading, *(cell(stage, name, False) for name in names)] for leading, stage in muted]
    return Table(caption, [*leads, *heads], table, beneath, about)


def _count(metric: Mapping[str, Any]) -> str:
    """Write the number of answers behind a score, and of the people or dialogues that they come from."""
    groups = metric.get("groups")
    counted = f", {groups} group{'' if groups == 1 else 's'}" if isinstance(groups, int) else ""
    return f"n {metric.get('n', DASH)}{counted}"


def _stage_table(run: Run, field: str, caption: str) -> Table | None:
    """Make a table of one row a stage with the scores under `field`; on test clips with the baselines beneath.

    On test clips every stage has a row, those too that learn from something else and are not asked about clips.
    """
    timed = field == "metrics"
    stages = [stage for stage in run.report["stages"] if timed or (stage.get(field) and stage["answers_clips"])]
    baselines = run.report.get("baselines", {}) if timed else {}
    shown = _names(stage[field] for stage in run.stages if stage.get(field))
    rows: list[ScoreRow] = []
    for stage in stages:
        metrics = {name: metric for name, metric in (stage.get(field) or {}).items() if name in shown}
        leading = [Cell(str(stage["name"]), [str(stage["title"])]), *([_stage_time(stage)] if timed else [])]
        rows.append((leading, {**stage, "metrics": metrics}))
    muted: list[ScoreRow] = [([name, ""], {"metrics": scores}) for name, scores in baselines.items()]
    heads = ["after stage", *(["time"] if timed else [])]
    return _score_table(caption, heads, rows, muted, "answering always the same")


def _stage_time(stage: Mapping[str, Any]) -> Cell:
    reused = ["reused from an earlier run"] if stage.get("reused") else []
    return Cell(_duration(stage.get("seconds")), [f"{stage.get('steps', DASH)} steps", *reused])


def _learning(run: Run) -> dict[str, Any] | None:
    losses = {
        str(stage["name"]): run.log[stage["name"]]
        for stage in run.report["stages"]
        if not stage["rewarded"] and any("loss" in row for row in run.log.get(stage["name"], []))
    }
    rewards = []
    for stage in run.stages:
        rows = run.log.get(stage["name"], [])
        if stage["rewarded"] and any("reward" in row for row in rows):
            rewards.append((stage["name"], Markup(reward_curves(rows))))
    conflict = "Conflict clips only: face, voice and words disagree"
    found = {
        "chart": _chart(run),
        "test": _stage_table(run, "metrics", "All test clips"),
        "conflict": _stage_table(run, "conflict_metrics", conflict),
        "dev": _stage_table(run, "dev_metrics", "Dev clips"),
        "losses": Markup(loss_curves(losses)) if losses else None,
        "rewards": rewards,
    }
    return found if any(found.values()) else None


def _chart(run: Run) -> Markup | None:
    """Draw every score over the stages that teach it; None if fewer than two stages have one."""
    stages = [stage for stage in run.stages if stage.get("metrics")]
    charted = []
    for stage in stages:
        parts = [
            {name: metric for name, metric in (stage.get(field) or {}).items() if is_taught(stage, name)}
            for field in ("metrics", "conflict_metrics")
        ]
        charted.append((str(stage["name"]), parts[0], parts[1]))
    titles = {
        name: title for name, title in _names(metrics for _, metrics, _ in charted).items() if term_of(name).meaning
    }
    if len(charted) < 2 or not titles:
        return None
    baselines = {name: value for name in titles if (value := run.best_baseline(name)) is not None}
    shares = [name for name in titles if term_of(name).unit == "share"]
    return Markup(stage_chart(charted, titles, baselines, shares))


def _ablations(run: Run) -> dict[str, Any]:
    ablations: dict[str, Metrics] = run.report["ablations"]
    rows = [("full model", run.final.get("metrics", {})), *ablations.items()]
    names = _names(scores for _, scores in rows)
    main = next((name for name in names if name.endswith("_uar")), next(iter(names), None))
    titles = {name: title for name, title in names.items() if name in (main, "tree_similarity")}
    named: list[ScoreRow] = [([_variant(name)], {"metrics": scores}) for name, scores in rows]
    return {
        "masked": any(name.startswith("masked_") for name in ablations),
        "chart": Markup(ablation_bars(rows, titles)) if titles else None,
        "scores": _score_table("All test clips", ["variant"], named),
    }


def _variant(name: str) -> Cell:
    kind, _, modality = name.partition("_")
    if name in MODALITIES:
        return Cell(name, [f"{MODALITIES[name]} alone"])
    return Cell(name, [f"without {modality}, masked"] if kind == "masked" else [])


def _resources(run: Run) -> dict[str, Any]:
    report = run.report
    resources, data = report.get("resources", {}), report.get("data", {})
    memory = resources.get("peak_rss_mb")
    versions = ", ".join(f"{name} {version}" for name, version in report.get("versions", {}).items())
    splits = {name: counts for name, counts in data.items() if isinstance(counts, Mapping)}
    columns = dict.fromkeys(key for counts in splits.values() for key, value in counts.items() if _is_count(value))
    titles = {"actors": "people", "actors_in_training": "of them in training"}
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
        "data": Table("Data", ["used for", *(titles.get(key, key) for key in columns)], rows) if rows else None,
        "labels": _label_table(splits),
    }


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _label_table(splits: Mapping[str, Mapping[str, Any]]) -> Table | None:
    """Make a table of how many rows of each part have each label."""
    parts = {name: counts["labels"] for name, counts in splits.items() if counts.get("labels")}
    labels = dict.fromkeys((task, label) for tasks in parts.values() for task in tasks for label in tasks[task])
    if not labels:
        return None
    rows: list[Cells] = [
        [Cell(label, [task]), *(str(tasks.get(task, {}).get(label, 0)) for tasks in parts.values())]
        for task, label in labels
    ]
    return Table("Rows by label", ["label", *(SPLITS.get(name, name) for name in parts)], rows)


def _words(run: Run, values: Mapping[str, Any]) -> dict[str, str]:
    """Return the definitions of all figures on the page."""
    stages = run.report["stages"]
    found = definitions(_names(stage.get("metrics") or {} for stage in stages if stage["answers_clips"]))
    details = [task for stage in run.stages for task in stage.get("tasks", {}).values()]
    known = {title.casefold() for title in found}
    terms = [SCORES[name] for task in details for name in task["scores"] if name in SCORES]
    found |= {term.title: term.meaning for term in terms if term.title.casefold() not in known}
    found |= WORDS if found else {}
    found |= TREE_WORDS if (values["gallery"] or {}).get("legend") else {}
    found |= SIGNAL_WORDS if values["learning"] and values["learning"]["rewards"] else {}
    return {**found, **(EMPATHY_WORDS if values["empathy"] else {})}
