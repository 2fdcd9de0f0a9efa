"""Several models on one page: the same clips, score by score, class by class, with paired differences.

The first run is the one that others are compared with. What is said rests on `report.json` and on the answers under
`predictions/` alone; every text that comes from them is escaped, and the same files give the same page.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from affectgpt.problems import InputError, require_file
from eval.compare.paired import paired_scores
from eval.metrics.stats import RESAMPLES, Difference, Metric, Tally, compare, intervals, mean_tally
from eval.metrics.task_scores import TaskScore
from eval.report.html import page, section, table
from eval.report.run_folder import Run, read_run
from eval.report.side_by_side_figures import class_bars, score_bars

SCORES = {
    ("tree", "emotion_uar"): ("Emotion (UAR)", "recall of the emotion, averaged over emotions: each counts the same"),
    ("tree", "emotion_war"): ("Emotion (WAR)", "share of clips whose emotion is named right"),
    ("tree", "tree_similarity"): ("Tree similarity", "how close the written explanation is to the true one"),
    ("tree", "attribute_similarity"): ("Tree: attributes", "the same, of what is seen and heard alone"),
    ("tree", "expression_similarity"): ("Tree: expressions", "the same, of what is expressed alone"),
    ("expression_single", "accuracy"): ("Expressions", "share of questions about what is expressed answered right"),
    ("attribute_closed", "accuracy"): ("Attributes", "share of questions about what is seen and heard answered right"),
    ("emotion_label", "accuracy"): ("Emotion label (accuracy)", "share of clips whose emotion is named right"),
    ("emotion_label", "uar"): ("Emotion label (UAR)", "the same, averaged over emotions"),
}
"""(task, score) to title and meaning, in the order of the page; the primary scores of other tasks follow."""
DASH = "–"
_WRAPPED = '<small style="white-space: normal">'


@dataclass(frozen=True, slots=True)
class Row:
    """One score of every model."""

    title: str
    meaning: str
    values: list[Metric]
    differences: list[Difference]
    """Of each model but the first, against the first."""
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
    """The page."""
    names = _names(runs)
    scored = _score(runs)
    rows = _rows(scored, resamples)
    first = next(iter(scored.values()))[0]
    task = next((name for name in ("tree", "emotion_label", "expression_single") if name in scored), None)
    clips = len({row.key.partition("/")[0] for scores in scored.values() for row in scores[0].rows})
    clustered = any(row.group != row.key.partition("/")[0] for row in first.rows)
    parts = [
        _introduction(runs, names, clips),
        section("scores", "Every score", _scores(rows, names)),
        section("classes", "Emotion by emotion", _classes(scored[task], names, resamples)) if task else "",
        section("agreement", "On which clips they differ", _agreement(scored[task], names)) if task else "",
        section("care", "Read with care", _care(clustered, len(rows) * (len(runs) - 1))),
    ]
    return page("Models side by side", f"{len(runs)} models · {clips} test clips", parts)


def _names(runs: Sequence[Run]) -> list[str]:
    """A short name for each run: its folder, with as many folders above as it takes to tell it from the others."""
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
    """By task, the scores of every run, of the same clips in the same order."""
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


def _introduction(runs: Sequence[Run], names: Sequence[str], clips: int) -> str:
    listed = "".join(
        f"<dt><b>{escape(name)}</b></dt><dd>{escape(str(run.report.get('title', '')))}, after stage "
        f"<i>{escape(str(run.final['name']))}</i>, seed {escape(str(run.report.get('seed', DASH)))}</dd>"
        for run, name in zip(runs, names, strict=True)
    )
    return (
        f'<div class="lead"><p>These models answered the same questions about the same {clips} clips, which none of '
        f"them met in training. Each is compared with the first, <b>{escape(names[0])}</b>, clip by clip: an easy "
        f"clip is easy for both, so that the difference is known better than either score.</p></div><dl>{listed}</dl>"
    )


def _percent(value: float | None, sign: str = "") -> str:
    return DASH if value is None or math.isnan(value) else f"{100 * value:{sign}.1f}".replace("-", "−")


def _cell(metric: Metric) -> str:
    interval = f"<small>{_percent(metric['low'])}–{_percent(metric['high'])}</small>"
    return _percent(metric["value"]) + (interval if metric["low"] is not None else "")


def _difference(found: Difference) -> str:
    """A difference, bold where its interval leaves out 0."""
    if found["value"] is None or found["low"] is None or found["high"] is None or found["p"] is None:
        return f'<span class="none">{DASH}</span>'
    shown = _percent(found["value"], "+")
    clear = found["low"] > 0 or found["high"] < 0
    chance = "p < 0.001" if found["p"] < 0.001 else f"p = {found['p']:.3f}"
    interval = f"{_percent(found['low'], '+')} to {_percent(found['high'], '+')}"
    return f"{f'<b>{shown}</b>' if clear else shown}<small>{interval}</small><small>{chance}</small>"


def _scores(rows: Sequence[Row], names: Sequence[str]) -> str:
    heads = ["score", "constant answer", *(escape(name) for name in names)]
    heads += [f"{escape(name)}<br>− {escape(names[0])}" for name in names[1:]]
    cells = [
        [
            f"{escape(row.title)}{_WRAPPED}{escape(row.meaning)}; n {row.values[0]['n']}</small>",
            f'<span class="none">{_percent(row.constant)}</span>',
            *map(_cell, row.values),
            *map(_difference, row.differences),
        ]
        for row in rows
    ]
    charted = {row.title: row.values for row in rows[:6]}
    chart = score_bars(charted, {row.title: row.constant for row in rows}, names)
    note = (
        "Per cent; below each score its 95 % interval. The last columns are paired differences to the first model in "
        "points, marked where the interval leaves out zero: there, the difference is more than the luck of which clips "
        "were drawn. The constant answer is the best that one answer to everything could reach: a score has to clear "
        "it to mean anything."
    )
    return f'<p class="note">{note}</p>{chart}{table("All scores", heads, cells)}'


def _classes(scores: Sequence[TaskScore], names: Sequence[str], resamples: int) -> str:
    """Recall of every class, hardest first."""
    labels = list(scores[0].recalls)
    found = [intervals(score.recalls, score.groups, resamples) for score in scores]
    mean = {label: np.mean([metrics[label]["value"] or 0.0 for metrics in found]) for label in labels}
    counts = {label: int(scores[0].recalls[label].parts[:, 1].sum()) for label in labels}
    order = sorted(labels, key=lambda label: (mean[label], label))
    bars = {f"{label} ({counts[label]})": [metrics[label] for metrics in found] for label in order}
    note = (
        "How often each is recognised, hardest first; the number of its clips in brackets. A whisker is the 95 % "
        "interval; of a dozen clips it is rough, and too short near 100 %, where it vanishes. Answering always the "
        "same would have one class at 100 % and all others at 0: on average the dashed line."
    )
    return f'<p class="note">{note}</p>{class_bars(bars, names, 1 / len(labels))}'


def _agreement(scores: Sequence[TaskScore], names: Sequence[str]) -> str:
    """How many clips both name right, one alone, none."""
    name = "emotion_war" if "emotion_war" in scores[0].tallies else "accuracy"
    right = [score.tallies[name].parts[:, 0] > 0 for score in scores]
    rows = [
        [
            escape(other),
            *(
                f"{int(np.sum(mask))}<small>{100 * np.mean(mask):.1f} %</small>"
                for mask in (right[0] & said, right[0] & ~said, ~right[0] & said, ~right[0] & ~said)
            ),
        ]
        for said, other in zip(right[1:], names[1:], strict=True)
    ]
    first = escape(names[0])
    heads = [f"compared with {first}", "both right", f"only {first} right", "only the other right", "both wrong"]
    note = (
        "Clips by who names the emotion right. The two middle columns tell how unlike the models are: two of equal "
        "score may still be right about different clips."
    )
    return f'<p class="note">{note}</p>{table("Clips", heads, rows)}'


def _care(clustered: bool, count: int) -> str:
    unit = (
        "whole speakers (or dialogues) are drawn again and again, so that they tell how much other people would change"
        if clustered
        else "whole clips are drawn again and again, with all questions about them; the answers do not say who speaks, "
        "and intervals over other people would be wider"
    )
    notes = [
        f"Intervals are 95 % bootstrap intervals: {unit}. None tells how much a model varies between training runs; "
        "that takes several seeds of each. They are too narrow where few are drawn: with a dozen speakers, about 90 of "
        "100 hold the truth.",
        "p says how often a difference at least as large would come about if it did not matter which model gave which "
        "answer (10,000 exchanges). "
        "Of 20 such values one falls below 0.05 by chance; this page has "
        f"{count}, and none is corrected for that.",
        "A difference that is clear is not thereby large, and one that is not clear is not thereby absent.",
    ]
    return f"<ul>{''.join(f'<li>{note}</li>' for note in notes)}</ul>"
