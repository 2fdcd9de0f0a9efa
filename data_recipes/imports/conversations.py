"""Importers of the conversations of ms-swift and ShareGPT.

Every importer returns all rows or raises an InputError that lists every problem of the file. Whether media files exist
is left to `affectgpt data check`, except in `from_csv`, whose paths are typed by hand.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip, iterate_json
from affectgpt.media_root import media_folder
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.tasks import LEVELS, SPOKEN, TASKS

KINDS = ("video", "audio", "image")
"""Media of these formats; each is also a medium of `affectgpt.media`."""
_PLACEHOLDER = re.compile(r"[ \t]*<(video|audio|image)>[ \t]*\n?")
_ROLES = {"human": "user", "gpt": "assistant"}

Row = dict[str, Any]


def from_ms_swift(path: str | Path, task: str = "caption", media_root: str | Path | None = None) -> list[Clip]:
    """Read rows of ms-swift's format, which Emo-CFG uses too.

    A row holds `messages`, whose user turns mark media by `<video>`, `<audio>` and `<image>`, and `videos`, `audios`
    and `images`, lists of at most one path; `id` and `source` are kept, everything else goes to `extra`.

    Args:
        path: JSONL, or a JSON array.
        task: task of every row; the last turn is its answer, read as the task's type asks.
        media_root: folder that relative paths start from; the file's own by default.

    Raises:
        InputError: the file or task does not exist, or rows are invalid.
    """
    return _conversations(path, task, media_root, _messages_of_ms_swift)


def from_sharegpt(path: str | Path, task: str = "caption", media_root: str | Path | None = None) -> list[Clip]:
    """Read rows of the ShareGPT format: `conversations` of {from: human | gpt | system, value}, and `video` or `videos`
    and the like.

    Arguments, the other fields and errors are those of `from_ms_swift`.
    """
    return _conversations(path, task, media_root, _messages_of_sharegpt)


class _Place:
    """Collector of the problems of one row."""

    def __init__(self, file: Path, number: int, problems: list[Problem]) -> None:
        self.file, self.number, self.problems = str(file), number, problems

    def add(self, field: str, expected: str, got: str, fix: str = "") -> None:
        self.problems.append(Problem(self.file, f"row {self.number}, field '{field}'", expected, got, fix))


def _conversations(
    path: str | Path, task: str, media_root: str | Path | None, messages_of: Callable[[Row, _Place], list[Row]]
) -> list[Clip]:
    path = require_file(path, "a file of conversations", "")
    if task not in SPOKEN:
        raise InputError(Problem("task", "its name", f"one of {', '.join(SPOKEN)}", task, nearest(task, SPOKEN)))
    root = media_folder(path, media_root)
    problems: list[Problem] = []
    clips: list[Clip] = []
    seen: dict[str, int] = {}
    for number, row in _rows(path):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        place = _Place(path, number, problems)
        before = len(problems)
        messages = messages_of(row, place)
        if len(problems) == before:
            messages, counts = _strip_placeholders(messages, place)
            media = {kind: _media(row, kind, counts[kind], root, place) for kind in KINDS}
            if media["image"] is not None and media["video"] is not None:
                place.add("images", "a picture or a video", "both", "Make a row of each.")
            answer = _answer(messages, task, place)
        identifier = f"{path.stem}-{number:06d}" if row.get("id") in (None, "") else str(row["id"])
        if seen.setdefault(identifier, number) != number:
            got = f"{identifier!r}, also in row {seen[identifier]}"
            place.add("id", "a name used once", got, "Rows without an id are numbered.")
        if len(problems) > before:
            continue
        source = row.get("source")
        known = {"id", "messages", "conversations", "system", *(kind for k in KINDS for kind in (k, f"{k}s"))}
        extra = {key: value for key, value in row.items() if key not in known}
        if source is None or isinstance(source, str):
            extra.pop("source", None)
        level = task.partition("_")[0]
        clips.append(
            Clip(
                id=identifier,
                messages=messages,
                task=task,
                answer=answer,
                video=media["video"],
                audio=media["audio"],
                image=media["image"],
                level=level if level in LEVELS else None,
                source=source if isinstance(source, str) else path.stem,
                extra=extra,
            )
        )
    if not clips and not problems:
        problems.append(Problem(str(path), "the file", "at least one row", "none"))
    if problems:
        raise InputError(problems)
    return clips


def _rows(path: Path) -> Iterator[tuple[int, Row | Problem]]:
    """Yield the rows of a JSONL file or of a JSON array, with their numbers from 1."""
    with path.open("rb") as file:
        is_array = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    if not is_array:
        yield from iterate_json(path)
        return
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        yield 1, Problem(str(path), "the file", "a JSON array, or one JSON object a line", str(error))
        return
    for number, row in enumerate(rows, start=1):
        is_object = isinstance(row, dict)
        yield number, row if is_object else Problem(str(path), f"row {number}", "a JSON object", shorten(row))


def _messages_of_ms_swift(row: Row, place: _Place) -> list[Row]:
    turns = row.get("messages")
    if not isinstance(turns, list) or not turns:
        place.add("messages", "a list of chat turns", shorten(turns) if "messages" in row else "nothing")
        return []
    messages = []
    for index, turn in enumerate(turns):
        if isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str):
            messages.append({"role": turn["role"], "content": turn["content"]})
        else:
            place.add(f"messages[{index}]", "{'role': ..., 'content': text}", shorten(turn))
    _check_roles(messages, "messages", place)
    return messages


def _messages_of_sharegpt(row: Row, place: _Place) -> list[Row]:
    turns = row.get("conversations")
    if not isinstance(turns, list) or not turns:
        got = shorten(turns) if "conversations" in row else "nothing"
        place.add("conversations", "a list of {'from': human | gpt | system, 'value': text}", got)
        return []
    messages = []
    if isinstance(row.get("system"), str) and row["system"].strip():
        messages.append({"role": "system", "content": row["system"]})
    for index, turn in enumerate(turns):
        if isinstance(turn, dict) and isinstance(turn.get("from"), str) and isinstance(turn.get("value"), str):
            messages.append({"role": _ROLES.get(turn["from"], turn["from"]), "content": turn["value"]})
        else:
            place.add(f"conversations[{index}]", "{'from': human | gpt | system, 'value': text}", shorten(turn))
    _check_roles(messages, "conversations", place)
    return messages


def _check_roles(messages: list[Row], field: str, place: _Place) -> None:
    for index, turn in enumerate(messages):
        if turn["role"] not in ("system", "user", "assistant"):
            place.add(f"{field}[{index}]", "a turn of the system, the user or the assistant", shorten(turn["role"]))
    if messages and messages[-1]["role"] in ("system", "user"):
        place.add(field, "the assistant's turn last: it is the target", f"the {messages[-1]['role']}'s")
    elif len(messages) == 1:
        place.add(field, "at least two chat turns", "one")


def _strip_placeholders(messages: list[Row], place: _Place) -> tuple[list[Row], Counter[str]]:
    """Return the turns without their placeholders, and the number of each kind in the user's turns."""
    counts: Counter[str] = Counter()
    stripped = []
    for index, turn in enumerate(messages):
        content = turn["content"]
        if turn["role"] == "user":
            counts.update(_PLACEHOLDER.findall(content))
            content = _PLACEHOLDER.sub("", content)
        if not content.strip():
            place.add(f"turn {index + 1}", "text", "nothing" if turn["role"] != "user" else "nothing but placeholders")
        stripped.append({"role": turn["role"], "content": content.strip()})
    return stripped, counts


def _media(row: Row, kind: str, marked: int, root: Path, place: _Place) -> Path | None:
    """Return the one file of a kind that a row names, under `video` or `videos` and the like; None for none."""
    paths: list[Any] = []
    for field in (kind, f"{kind}s"):
        value = row.get(field)
        paths += value if isinstance(value, list) else [] if value is None else [value]
    field = kind if row.get(kind) is not None else f"{kind}s"
    if not all(isinstance(path, str) and path for path in paths):
        place.add(field, "paths", shorten(paths))
        return None
    # Placeholders may be left out altogether: ms-swift then puts the media first.
    if marked not in (0, len(paths)):
        place.add(field, f"as many files as there are <{kind}> placeholders ({marked})", str(len(paths)))
    elif len(paths) > 1:
        place.add(field, "at most one file a row", str(len(paths)), "Make a row of each.")
    return Path(os.path.normpath(root / paths[0])) if len(paths) == 1 else None


def _answer(messages: list[Row], task: str, place: _Place) -> str | float | list[str]:
    """Read the target as an answer of the type of `task`."""
    target = messages[-1]["content"]
    if TASKS[task].answer == "labels":
        labels = list(dict.fromkeys(label.strip() for label in target.split(",") if label.strip()))
        if not labels and target:
            place.add("the last turn", f"labels with commas between them (task '{task}')", shorten(target))
        return labels
    if TASKS[task].answer == "number":
        try:
            number = float(target)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            place.add("the last turn", f"a number (task '{task}')", shorten(target))
        return number
    return str(target)
