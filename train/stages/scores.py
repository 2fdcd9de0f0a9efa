"""Scores of a stage's answers to clips; answers are kept in the run folder."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip, clip_key
from affectgpt.tasks import TASKS, Task
from eval.predict.answers import Prediction, answer_rows
from eval.report.scores import details, is_closed, is_scored, score
from train.fingerprint import stream_of
from train.model_setup import load_stage_model
from train.run_folder import RunFolder
from train.stages.context import StageContext


def rows_to_score(clips: Sequence[Clip], seed: int, closed_per_clip: int) -> list[Clip]:
    """Return the rows of a split to answer: every row that is scored, but only some attribute questions of each clip.

    A split with trees is answered by its trees, its expression questions and some attribute questions: the tree says
    the rest.
    """
    scored = [clip for clip in clips if is_scored(clip)]
    if any(TASKS[clip.task].judged == "tree" for clip in scored):
        scored = [clip for clip in scored if _beside_trees(TASKS[clip.task])]
    chosen: list[Clip] = []
    attributes: dict[Any, list[Clip]] = {}
    for clip in scored:
        if is_closed(TASKS[clip.task], "attribute"):
            attributes.setdefault(clip_key(clip) or clip.id, []).append(clip)
        else:
            chosen.append(clip)
    rng = stream_of(seed, "scored rows")
    for rows in attributes.values():
        count = min(closed_per_clip, len(rows))
        chosen += [rows[index] for index in sorted(rng.choice(len(rows), count, replace=False))]
    return chosen


def _beside_trees(task: Task) -> bool:
    return task.judged == "tree" or is_closed(task, "expression") or is_closed(task, "attribute")


def score_clips(context: StageContext, checkpoint: Path, fingerprint: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Add the scores on dev, test and the conflict clips of test to a stage's entry in the report; return the entry.

    Args:
        fingerprint: fingerprint of the checkpoint.
        entry: entry with the `name` of the stage.
    """
    rows = {part: scored_rows(context, part) for part in ("dev", "test")}
    predictions = {
        part: _predictions(context, entry["name"], checkpoint, fingerprint, part, chosen)
        for part, chosen in rows.items()
        if chosen
    }
    resamples = context.evaluation.resamples
    if "dev" in predictions:
        entry["dev_metrics"] = score(rows["dev"], predictions["dev"], resamples).metrics
    if "test" in predictions:
        scores = score(rows["test"], predictions["test"], resamples)
        entry["metrics"] = scores.metrics
        entry["confusion"] = {"labels": scores.labels, "counts": scores.confusion}
        entry["tasks"] = details(scores.tasks, resamples)
        pairs = zip(rows["test"], predictions["test"], strict=True)
        conflict = [(clip, answer) for clip, answer in pairs if clip.extra.get("conflict")]
        if conflict:
            hard, answers = zip(*conflict, strict=True)
            entry["conflict_metrics"] = score(hard, answers, resamples).metrics
    return entry


def scored_rows(context: StageContext, part: str) -> list[Clip]:
    """Return the rows to answer of a part of a run's data."""
    return rows_to_score(context.rows.get(part, []), context.seed, context.evaluation.closed_per_clip)


def _predictions(
    context: StageContext, stage: str, checkpoint: Path, fingerprint: str, part: str, rows: list[Clip]
) -> list[Prediction]:
    """Answer rows with a checkpoint, or read its answers if the data and settings are still the same."""
    path = context.folder.predictions(stage, part)
    longest = context.evaluation.max_new_tokens
    mark = {"fingerprint": fingerprint, "rows": [clip.id for clip in rows], "max_new_tokens": longest}
    if path.is_file() and json.loads(path.read_text(encoding="utf-8").split("\n", 1)[0]) == mark:
        return read_predictions(context.folder, stage, part)
    answers = answer_rows(
        load_stage_model(checkpoint, context.model),
        context.reader,
        rows,
        context.evaluation.batch_size,
        context.evaluation.max_new_tokens,
        progress=lambda done, count: context.console.show(f"{part} {done}/{count} answers", done / count),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text("".join(json.dumps(line) + "\n" for line in [mark, *answers]), encoding="utf-8")
    os.replace(draft, path)
    return answers


def read_predictions(folder: RunFolder, stage: str, part: str) -> list[Prediction]:
    """Read a stage's predictions for the rows of a part; the first line of the file holds their fingerprint."""
    with folder.predictions(stage, part).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file][1:]
