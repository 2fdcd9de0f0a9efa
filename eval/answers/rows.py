"""Answered rows: question, gold answer and response, as ms-swift or this project writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.json_files import iterate_json, load_json
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.tasks import is_label_list
from eval.answers.labelled_file import SHOWN
from eval.answers.tasks import ASPECTS, OWN_TASKS, QUESTIONS, TASKS


@dataclass(frozen=True, slots=True)
class AnsweredRow:
    """Answered question: its row, the gold answer and the response."""

    file: str
    line: int
    task: str
    key: str
    """Identity among the rows of its task: its id, or its video and question."""
    group: str
    """Speaker or dialogue if the row names one, else the video; intervals are clustered by it."""
    question: str
    gold: str | list[str]
    response: str
    options: tuple[str, ...] = ()
    """Closed set of the row, if it names one besides its question."""


def read_rows(
    paths: Sequence[Path], task: str | None = None, aspects: Mapping[tuple[str, str], str] | None = None
) -> dict[str, list[AnsweredRow]]:
    """Read the rows of result files by task, in the order of `TASKS`.

    Args:
        paths: JSONL of ms-swift (`response`, `labels`, `messages`, `videos`), whose task is the file's name, or of
            `affectgpt predict` (`id`, `task`, `response`, `answer`).
        task: task of all rows, whatever files and rows say.
        aspects: (video, question) -> aspect, for open questions that lack `source`; see `read_aspects`.

    Raises:
        InputError: files of another kind, rows without a gold answer, an id twice in a task.
    """
    problems: list[Problem] = []
    rows: dict[str, list[AnsweredRow]] = {}
    seen: dict[tuple[str, str], AnsweredRow] = {}
    for path in paths:
        path = require_file(path, "results", "A JSONL file of ms-swift's inference or of 'affectgpt predict'.")
        before = len(problems) + sum(map(len, rows.values()))
        for line, record in iterate_json(path, mended=[]):  # a response may end inside a character
            if isinstance(record, Problem):
                problems.append(record)
                continue
            if "fingerprint" in record and "rows" in record:
                continue  # the header of a run's own prediction files
            row = _row(path, line, record, task, aspects or {})
            if isinstance(row, Problem):
                problems.append(row)
                continue
            identity = (row.task, row.key)
            if identity in seen and "id" in record:
                also = f"{row.key!r}, also in {seen[identity].file}, line {seen[identity].line}"
                problems.append(Problem(str(path), f"line {line}", "an id used once in its task", also))
            seen.setdefault(identity, row)
            rows.setdefault(row.task, []).append(row)
        if before == len(problems) + sum(map(len, rows.values())):
            problems.append(Problem(str(path), "the file", "at least one row", "none"))
    if problems:
        raise InputError(problems[:SHOWN], f"... and {len(problems) - SHOWN} more." if len(problems) > SHOWN else "")
    order = [*TASKS, *OWN_TASKS]
    return {name: rows[name] for name in sorted(rows, key=lambda name: order.index(name))}


def _row(
    path: Path, line: int, row: Mapping[str, Any], task: str | None, aspects: Mapping[tuple[str, str], str]
) -> AnsweredRow | Problem:
    where = f"line {line}"
    gold = row.get("labels", row.get("answer"))
    if "response" not in row:
        return Problem(str(path), where, "the field 'response'", shorten(", ".join(map(str, row)) or "no field"))
    texts = gold if isinstance(gold, list) else [gold]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        fix = "It holds the gold answer; 'affectgpt eval recognition' reads gold labels from a separate file."
        return Problem(str(path), where, "a text, or a list of texts, in 'labels' or 'answer'", shorten(gold), fix)
    messages = row.get("messages") or []
    asked = [turn.get("content") for turn in messages if isinstance(turn, dict) and turn.get("role") == "user"]
    question = next((text for text in [row.get("question"), *asked] if isinstance(text, str)), "")
    videos = row.get("videos") or []
    video = str(videos[0] if isinstance(videos, list) and videos else videos or "")
    name = task or _task_of(path, row, aspects.get((video, question)))
    if name is None:
        fix = f"{nearest(path.stem, TASKS)} Rename the file, or pass --task TASK."
        return Problem(str(path), where, "a file named by its task, or rows with 'task'", path.stem, fix)
    response, options = row["response"], row.get("options")
    return AnsweredRow(
        file=str(path),
        line=line,
        task=name,
        key=str(row.get("id") or json.dumps([video, question, gold], ensure_ascii=False)),
        group=str(row.get("group") or video or str(row.get("id") or line).partition("/")[0]),
        question=question,
        gold=texts if isinstance(gold, list) else str(gold),
        response=response if isinstance(response, str) else "" if response is None else json.dumps(response),
        options=tuple(options) if isinstance(options, list) and is_label_list(options) else (),
    )


def _task_of(path: Path, row: Mapping[str, Any], aspect: str | None) -> str | None:
    if row.get("task") in OWN_TASKS:
        return str(row["task"])
    if path.stem != QUESTIONS:
        return path.stem if path.stem in TASKS else None
    aspect = aspect or str(row.get("source", "")).rpartition("QA_")[2]
    return f"{QUESTIONS}_{aspect}" if aspect in ASPECTS else QUESTIONS


def read_aspects(path: Path) -> dict[tuple[str, str], str]:
    """Read (video, question) -> aspect from VidEmo's list of open questions, JSON with messages, videos, source.

    Raises:
        InputError: the file is no such list.
    """
    path = require_file(path, "the questions", "Emo-CFG's QA_test_sampling_all.json.")
    items = load_json(path, "a JSON list of objects with 'messages', 'videos' and 'source'")
    try:
        aspects = {}
        for item in items:
            asked = [turn["content"] for turn in item["messages"] if turn["role"] == "user"]
            aspects[str(item["videos"][0]), asked[-1]] = str(item["source"]).rpartition("QA_")[2]
        return aspects
    except (ValueError, KeyError, TypeError, IndexError) as error:
        expected = "a JSON list of objects with 'messages', 'videos' and 'source'"
        raise InputError(Problem(str(path), "the file", expected, f"{type(error).__name__}: {error}")) from None
