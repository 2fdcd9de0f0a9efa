"""Report of a run: `report.json`, `examples.jsonl`, `report.html`."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.clip import Clip, count_clips
from affectgpt.tasks import TASKS
from eval.metrics.task_scores import TaskScore
from eval.report.findings import findings
from eval.report.glossary import is_score_of
from eval.report.run_page import write_report
from eval.report.scores import (
    answers,
    constant_answers,
    constant_baseline,
    differences,
    ordered_tasks,
    score_tasks,
)
from train.fingerprint import stream_of
from train.monitor import MemoryMeter
from train.prepare import Prepared, notes_of, synthetic_settings
from train.recipe import Recipe
from train.run_folder import RunFolder
from train.stages.context import StageContext
from train.stages.kind import StageResult
from train.stages.scores import read_predictions, scored_rows

LEARNED = ("train", "rl")
"""Parts of the data from which the model learns about clips."""
VERSIONS = ("torch", "transformers", "trl", "peft", "accelerate", "av", "numpy")


def summary(recipe: Recipe, prepared: Prepared, context: StageContext, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the report of the stages so far, their data and their settings."""
    test = scored_rows(context, "test")
    baselines = {}
    if test:
        baselines["constant answer"] = constant_baseline(prepared.clips["train"], test, recipe.evaluation.resamples)
    return {
        "title": recipe.title,
        "seed": recipe.seed,
        "inputs": list(recipe.model.inputs),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "data": _data_summary(recipe, prepared),
        "stages": entries,
        "baselines": baselines,
    }


def finish(
    recipe: Recipe,
    prepared: Prepared,
    context: StageContext,
    results: Sequence[StageResult],
    entries: list[dict[str, Any]],
    wall_s: float,
    memory: MemoryMeter,
) -> Path:
    """Write the report of a run; return the path of the HTML file."""
    folder = context.folder
    scored = _scored_again(context, results)
    report = {
        **summary(recipe, prepared, context, entries),
        "resources": _resources(folder, results, wall_s, memory),
        "ablations": _kept_ablations(folder),
        "comparisons": _comparisons(recipe, prepared, context, scored, entries),
        "answers": answers(list(scored.values())[-1]) if scored else {},
    }
    report["findings"] = findings(report)
    folder.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _write_examples(context, results, scored)
    return write_report(folder.path)


def _scored_again(context: StageContext, results: Sequence[StageResult]) -> dict[str, dict[str, TaskScore]]:
    """Return the scores of the test rows by stage and task, from the answers in the run folder."""
    test = scored_rows(context, "test")
    names = [result.stage.name for result in results if result.stage.answers_clips] if test else []
    return {name: score_tasks(test, read_predictions(context.folder, name, "test")) for name in names}


def _comparisons(
    recipe: Recipe,
    prepared: Prepared,
    context: StageContext,
    scored: Mapping[str, Mapping[str, TaskScore]],
    entries: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Compare the answers to the same test rows: of the last stage with the constant answer, of stages with the last
    one before them; only in tasks that both have been taught.
    """
    if not scored:
        return {}
    test, resamples = scored_rows(context, "test"), recipe.evaluation.resamples
    constant = score_tasks(test, constant_answers(prepared.clips["train"], test))
    taught = {entry["name"]: entry.get("taught", []) for entry in entries}
    names = list(scored)
    steps = []
    for first, second in pairwise(names):
        known = differences(scored[first], scored[second], resamples)
        shared = {
            name: found for name, found in known.items() if any(is_score_of(name, task) for task in taught[first])
        }
        steps.append({"first": first, "second": second, "differences": shared})
    return {"constant answer": differences(constant, scored[names[-1]], resamples), "stages": steps}


def _resources(
    folder: RunFolder, results: Sequence[StageResult], wall_s: float, memory: MemoryMeter
) -> dict[str, float]:
    """Return time and memory of a run that reused nothing; a run that reuses stages keeps the figures of the first."""
    path = folder.resources
    if path.is_file() and any(result.reused for result in results):
        return dict(json.loads(path.read_text()))
    values = {"wall_s": round(wall_s, 1), "peak_rss_mb": round(memory.peak_mb, 1)}
    path.write_text(json.dumps(values))
    return values


def _data_summary(recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    known = {clip.group for part in LEARNED for clip in prepared.clips.get(part, [])}
    summary: dict[str, Any] = {
        part: {
            "clips": count_clips(rows),
            "rows": len(rows),
            "actors": len({clip.group for clip in rows if clip.group}),
            "carries": _carried(rows),
            "labels": _labels(rows),
            **(
                {}
                if part in LEARNED
                else {"actors_in_training": len({clip.group for clip in rows if clip.group} & known)}
            ),
        }
        for part, rows in prepared.clips.items()
    }
    if recipe.data.synthetic is not None:
        summary["label_noise"] = synthetic_settings(recipe.data).label_noise
    summary["unusable_clips"] = prepared.bad
    summary["notes"] = notes_of(recipe.data)
    return summary


def _carried(rows: Sequence[Clip]) -> dict[str, int]:
    """Count the rows that carry each kind of media, words, and shown evidence; kinds that no row has are left out.

    A video's own track counts as sound unless the row says that it has none.
    """
    counts = {
        "video": sum(row.video is not None for row in rows),
        "image": sum(row.image is not None for row in rows),
        "face": sum(row.face is not None for row in rows),
        "audio": sum(row.audio is not None or (row.video is not None and row.has_sound) for row in rows),
        "signal": sum(row.signal is not None for row in rows),
        "text": sum(bool(row.subtitle) for row in rows),
        "evidence": sum(bool(row.evidence) and TASKS[row.task].shows_evidence for row in rows),
    }
    return {name: count for name, count in counts.items() if count}


def _labels(rows: Sequence[Clip]) -> dict[str, dict[str, int]]:
    """Count the labels of each closed task whose rows offer one set of options."""
    found: dict[str, dict[str, int]] = {}
    for task in dict.fromkeys(row.task for row in rows if TASKS[row.task].answer == "label"):
        own = [row for row in rows if row.task == task]
        if len({tuple(row.options or ()) for row in own}) == 1:
            counts = Counter(row.answer for row in own)
            found[task] = {label: counts[label] for label in own[0].options or sorted(counts)}
    return found


def _kept_ablations(folder: RunFolder) -> dict[str, Any]:
    path = folder.ablations
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _write_examples(
    context: StageContext, results: Sequence[StageResult], scored: Mapping[str, Mapping[str, TaskScore]]
) -> None:
    """Write the clips of the gallery, with the answers of every stage: mistakes of the last stage, then right answers.

    Two thirds are mistakes, if there are as many. Of each half, different gold answers come first, conflicts before
    others, else at random.
    """
    chosen = _chosen(context, list(scored.values())[-1]) if scored else []
    said: dict[str, dict[str, str]] = {}
    for result in results:
        if scored and result.stage.answers_clips:
            for answer in read_predictions(context.folder, result.stage.name, "test"):
                said.setdefault(answer["id"], {})[result.stage.name] = answer["response"]
    media = ("video", "audio", "image", "face", "signal")
    with context.folder.examples.open("w", encoding="utf-8") as file:
        for clip, wrong in chosen:
            example = {
                "id": clip.extra.get("clip", clip.id),
                **{name: None if (path := getattr(clip, name)) is None else str(path) for name in media},
                "start": clip.start,
                "end": clip.end,
                "subtitle": clip.subtitle,
                "group": clip.group,
                "conflict": bool(clip.extra.get("conflict")),
                "task": clip.task,
                "question": clip.question,
                "options": clip.options,
                "truth": clip.answer if isinstance(clip.answer, str) else clip.target,
                "wrong": wrong,
                "predictions": said.get(clip.id, {}),
            }
            file.write(json.dumps(example) + "\n")


def _chosen(context: StageContext, tasks: Mapping[str, TaskScore]) -> list[tuple[Clip, bool | None]]:
    """Return the rows of the gallery, of the task that says most about a clip, and whether each is answered wrong.

    Numbers and free texts are neither right nor wrong, but nearer or farther: None, the worst first.
    """
    task = ordered_tasks(tasks)[0]
    scored = tasks[task]
    clips = {clip.id: clip for clip in scored_rows(context, "test") if clip.task == task}
    room = context.evaluation.examples
    if TASKS[task].judged in ("number", "words"):
        worst = np.argsort(scored.quality, kind="stable")[:room]
        return [(clips[scored.rows[index].key], None) for index in worst]
    wrong, kinds = scored.quality < 1, ["" for _ in scored.rows]
    if scored.classes is not None:
        wrong = scored.classes.gold != scored.classes.predicted
        kinds = [scored.classes.labels[code] for code in scored.classes.gold]
    order = [int(index) for index in stream_of(context.seed, "examples").permutation(len(scored.rows))]
    order.sort(key=lambda index: not clips[scored.rows[index].key].extra.get("conflict"))
    mistakes, right = (_in_turn([index for index in order if wrong[index] == side], kinds) for side in (True, False))
    shown = mistakes[: max(room - len(right), (2 * room + 2) // 3)]
    shown += right[: room - len(shown)]
    return [(clips[scored.rows[index].key], bool(wrong[index])) for index in shown]


def _in_turn(indices: Sequence[int], kinds: Sequence[str]) -> list[int]:
    """Return the first of each kind, then the second of each, and so on."""
    counts: Counter[str] = Counter()
    turns = []
    for index in indices:
        turns.append(counts[kinds[index]])
        counts[kinds[index]] += 1
    return [index for _, index in sorted(zip(turns, indices, strict=True), key=lambda item: item[0])]
