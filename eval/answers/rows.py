"""Answered rows: question, gold answer and response, as ms-swift or this project writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.json_files import load_json
from affectgpt.problems import InputError, Problem, require_file, shorten
from affectgpt.tasks import TASKS as OURS
from affectgpt.tasks import is_label_list
from eval.answers.fields import GOLD, RESPONSES, Record, Role, fields_of
from eval.answers.labelled_file import read_records, refuse
from eval.answers.tasks import ASPECTS, OWN_TASKS, QUESTIONS, TASKS, task_names


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
    paths: Sequence[Path],
    task: str | None = None,
    aspects: Mapping[tuple[str, str], str] | None = None,
    responses: Role = RESPONSES,
    gold: Role = GOLD,
) -> dict[str, list[AnsweredRow]]:
    """Read the rows of result files by task, in the order of `TASKS`.

    Args:
        paths: JSONL of ms-swift (`response`, `labels`, `messages`, `videos`), whose task is the file's name, or of
            `affectgpt predict` (`id`, `task`, `response`, `answer`).
        task: task of all rows, whatever files and rows say.
        aspects: (video, question) -> aspect, for open questions that lack `source`; see `read_aspects`.
        responses: role of the responses, with the field that the user named.
        gold: role of the gold answers, likewise.

    Raises:
        InputError: files of another kind, rows without a gold answer, an id twice in a task.
    """
    problems: list[Problem] = []
    rows: dict[str, list[AnsweredRow]] = {}
    seen: dict[tuple[str, str], AnsweredRow] = {}
    for path in paths:
        path = require_file(path, "results", "A JSONL file of ms-swift's inference or of 'affectgpt predict'.")
        records, flaws = read_records(path)
        problems += flaws
        fields = fields_of(path, records, responses), fields_of(path, records, gold)
        for line, record in records:
            row = _row(path, line, record, fields, task, aspects or {})
            if isinstance(row, Problem):
                problems.append(row)
                continue
            identity = (row.task, row.key)
            if identity in seen and "id" in record:
                also = f"{row.key!r}, also in {seen[identity].file}, line {seen[identity].line}"
                problems.append(Problem(str(path), f"line {line}", "an id used once in its task", also))
            seen.setdefault(identity, row)
            rows.setdefault(row.task, []).append(row)
    refuse(problems, task_names() if any(problem.expected == _TASK for problem in problems) else "")
    order = [*TASKS, *OWN_TASKS]
    return {name: rows[name] for name in sorted(rows, key=lambda name: order.index(name))}


def _row(
    path: Path,
    line: int,
    row: Record,
    fields: tuple[Sequence[str], Sequence[str]],
    task: str | None,
    aspects: Mapping[tuple[str, str], str],
) -> AnsweredRow | Problem:
    where = f"line {line}"
    predicted, right = (next((field for field in names if field in row), None) for names in fields)
    if predicted is None:
        fix = "It may be called prediction, predict or output; name another with --prediction-field."
        return Problem(str(path), where, "the field 'response'", shorten(", ".join(map(str, row)) or "no field"), fix)
    gold: Any = None if right is None else row[right]
    texts: list[Any] = gold if isinstance(gold, list) else [gold]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        fix = "It holds the gold answer; 'affectgpt eval recognition' reads gold labels from a separate file."
        return Problem(str(path), where, "a text, or a list of texts, in 'labels' or 'answer'", shorten(gold), fix)
    messages = row.get("messages") or []
    asked = [turn.get("content") for turn in messages if isinstance(turn, dict) and turn.get("role") == "user"]
    question = next((text for text in [row.get("question"), *asked, row.get("prompt")] if isinstance(text, str)), "")
    media = [_files(row.get(field)) for field in ("videos", "audios", "images")]
    clip = next((files[0] for files in media if files), "")
    name = task or _task_of(path, row, aspects.get((clip, question)))
    if name is None:
        own = row.get("task")
        fix = "Score it with 'affectgpt eval recognition'." if isinstance(own, str) and own in OURS else _TASK_FIX
        return Problem(str(path), where, _TASK, shorten(own or path.stem), fix)
    response, options = row[predicted], row.get("options")
    return AnsweredRow(
        file=str(path),
        line=line,
        task=name,
        key=str(row.get("id") or json.dumps([*media, question, gold], ensure_ascii=False)),
        group=str(row.get("group") or clip or str(row.get("id") or line).partition("/")[0]),
        question=question,
        gold=texts if isinstance(gold, list) else str(gold),
        response=response if isinstance(response, str) else "" if response is None else json.dumps(response),
        options=tuple(options) if isinstance(options, list) and is_label_list(options) else (),
    )


def _files(given: Any) -> list[str]:
    """Return the files of a field of ms-swift, which holds a list or one of them."""
    return [str(item) for item in (given if isinstance(given, list) else [given]) if item]


_TASK = "a file named by its task, or rows with 'task'"
_TASK_FIX = "Name the task of all rows, for example: --task emotion_label."


def _task_of(path: Path, row: Mapping[str, Any], aspect: str | None) -> str | None:
    if row.get("task") in OWN_TASKS:
        return str(row["task"])
    if path.stem != QUESTIONS:
        return path.stem if path.stem in TASKS or path.stem in OWN_TASKS else None
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
