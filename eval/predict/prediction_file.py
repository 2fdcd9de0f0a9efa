"""Prediction files that grow batch by batch, survive a kill at any moment, and are published whole.

A line counts only as long as its row asks the same about the same clip. Each carries the fingerprint of its row: the
turns before the last, subtitle, evidence, options, span, and name, size and time of modification of each media file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import MEDIA_FIELDS, Clip
from affectgpt.json_files import iterate_json, load_json
from affectgpt.problems import InputError, Problem
from eval.predict.answers import Prediction, as_prediction

_NOT_ASKED = ("id", "answer", "messages", "level", "group", "source", "extra")
"""Fields of a row that do not change what a model is asked; of the messages, the last."""


def row_fingerprint(clip: Clip) -> str:
    """Return the fingerprint of what a row asks about its clip."""
    asked = {name: value for name, value in clip.to_json().items() if name not in (*_NOT_ASKED, *MEDIA_FIELDS)}
    media = {name: _stamp(path) for name in MEDIA_FIELDS if (path := getattr(clip, name)) is not None}
    whole = {**asked, "prompt": clip.prompt, "has_sound": clip.has_sound, "media": media}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:16]


def _stamp(path: Path) -> tuple[str, int, int] | None:
    """Return name, bytes and nanoseconds of the last modification of a file; None if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return None
    return path.name, status.st_size, status.st_mtime_ns


def _is_of(line: Mapping[str, Any], clip: Clip) -> bool:
    """Tell whether a line of v0.1.0, which has no fingerprint, agrees with a row as far as it goes."""
    now = as_prediction(clip, line["response"])
    return all(line[name] == now.get(name) for name in ("options", "question") if name in line)


def _is_text(line: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Tell whether these fields of a line are there and hold text."""
    return all(isinstance(line.get(name), str) for name in names)


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
        self.changed: dict[str, None] = {}
        """Ids of rows that asked something else, or about another clip, when they were answered."""
        self.unchecked = 0
        """Number of lines of v0.1.0, which do not tell that."""
        self._rows = {clip.id: clip for clip in clips}
        self._fingerprints = {clip.id: row_fingerprint(clip) for clip in clips}
        for file in (path, self.journal):
            self._take(file)
        before = load_json(self.note, "the settings of the predictions") if self.note.is_file() else settings
        if not isinstance(before, dict):
            raise InputError(Problem(str(self.note), "the file", "the settings of the predictions", "no JSON object"))
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
        for number, line in iterate_json(file) if file.is_file() else ():
            if (
                isinstance(line, Problem)
                or "answer" not in line
                or not _is_text(line, ("id", "task", "response", "status"))
            ):
                print(f"{file}: line {number} is damaged; its row is answered again.", file=sys.stderr)
                continue
            row = self._rows.get(line["id"])
            if row is None or (row.task, row.answer) != (line["task"], line["answer"]):
                raise InputError(
                    Problem(str(file), f"line {number}", "the prediction of a row", f"one of {line['id']!r} of old")
                    if row
                    else Problem(str(file), f"line {number}", "the id of a row", repr(line["id"])),
                    advice="The row file has changed. Name another --out.",
                )
            fingerprint = line.get("fingerprint")
            if not (_is_of(line, row) if fingerprint is None else fingerprint == self._fingerprints[row.id]):
                self.changed[row.id] = None
            elif line["status"] != "error":
                self.changed.pop(row.id, None)
                self.unchecked += fingerprint is None
                self.known[row.id] = as_prediction(row, line["response"], line["status"])
                if fingerprint is not None:
                    self.known[row.id]["fingerprint"] = fingerprint

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Add predictions, with the fingerprints of their rows, writing them to disk at once."""
        for item in predictions:
            item["fingerprint"] = self._fingerprints[item["id"]]
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
