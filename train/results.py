"""Scores a run's checkpoints and writes its report: `report.json`, `predictions/`, `examples.jsonl`, `report.html`."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip
from affectgpt.tasks import TASKS
from eval.answers.tasks import OWN_TASKS
from eval.benchmarks.empathy.scores import evaluate as evaluate_empathy
from eval.predict.answers import Prediction, answer_rows
from eval.report.run_page import write_report
from eval.report.scores import HEADLINED, constant_baseline, score
from train.config.sections import Recipe
from train.monitor import Console, MemoryMeter
from train.prepare import Prepared, synthetic_settings
from train.stages.empathy import rows_to_come
from train.stages.run import StageResult, load_stage_model, stream_of

VERSIONS = ("torch", "transformers", "trl", "peft", "accelerate", "av", "numpy")


def rows_to_score(clips: Sequence[Clip], recipe: Recipe) -> list[Clip]:
    """The rows of a split that are answered: every tree and expression question, some attribute questions per clip.

    Of a split without any of those, as of a data set of captions or label lists, every row that can be scored.
    """
    if not any(clip.task in HEADLINED for clip in clips):
        return [clip for clip in clips if clip.task in OWN_TASKS and TASKS[clip.task].scored]
    chosen: list[Clip] = []
    attributes: dict[Any, list[Clip]] = {}
    for clip in clips:
        if clip.task in ("tree", "expression_single"):
            chosen.append(clip)
        elif clip.task == "attribute_closed":
            attributes.setdefault(clip.video or clip.image or clip.id, []).append(clip)
    rng = stream_of(recipe.seed, "scored rows")
    for rows in attributes.values():
        count = min(recipe.evaluation.closed_per_clip, len(rows))
        chosen += [rows[index] for index in sorted(rng.choice(len(rows), count, replace=False))]
    return chosen


def score_stage(recipe: Recipe, prepared: Prepared, result: StageResult, console: Console) -> dict[str, Any]:
    """One stage's entry in the report: scores on dev, test, and the conflict clips of test."""
    if result.stage.kind == "empathy":
        return _score_empathy(recipe, prepared, result, console)
    splits = {part: rows_to_score(prepared.clips.get(part, []), recipe) for part in ("dev", "test")}
    predictions = {
        part: _predictions(recipe, prepared, result, part, rows, console) for part, rows in splits.items() if rows
    }
    resamples = recipe.evaluation.resamples
    entry = _entry_of(result)
    if "dev" in predictions:
        entry["dev_metrics"] = score(splits["dev"], predictions["dev"], resamples).metrics
    if "test" in predictions:
        scores = score(splits["test"], predictions["test"], resamples)
        entry["metrics"] = scores.metrics
        entry["confusion"] = {"labels": scores.labels, "counts": scores.confusion}
        pairs = zip(splits["test"], predictions["test"], strict=True)
        conflict = [(clip, said) for clip, said in pairs if clip.extra.get("conflict")]
        if conflict:
            hard, said = zip(*conflict, strict=True)
            entry["conflict_metrics"] = score(hard, said, resamples).metrics
    return entry


def _entry_of(result: StageResult) -> dict[str, Any]:
    """What the report says of every stage; its scores are still to come."""
    return {
        "name": result.stage.name,
        "kind": result.stage.kind,
        "seconds": result.seconds,
        "steps": result.stage.steps,
        "reused": result.reused,
        "metrics": {},
    }


def _score_empathy(recipe: Recipe, prepared: Prepared, result: StageResult, console: Console) -> dict[str, Any]:
    """An empathy stage's entry: its rows with plugins, without, and with false evidence; kept in the run folder."""
    entry = _entry_of(result)
    rows = rows_to_come(recipe, result.stage, prepared.clips.get("test", []))
    if not rows:
        return entry
    path = recipe.output / "predictions" / f"{result.stage.name}-empathy.json"
    mark = {"fingerprint": result.fingerprint, "rows": [clip.id for clip in rows]}
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if kept.get("mark") != mark:
        report = evaluate_empathy(
            load_stage_model(result.folder, recipe),
            prepared.reader,
            rows,
            result.stage.selection.selection(),
            recipe.evaluation.batch_size,
            recipe.evaluation.max_new_tokens,
            resamples=recipe.evaluation.resamples,
            examples=recipe.evaluation.examples,
            progress=lambda name, place, count: console.show(f"{name} {place + 1}/{count}", place / count),
        )
        kept = {"mark": mark, "report": report}
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        draft.write_text(json.dumps(kept), encoding="utf-8")
        os.replace(draft, path)
    entry["empathy"] = kept["report"]
    entry["metrics"] = {f"accuracy_{name}": found["accuracy"] for name, found in kept["report"]["conditions"].items()}
    return entry


def _predictions(
    recipe: Recipe, prepared: Prepared, result: StageResult, part: str, rows: list[Clip], console: Console
) -> list[Prediction]:
    """Answers of a checkpoint; kept in the run folder, and read from there while checkpoint and rows are the same."""
    path = predictions_file(recipe, result.stage.name, part)
    mark = {"fingerprint": result.fingerprint, "rows": [clip.id for clip in rows]}
    if path.is_file() and json.loads(path.read_text(encoding="utf-8").split("\n", 1)[0]) == mark:
        return read_predictions(recipe, result.stage.name, part)
    answers = answer_rows(
        load_stage_model(result.folder, recipe),
        prepared.reader,
        rows,
        recipe.evaluation.batch_size,
        recipe.evaluation.max_new_tokens,
        progress=lambda done, count: console.show(f"{part} {done}/{count} answers", done / count),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text("".join(json.dumps(line) + "\n" for line in [mark, *answers]), encoding="utf-8")
    os.replace(draft, path)
    return answers


def predictions_file(recipe: Recipe, stage: str, part: str) -> Path:
    """Where the answers of a stage to a split lie: a line saying of what they are, then one line each."""
    return recipe.output / "predictions" / f"{stage}-{part}.jsonl"


def read_predictions(recipe: Recipe, stage: str, part: str) -> list[Prediction]:
    """The answers of a stage to the rows of a split."""
    lines = predictions_file(recipe, stage, part).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[1:]]


def summary(recipe: Recipe, prepared: Prepared, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What the report says of the stages so far and of what they were made with."""
    test = rows_to_score(prepared.clips.get("test", []), recipe)
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
    results: Sequence[StageResult],
    entries: list[dict[str, Any]],
    wall_s: float,
    memory: MemoryMeter,
) -> Path:
    """Write the report of a run; returns the HTML file."""
    out = recipe.output
    report = {
        **summary(recipe, prepared, entries),
        "resources": _resources(out, results, wall_s, memory),
        "ablations": _kept_ablations(out),
    }
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    _write_examples(recipe, prepared, results, out / "examples.jsonl")
    return write_report(out)


def _resources(out: Path, results: Sequence[StageResult], wall_s: float, memory: MemoryMeter) -> dict[str, float]:
    """Time and memory of a run in which nothing was reused; a run that reuses stages keeps the figures of the first."""
    path = out / "resources.json"
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
        summary["label_noise"] = synthetic_settings(recipe).label_noise
    summary["unusable_clips"] = prepared.bad
    return summary


def _kept_ablations(out: Path) -> dict[str, Any]:
    path = out / "ablations.json"
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _write_examples(recipe: Recipe, prepared: Prepared, results: Sequence[StageResult], path: Path) -> None:
    """The clips of the gallery: of different emotions, conflicts first, drawn without a look at the answers."""
    trees = [clip for clip in rows_to_score(prepared.clips.get("test", []), recipe) if clip.task == "tree"]
    rng = stream_of(recipe.seed, "examples")
    shuffled = [trees[index] for index in rng.permutation(len(trees))]
    by_emotion: dict[str, list[Clip]] = {}
    for clip in sorted(shuffled, key=lambda clip: not clip.extra.get("conflict")):
        by_emotion.setdefault(clip.answer.rsplit("m1 ", 1)[-1].split(" <-")[0], []).append(clip)
    chosen = [clips[0] for clips in by_emotion.values()][: recipe.evaluation.examples]
    answers: dict[str, dict[str, str]] = {}
    for result in results:
        if trees and result.stage.kind != "empathy":
            for said in read_predictions(recipe, result.stage.name, "test"):
                answers.setdefault(said["id"], {})[result.stage.name] = said["response"]
    with path.open("w", encoding="utf-8") as file:
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
