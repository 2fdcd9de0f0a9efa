"""Prediction of the rows that a prediction file lacks, batch by batch, each saved at once."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectgpt.clip import Clip
from affectgpt.evidence.prompting import Cues
from affectgpt.inference.row_assistant import RowAssistant
from affectgpt.inputs.open import shown_prompt
from affectgpt.model.loading import model_folder, weight_files
from affectgpt.progress import Progress
from affectgpt.terminal import printable
from eval.predict.answers import Prediction, answer_rows, as_prediction
from eval.predict.prediction_file import PredictionFile

if TYPE_CHECKING:
    from videmo.search import SearchSettings, TreeSearch


def answer_pending(
    work: RowAssistant,
    pending: Sequence[Clip],
    file: PredictionFile,
    batch_size: int,
    max_new_tokens: int,
    before: int = 0,
    store: Path | None = None,
    search: TreeSearch | None = None,
) -> None:
    """Answer rows and add their predictions to a file; rows whose clips cannot be used get status 'error'.

    Args:
        before: number of rows that were answered earlier, for the progress.
        store: a feature store's folder to read from, and to fill.
        search: search for the answers of rows whose answer is a tree.

    Raises:
        InputError: rows or a store that do not fit the model.
    """
    progress, done = Progress("rows", before), before
    with closing(work):
        for rows in work.open_in_parts(pending, batch_size, store, Progress("clips")):
            file.add([_error(clip, rows.bad[clip.id]) for clip in rows.clips if clip.id in rows.bad])
            if usable := rows.usable:
                model = work.assistant.model
                file.add(answer_rows(model, rows.reader, usable, batch_size, max_new_tokens, search=search))
            progress(done := done + len(rows.clips), before + len(pending))


def show_prompts(work: RowAssistant, clips: Sequence[Clip]) -> None:
    """Print the prompt of the first row of each task on standard error, evidence included."""
    first = {clip.task: clip for clip in reversed(clips)}
    opened = work.open(list(first.values()))
    for clip in opened.usable:
        prompt = shown_prompt(opened.reader, opened.reader.read([clip])[0])
        print(f"--- prompt of row {clip.id}, task {clip.task}\n{printable(prompt)}\n---", file=sys.stderr)


def answer_settings(
    model: str, max_new_tokens: int, cues: Cues | None, search: SearchSettings | None
) -> dict[str, Any]:
    """Return all that answers depend on besides the rows; a model as the names, sizes and times of its weight files."""
    folders = {Path(folder) for folder in (model, model_folder(model))}
    stamps = [
        (file.name, file.stat().st_size, file.stat().st_mtime_ns)
        for folder in sorted(folders)
        for file in weight_files(folder)
    ]
    weights = hashlib.sha256(json.dumps(stamps).encode()).hexdigest()[:16]
    name = os.path.abspath(model) if os.path.exists(model) else model
    settings: dict[str, Any] = {"model": name, "weights": weights, "max_new_tokens": max_new_tokens}
    settings |= {} if cues is None else {"evidence": asdict(cues)}
    return settings if search is None else {**settings, "search": search.model_dump()}


def _error(clip: Clip, reason: str) -> Prediction:
    return {**as_prediction(clip, "", "error"), "reason": reason}
