"""`affectgpt report`: one self-contained HTML page of a run, for people who look before they read.

It says what report.json, log.jsonl and examples.jsonl of the run folder say, and nothing else: scores are shown in per
cent, and every text that comes from data or from a model is escaped. Same files, same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from eval.report.empathy import empathy
from eval.report.figures import (
    Metrics,
    ablation_bars,
    confusion_matrix,
    loss_curves,
    reward_curves,
    stage_chart,
)
from eval.report.gallery import clip_html, gallery, quote
from eval.report.html import fold, page, section, table
from eval.report.run_folder import Run, read_run, value_of
from eval.report.tree import tree_html
from videmo.tree import parse_tree

METRICS = {
    "emotion_uar": ("Emotion (UAR)", "recall of the emotion, averaged over emotions: each counts the same"),
    "emotion_war": ("Emotion (WAR)", "share of clips whose emotion is named right"),
    "tree_similarity": ("Tree similarity", "how close the written explanation is to the true one; 100 is identical"),
    "expression_accuracy": ("Expressions", "share of questions about what is expressed answered right"),
    "attribute_accuracy": ("Attributes", "share of questions about what is seen and heard answered right"),
    "parse_rate": ("Well-formed", "share of explanations that obey the syntax"),
}
SPLITS = {"train": "training", "rl": "reinforcement", "dev": "choices (dev)", "test": "this report (test)"}
DASH = "–"
NONE = "(none)"
ScoreRow = tuple[list[str], Metrics]
"""The cells that lead a row of a table, as HTML, and its scores."""


def write_report(run: Path) -> Path:
    """Make `run`/report.html from the files of the run folder.

    Raises:
        InputError: a file is missing or is not what a run writes.
    """
    path = run / "report.html"
    text = render(read_run(run))
    path.write_text(text, encoding="utf-8")
    return path


def render(run: Run) -> str:
    """The page."""
    report = run.report
    title = str(report.get("title", run.folder.name))
    parts = []
    if run.stages:
        parts += [
            _introduction(run),
            section("scores", "What it can do now", _tiles(run)),
            section("learning", "How it learned", _learning(run)),
            section("confusion", "Which emotions it confuses", _confusions(run)),
            section("clips", "What it says about single clips", gallery(run)),
        ]
    if run.empathy:
        parts.append(section("empathy", "What small models add: plugins in the prompt", empathy(run.empathy)))
    if report.get("ablations"):
        parts.append(section("ablations", "What each part is worth", _ablations(run)))
    parts += [section("care", "Read with care", _care(run)), section("run", "The run", _resources(run))]
    seconds, clips = report.get("resources", {}).get("wall_s"), report.get("data", {}).get("train", {}).get("clips")
    facts = [f"{clips} training clips"] if clips is not None else []
    facts += [f"{seconds / 60:.1f} minutes"] if isinstance(seconds, int | float) else []
    return page(title, " · ".join([*facts, f"seed {report.get('seed', DASH)}"]), parts)


def _percent(value: Any) -> str:
    return f"{100 * value:.1f}" if isinstance(value, int | float) and math.isfinite(value) else DASH


def _duration(seconds: Any) -> str:
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return DASH
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds:.1f} s ({seconds / 60:.1f} min)"


def _introduction(run: Run) -> str:
    test = run.report.get("data", {}).get("test", {})
    known = {"clips", "actors"} <= set(test)
    clips = f"{test['clips']} clips of {test['actors']} people" if known else "clips"
    reward = (
        "At last, reinforcement learning (GRPO) rewards explanations that come close to the true one. "
        if any(stage["rewarded"] for stage in run.stages)
        else ""
    )
    text = (
        "A multimodal language model watches short clips of somebody speaking: it sees the face, hears the voice and "
        "reads the words. It must say <b>what the person feels</b>, and <b>why</b>. Often face, voice and words "
        "contradict each other, and that is the point: a smile with a trembling voice is not joy but masked distress. "
        "No single sense is enough.</p><p>The model learns in stages, evidence before verdict: first what there is to "
        "see and hear (<i>attributes</i>), then what that shows (<i>expressions</i>), then the <i>emotion</i>; the "
        f"three together make an explanation, the <i>affective tree</i>. {reward}Everything below is measured on "
        f"{clips} that it never met in training."
    )
    example = next((row for row in run.examples if row.get("conflict")), run.examples[0] if run.examples else None)
    if example is None:
        return f'<div class="lead"><p>{text}</p></div>'
    picture = (
        f'<figure class="hero"><div>{clip_html(run, example)}{quote(example)}</div>'
        f"{tree_html('What is true of this clip', parse_tree(example['truth']))}"
        "<figcaption>One clip. Left: what goes in, as pictures, sound and words. Right: what should come out, the "
        "emotion on top, beneath it the expressions it follows from, with each the attributes that show it."
        "</figcaption></figure>"
    )
    return f'<div class="lead"><p>{text}</p></div>{picture}'


def _tiles(run: Run) -> str:
    before = run.before_grpo
    shown = ("emotion_uar", "tree_similarity", "expression_accuracy", "attribute_accuracy")
    tiles = [
        _tile(
            *METRICS[metric],
            run.final["metrics"][metric],
            run.best_baseline(metric),
            _earlier(before, "metrics", metric),
        )
        for metric in shown
        if metric in run.final.get("metrics", {})
    ]
    conflict = run.final.get("conflict_metrics", {}).get("emotion_uar")
    if conflict:
        meaning = "emotion (UAR) where face, voice and words disagree"
        earlier = _earlier(before, "conflict_metrics", "emotion_uar")
        tiles.insert(1, _tile("Conflict clips only", meaning, conflict, None, earlier))
    final = escape(str(run.final["name"]))
    return (
        f'<p class="note">Per cent, after the last stage (<i>{final}</i>). Each bar ends at the score, the whisker is '
        'its 95 % interval, the orange tick what answering always the same would reach.</p><div class="tiles">'
        f"{''.join(tiles)}</div>"
    )


def _earlier(stage: Mapping[str, Any] | None, field: str, metric: str) -> float | None:
    return value_of(stage.get(field, {}).get(metric)) if stage else None


def _tile(title: str, meaning: str, metric: Mapping[str, Any], baseline: float | None, earlier: float | None) -> str:
    value, low, high = (_percent(metric.get(name)) for name in ("value", "low", "high"))
    facts = {
        "95 % interval": f"{low}–{high}" if DASH not in (low, high) else DASH,
        "before GRPO": _percent(earlier),
        "constant answer": _percent(baseline),
    }
    bar = [f'<rect class="track" width="100" height="6" y="4"/><rect class="fill" width="{value}" height="6" y="4"/>']
    if DASH not in (low, high):
        bar.append(f'<path class="whisker" d="M{low} 3v8M{high} 3v8M{low} 7H{high}"/>')
    if baseline is not None:
        bar.append(f'<path class="tick" d="M{_percent(baseline)} 0v14"/>')
    drawn = "" if value == DASH else f'<svg viewBox="0 0 100 14" preserveAspectRatio="none">{"".join(bar)}</svg>'
    lines = "".join(f"<li>{name}<span>{fact}</span></li>" for name, fact in facts.items() if fact != DASH)
    return (
        f'<div class="tile"><h3>{title}</h3><div class="big">{value}</div>{drawn}<ul>{lines}</ul><p>{meaning}</p></div>'
    )


def _names(stages: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Metric -> column title, the known ones first."""
    found = [name for scores in stages for name in scores]
    known = {name: title for name, (title, _) in METRICS.items() if name in found}
    return {**known, **{name: name for name in found if name not in known}}


def _score_table(
    caption: str, leads: Sequence[str], rows: Sequence[ScoreRow], muted: Sequence[ScoreRow] = (), about: str = ""
) -> str:
    """Scores by row and metric, the best of `rows` in bold; `leads` head the cells that stand before the scores.

    A count that all of a column shares stands in its head.
    """
    everything = [scores for _, scores in (*rows, *muted)]
    names = _names(everything)
    best = {name: max((value_of(scores.get(name)) or 0.0 for _, scores in rows), default=0.0) for name in names}
    counts = {name: {scores[name].get("n", DASH) for scores in everything if name in scores} for name in names}

    def cells(row: ScoreRow, marked: bool) -> list[str]:
        return [
            *row[0],
            *(_cell(row[1].get(name), best[name] if marked else None, len(counts[name]) > 1) for name in names),
        ]

    heads = [
        escape(title) + (f"<small>n {next(iter(counts[name]))}</small>" if len(counts[name]) == 1 else "")
        for name, title in names.items()
    ]
    marked, unmarked = ([cells(row, best) for row in group] for group, best in ((rows, True), (muted, False)))
    return table(caption, [*leads, *heads], marked, unmarked, about)


def _cell(metric: Mapping[str, Any] | None, best: float | None, counted: bool) -> str:
    value = value_of(metric)
    if metric is None or value is None:
        return f'<span class="none">{DASH}</span>'
    shown = f"<b>{_percent(value)}</b>" if best is not None and value >= best > 0 else _percent(value)
    low, high = metric.get("low"), metric.get("high")
    interval = f"<small>{_percent(low)}–{_percent(high)}</small>" if low is not None and high is not None else ""
    return shown + interval + (f"<small>n {metric['n']}</small>" if counted and "n" in metric else "")


def _stage_table(run: Run, field: str, caption: str) -> str:
    """One row a stage with the scores under `field`; on test clips with the baselines beneath."""
    stages = [stage for stage in run.stages if stage.get(field)]
    baselines = run.report.get("baselines", {}) if field == "metrics" else {}
    if not stages and not baselines:
        return ""
    timed = field == "metrics"
    rows = [([_stage_name(stage), *([_stage_time(stage)] if timed else [])], stage[field]) for stage in stages]
    muted = [([escape(name), ""], scores) for name, scores in baselines.items()]
    heads = ["after stage", *(["time"] if timed else [])]
    return _score_table(caption, heads, rows, muted, "answering always the same")


def _stage_name(stage: Mapping[str, Any]) -> str:
    return f"{escape(str(stage['name']))}<small>{escape(str(stage['title']))}</small>"


def _stage_time(stage: Mapping[str, Any]) -> str:
    reused = "<small>reused from an earlier run</small>" if stage.get("reused") else ""
    return f"{_duration(stage.get('seconds'))}<small>{stage.get('steps', DASH)} steps</small>{reused}"


def _learning(run: Run) -> str:
    charted = [(str(s["name"]), s["metrics"], s.get("conflict_metrics", {})) for s in run.stages if s.get("metrics")]
    titles = {name: title for name, title in _names(metrics for _, metrics, _ in charted).items() if name in METRICS}
    baselines = {name: value for name in titles if (value := run.best_baseline(name)) is not None}
    losses = {
        str(stage["name"]): run.log[stage["name"]]
        for stage in run.stages
        if not stage["rewarded"] and any("loss" in row for row in run.log.get(stage["name"], []))
    }
    parts = [stage_chart(charted, titles, baselines) if charted and titles else ""]
    parts.append(_stage_table(run, "metrics", "All test clips"))
    parts.append(_stage_table(run, "conflict_metrics", "Conflict clips only: face, voice and words disagree"))
    dev = _stage_table(run, "dev_metrics", "Dev clips")
    parts.append(fold("Scores on the dev clips, by which settings were chosen", dev) if dev else "")
    if losses:
        parts.append(f"<h3>Training loss of the supervised stages</h3>{loss_curves(losses)}")
    for stage in run.stages:
        rows = run.log.get(stage["name"], [])
        if stage["rewarded"] and any("reward" in row for row in rows):
            name = escape(str(stage["name"]))
            parts.append(f"<h3>Reward while GRPO trains (<i>{name}</i>)</h3>{reward_curves(rows)}")
    return "".join(parts)


def _confusions(run: Run) -> str:
    stages = [stage for stage in run.stages if (stage.get("confusion") or {}).get("counts")]
    if not stages:
        return '<p class="note">No emotion was asked for.</p>'
    drawn = [(escape(str(stage["name"])), confusion_matrix(*_axes_of(stage["confusion"]))) for stage in stages]
    last_name, last = drawn[-1]
    earlier = "".join(f"<h4>After <i>{name}</i></h4>{chart}" for name, chart in drawn[:-1])
    mistakes = _mistakes(stages[-1]["confusion"])
    return (
        f'<p class="note">After <i>{last_name}</i>. A row holds the clips of one true emotion, a column what the model '
        "said; numbers are clips, and the darker a field, the larger its share of the row. Right answers lie on the "
        "diagonal.</p>"
        f'<div class="beside">{last}{mistakes}</div>{fold("After earlier stages", earlier) if earlier else ""}'
    )


def _axes_of(confusion: Mapping[str, Any]) -> tuple[list[str], list[str], list[list[int]]]:
    """Names of the rows, names of the columns, counts. Nothing is truly "(none)", so that it has no row."""
    counts, labels = confusion["counts"], [str(label) for label in confusion["labels"]]
    rows = [label for label in labels if label != NONE]
    columns = labels if len(counts[0]) == len(labels) else [*labels, NONE]
    return rows, columns, counts[: len(rows)]


def _mistakes(confusion: Mapping[str, Any]) -> str:
    rows, columns, counts = _axes_of(confusion)
    wrong = sorted(
        (-count, true, said, sum(line))
        for true, line in zip(rows, counts, strict=True)
        for said, count in zip(columns, line, strict=True)
        if count > 1 and true != said
    )
    lines = "".join(
        f"<li>{escape(true)} → {escape(said)}<span>{-count} of {total}</span></li>"
        for count, true, said, total in wrong[:8]
    )
    return f"<div><h4>Most frequent mistakes</h4><ol>{lines}</ol></div>" if lines else ""


def _ablations(run: Run) -> str:
    ablations: dict[str, Metrics] = run.report["ablations"]
    rows = [("full model", run.final.get("metrics", {})), *ablations.items()]
    names = _names(scores for _, scores in rows)
    titles = {name: title for name, title in names.items() if name in ("emotion_uar", "tree_similarity")}
    masked = any(name.startswith("masked_") for name in ablations)
    note = "Every row was trained anew, as its name tells, for the same number of steps. "
    if masked:
        note += (
            "Rows named <code>masked_…</code> (hatched) were <em>not</em> trained so: there a modality of the full "
            "model is merely masked when it is asked. They show what the model leans on, not what a model without it "
            "could learn."
        )
    scores = _score_table("All test clips", ["variant"], [([escape(name)], scores) for name, scores in rows])
    return f'<p class="note">{note}</p>{ablation_bars(rows, titles) if titles else ""}{scores}'


def _care(run: Run) -> str:
    notes = [
        "An interval is a 95 % bootstrap interval clustered by actor: whole actors are drawn again and again, so it "
        "tells how much the score would vary with <em>other people</em>. It does not tell how much it varies between "
        "training runs; that takes several seeds.",
        "Two overlapping intervals do not prove that two stages are equal, nor does bold prove that one is better.",
        "The gallery is a handful of clips, chosen to be looked at. The tables are the evidence.",
    ]
    if run.is_synthetic:
        notes.insert(
            0,
            "The clips are <b>synthetic</b>: drawn faces, synthesised voices, and stated rules that decide which "
            "emotion follows. The scores show that model, training and evaluation work together. They say nothing "
            "about how well real people would be understood.",
        )
        noise = run.report["data"]["label_noise"]
        notes.insert(
            1,
            f"{_percent(noise)} % of the clips for supervised training are labelled wrong on purpose, as automatic "
            "annotation would; clips for reinforcement learning and all clips for evaluation are labelled right.",
        )
    return f"<ul>{''.join(f'<li>{note}</li>' for note in notes)}</ul>"


def _resources(run: Run) -> str:
    report = run.report
    resources, data = report.get("resources", {}), report.get("data", {})
    memory = resources.get("peak_rss_mb")
    versions = ", ".join(f"{name} {version}" for name, version in report.get("versions", {}).items())
    facts = {
        "Time": _duration(resources.get("wall_s")),
        "Peak memory": f"{memory:.0f} MB" if isinstance(memory, int | float) else DASH,
        "Seed": escape(str(report.get("seed", DASH))),
        "Versions": escape(versions or DASH),
        "Do it again": "<code>make demo</code>"
        if run.is_synthetic
        else "<code>affectgpt train</code> with the <code>recipe.yaml</code> of the run folder",
        "Numbers": "<code>report.json</code> beside this page holds all of them, as fractions",
    }
    listed = "".join(f"<dt>{name}</dt><dd>{fact}</dd>" for name, fact in facts.items())
    splits = {name: counts for name, counts in data.items() if isinstance(counts, Mapping)}
    columns = list(dict.fromkeys(key for counts in splits.values() for key in counts))
    rows = [
        [escape(SPLITS.get(name, name)), *(escape(str(counts.get(key, DASH))) for key in columns)]
        for name, counts in splits.items()
    ]
    return f"<dl>{listed}</dl>{table('Data', ['used for', *map(escape, columns)], rows) if rows else ''}"
