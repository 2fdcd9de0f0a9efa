"""Importers of the conversations of ms-swift and ShareGPT.

Every importer returns all rows or raises an InputError that lists every problem of the file. Whether media files exist
is left to `affectgpt data check`, except in `from_csv`, whose paths are typed by hand.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip
from affectgpt.json_files import iterate_objects
from affectgpt.media_root import media_folder
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.tasks import LEVELS, SPOKEN, TASKS
from data_recipes.imports.label_lists import read_labels
from data_recipes.imports.turns import CONVERSATIONS, KINDS, KNOWN, Place, Row, read_turns

_PLACEHOLDER = re.compile(r"[ \t]*<(video|audio|image)>[ \t]*\n?")


def from_ms_swift(
    path: str | Path,
    task: str = "caption",
    media_root: str | Path | None = None,
    mended: list[int] | None = None,
) -> list[Clip]:
    """Read rows of conversations as ms-swift, and so Emo-CFG, and OpenAI and Qwen write them.

    A row holds `messages`, whose user turns mark media by `<video>`, `<audio>` and `<image>`, and `videos`, `audios`
    and `images`, lists of at most one path; or turns whose content is a list of parts, with the media among them; or
    `query` and `response`, with `system` and `history` before them. Rows of ShareGPT and of `instruction` and `output`
    are read, too. `id` and `source` are kept, everything else goes to `extra`.

    Args:
        path: JSONL, or a JSON array.
        task: task of every row; the last turn is its answer, read as the task's type asks.
        media_root: folder that relative paths start from; the file's own by default.
        mended: collects the numbers of rows in which U+FFFD was put for half a character; without it, that is a
            problem.

    Raises:
        InputError: the file or task does not exist, or rows are invalid.
    """
    return _conversations(path, task, media_root, mended, CONVERSATIONS)


def from_sharegpt(
    path: str | Path,
    task: str = "caption",
    media_root: str | Path | None = None,
    mended: list[int] | None = None,
) -> list[Clip]:
    """Read rows of conversations as ShareGPT and LLaMA-Factory write them.

    A row holds `conversations` of {from: human | gpt | system, value}, and `video` or `videos` and the like. Rows
    of the other formats are read, too; arguments, the other fields and errors are those of `from_ms_swift`.
    """
    return _conversations(path, task, media_root, mended, CONVERSATIONS[::-1])


def _conversations(
    path: str | Path,
    task: str,
    media_root: str | Path | None,
    mended: list[int] | None,
    fields: Sequence[str],
) -> list[Clip]:
    path = require_file(path, "a file of conversations", "")
    if task not in SPOKEN:
        raise InputError(Problem("task", "its name", f"one of {', '.join(SPOKEN)}", task, nearest(task, SPOKEN)))
    root = media_folder(path, media_root)
    problems: list[Problem] = []
    clips: list[Clip] = []
    seen: dict[str, int] = {}
    for number, row in iterate_objects(path, mended):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        place = Place(path, number, problems)
        before = len(problems)
        row, messages = read_turns(row, place, fields)
        if len(problems) == before:
            messages, counts = _strip_placeholders(messages, place)
            media = {kind: _media(row, kind, counts[kind], root, place) for kind in KINDS}
            if media["image"] is not None and media["video"] is not None:
                place.add("images", "a picture or a video", "both", "Make a row of each.")
            answer = _answer(messages, task, place)
        if not isinstance(row.get("id"), str | int | float | None) or isinstance(row.get("id"), bool):
            place.add("id", "a text or a number", shorten(row["id"]))
        identifier = f"{path.stem}-{number:06d}" if row.get("id") in (None, "") else str(row["id"])
        if seen.setdefault(identifier, number) != number:
            got = f"{identifier!r}, also in row {seen[identifier]}"
            place.add("id", "a name used once", got, "Rows without an id are numbered.")
        if len(problems) > before:
            continue
        source = row.get("source")
        extra = {key: value for key, value in row.items() if key not in KNOWN}
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


def _strip_placeholders(messages: list[Row], place: Place) -> tuple[list[Row], Counter[str]]:
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


def _media(row: Row, kind: str, marked: int, root: Path, place: Place) -> Path | None:
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


def _answer(messages: list[Row], task: str, place: Place) -> str | float | list[str]:
    """Read the target as an answer of the type of `task`."""
    target = messages[-1]["content"]
    if TASKS[task].answer == "labels":
        try:
            labels = read_labels(target)
        except ValueError:
            labels = []
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
