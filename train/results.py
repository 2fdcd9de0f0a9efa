"""Report of a run: `report.json`, `examples.jsonl`, `report.html`."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip
from eval.report.run_page import write_report
from eval.report.scores import constant_baseline
from train.fingerprint import stream_of
from train.monitor import MemoryMeter
from train.prepare import Prepared, synthetic_settings
from train.recipe import Recipe
from train.run_folder import RunFolder
from train.stages.context import StageContext
from train.stages.kind import StageResult
from train.stages.scores import read_predictions, scored_rows

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
    report = {
        **summary(recipe, prepared, context, entries),
        "resources": _resources(folder, results, wall_s, memory),
        "ablations": _kept_ablations(folder),
    }
    folder.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _write_examples(context, results)
    return write_report(folder.path)


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
    summary: dict[str, Any] = {
        part: {
            "clips": len({clip.video or clip.image for clip in rows if clip.has_media}),
            "rows": len(rows),
            "actors": len({clip.group for clip in rows if clip.group}),
        }
        for part, rows in prepared.clips.items()
    }
    if recipe.data.synthetic is not None:
        summary["label_noise"] = synthetic_settings(recipe.data).label_noise
    summary["unusable_clips"] = prepared.bad
    return summary


def _kept_ablations(folder: RunFolder) -> dict[str, Any]:
    path = folder.ablations
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _write_examples(context: StageContext, results: Sequence[StageResult]) -> None:
    """Write the clips of the gallery: of different emotions, conflicts first, drawn regardless of the answers."""
    trees = [clip for clip in scored_rows(context, "test") if clip.task == "tree"]
    rng = stream_of(context.seed, "examples")
    shuffled = [trees[index] for index in rng.permutation(len(trees))]
    by_emotion: dict[str, list[Clip]] = {}
    for clip in sorted(shuffled, key=lambda clip: not clip.extra.get("conflict")):
        by_emotion.setdefault(clip.answer.rsplit("m1 ", 1)[-1].split(" <-")[0], []).append(clip)
    chosen = [clips[0] for clips in by_emotion.values()][: context.evaluation.examples]
    answers: dict[str, dict[str, str]] = {}
    for result in results:
        if trees and result.stage.answers_clips:
            for answer in read_predictions(context.folder, result.stage.name, "test"):
                answers.setdefault(answer["id"], {})[result.stage.name] = answer["response"]
    with context.folder.examples.open("w", encoding="utf-8") as file:
        for clip in chosen:
            example = {
                "id": clip.extra.get("clip", clip.id),
                "video": str(clip.video),
                "face": str(clip.face) if clip.face else None,
                "subtitle": clip.subtitle,
                "group": clip.group,
                "conflict": bool(clip.extra.get("conflict")),
                "truth": clip.answer,
                "predictions": answers.get(clip.id, {}),
            }
            file.write(json.dumps(example) + "\n")
