"""Prediction files that grow batch by batch, survive a kill at any moment, and are published whole."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip
from affectgpt.json_files import iterate_json
from affectgpt.problems import InputError, Problem
from eval.predict.answers import Prediction


class PredictionFile:
    """Predictions of a row file: those of an earlier run, those that are added, and the file that holds all in the end.

    Args:
        path: the prediction file. Beside it are `.part`, to which lines are appended until all are there, and
            `.settings.json`, the settings of the predictions.
        clips: all rows of the row file.
        settings: all that answers depend on besides the rows.

    Raises:
        InputError: the existing predictions are of other rows or settings.
    """

    def __init__(self, path: Path, clips: Sequence[Clip], settings: dict[str, Any]) -> None:
        self.path, self.clips = path, clips
        self.journal, self.note = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.settings.json")
        self.known: dict[str, Prediction] = {}
        for file in (path, self.journal):
            self._take(file)
        before = json.loads(self.note.read_text()) if self.note.is_file() else settings
        if self.known and before != settings:
            differing = [name for name in settings | before if before.get(name) != settings.get(name)]
            raise InputError(
                f"{path}: its lines were made with other settings ({', '.join(differing)}). Name another --out, or "
                "remove it and the files beside it."
            )
        self.settings = settings
        self._torn = self.journal.is_file() and not self.journal.read_bytes().endswith(b"\n")

    def _take(self, file: Path) -> None:
        """Take over the valid lines of a file; a line cut off by a kill is skipped."""
        rows = {clip.id: clip for clip in self.clips}
        for number, line in iterate_json(file) if file.is_file() else ():
            if isinstance(line, Problem) or not {"id", "task", "response", "status", "answer"} <= line.keys():
                print(f"{file}: line {number} is damaged; its row is answered again.", file=sys.stderr)
                continue
            row = rows.get(line["id"])
            if row is None or (row.task, row.answer) != (line["task"], line["answer"]):
                raise InputError(
                    Problem(str(file), f"line {number}", "the prediction of a row", f"one of {line['id']!r} of old")
                    if row
                    else Problem(str(file), f"line {number}", "the id of a row", repr(line["id"])),
                    advice="The row file has changed. Name another --out.",
                )
            if line["status"] != "error":
                self.known[row.id] = line  # type: ignore[assignment]

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Add predictions, writing them to disk at once."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.note.write_text(json.dumps(self.settings))
        with self.journal.open("a", encoding="utf-8") as file:
            file.write("\n" * self._torn)
            file.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in predictions)
        self._torn = False
        self.known |= {item["id"]: item for item in predictions}

    def publish(self) -> None:
        """Write the whole file beside its path, in the order of the rows, and rename it to its path."""
        draft = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        try:
            with draft.open("w", encoding="utf-8") as file:
                for clip in self.clips:
                    if clip.id in self.known:
                        file.write(json.dumps(self.known[clip.id], ensure_ascii=False) + "\n")
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)
