"""Label and prediction files of MER-UniBench: their contents, checked and matched by clip name.

Labels are a CSV `name,label`: an emotion word of the data set, a valence, or a list of emotion words. Predictions are
JSONL with `name` (or `id`) and `response`. If a row has `openset`, emotion words extracted from the response, or
`sentiment`, these count; otherwise they are extracted here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from affectgpt.emotions.extract import Extractor
from affectgpt.emotions.sentiment import read_sentiment, sentiment_of
from affectgpt.emotions.wheels import EmotionWheels, WheelTableError, read_wheels
from affectgpt.json_files import iterate_json
from affectgpt.problems import InputError, Problem, require_file, shorten
from eval.answers.labelled_file import NAMES, SHOWN, Entry, read_entries, require_same_names
from eval.benchmarks.unibench.sets import Answer, Answers, Benchmark, Gold

Reread = Literal["none", "empty", "all"]
"""Choice of responses that are read again although their rows have extracted words or a sentiment."""
_TYPES: dict[str, tuple[type, ...]] = {"response": (str,), "openset": (str, list), "sentiment": (str,)}


@dataclass(frozen=True, slots=True)
class Labels:
    """Gold labels of a data set."""

    path: Path
    gold: dict[str, Gold]
    lines: dict[str, int]


@dataclass(frozen=True, slots=True)
class Predictions:
    """Answers of one checkpoint, matched with the labels."""

    answers: Answers
    extracted: int
    """Number of answers whose words were extracted here."""
    extra: int
    """Number of answers to clips that have no label."""


def load_wheels(folder: Path) -> EmotionWheels:
    """Read the benchmark's wheel tables.

    Raises:
        InputError: tables are missing or altered; each is named.
    """
    try:
        return read_wheels(folder)
    except WheelTableError as error:
        problems = [Problem(*fault) for fault in error.faults]
        advice = (
            "Official scores need the published tables: copy the folder 'emotion_wheel' of "
            "github.com/zeroQiaoba/AffectGPT (or MERTools) again, or score with --mode clean, which needs none."
        )
        raise InputError(problems, advice) from None


def read_labels(path: Path, benchmark: Benchmark) -> Labels:
    """Read the labels of a data set.

    Raises:
        InputError: no such file, repeated names, labels outside the set, valences that are not numbers.
    """
    entries = read_entries(path, ("label", "openset", "labels"))
    gold: dict[str, Gold] = {}
    problems: list[Problem] = []
    for name, entry in entries.items():
        value = _gold(entry, benchmark)
        if value is None:
            expected = {
                "hit": f"one of {', '.join(benchmark.labels)}",
                "sentiment": f"a valence from {-benchmark.span:g} to {benchmark.span:g}",
                "open": "a list of emotion words",
            }[benchmark.task]
            fix = f"These are the labels of {benchmark.name}: does the file belong to another data set?"
            problems.append(Problem(str(path), f"line {entry.line}, {name}", expected, shorten(entry.value), fix))
        else:
            gold[name] = value
    _raise(problems)
    return Labels(path, gold, {name: entry.line for name, entry in entries.items()})


def _gold(entry: Entry, benchmark: Benchmark) -> Gold | None:
    if benchmark.task == "open":
        return parse_list(entry.value) if isinstance(entry.value, str | list) else None
    if benchmark.task == "hit":
        label = str(entry.value).strip().lower()
        return (label,) if label in benchmark.labels else None
    try:
        valence = float(entry.value)
    except (TypeError, ValueError):
        return None
    return valence if math.isfinite(valence) and abs(valence) <= benchmark.span else None


def read_predictions(
    path: Path,
    benchmark: Benchmark,
    labels: Labels,
    extractor: Extractor,
    reread: Reread = "none",
    allow_missing: bool = False,
) -> Predictions:
    """Read the answers of a checkpoint and match them with the labels.

    Args:
        extractor: reads all responses without `openset` in one call.
        reread: whether it also reads others: those whose `openset` is empty, or all of them.
        allow_missing: accept clips without an answer, and answers without a clip.

    Raises:
        InputError: no such file, unreadable rows, repeated names, or, unless allowed, names that only one of answers
            and labels has.
    """
    rows = _rows(path)
    if not allow_missing:
        fix = "Predict the missing clips, remove the extra predictions, or pass --allow-missing to score the rest."
        lines = {name: number for name, (number, _) in rows.items()}
        require_same_names(labels.path, labels.lines, path, lines, fix)
    wanted = {name: row for name, (_, row) in rows.items() if name in labels.gold}
    if reread == "all":
        wanted = {name: {"response": row.get("response")} for name, row in wanted.items()}
    words = {name: parse_list(row.get("openset") or "") for name, row in wanted.items()}
    texts = {
        name: row["response"]
        for name, row in wanted.items()
        if row.get("response") and not (words[name] or _is_read(row, benchmark, reread))
    }
    extracted = extractor.extract(list(texts.values()))
    words |= {name: tuple(labels or ()) for name, labels in zip(texts, extracted, strict=True)}
    answers = {name: _answer(row, words[name], benchmark) for name, row in wanted.items()}
    return Predictions([answers.get(name) for name in labels.gold], len(texts), len(rows) - len(wanted))


def _rows(path: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    path = require_file(path, "predictions", "One JSON object a line, with name and response.")
    rows: dict[str, tuple[int, dict[str, Any]]] = {}
    problems: list[Problem] = []
    for number, row in iterate_json(path, mended=[]):  # a response may end inside a character
        if isinstance(row, Problem):
            problems.append(row)
            continue
        where = f"line {number}"
        name = next((row[field] for field in NAMES if row.get(field) not in (None, "")), None)
        wrong = [field for field, types in _TYPES.items() if not isinstance(row.get(field), (*types, type(None)))]
        if name is None:
            problems.append(Problem(str(path), where, "the field 'name'", shorten(", ".join(map(str, row)))))
        elif not row.keys() & _TYPES.keys():
            expected = "one of the fields 'response', 'openset', 'sentiment'"
            problems.append(Problem(str(path), where, expected, shorten(", ".join(map(str, row)))))
        elif wrong:
            problems.append(Problem(str(path), f"{where}, {wrong[0]}", "text or null", shorten(row[wrong[0]])))
        elif str(name) in rows:
            fix = "Remove one of the two: the official scorer silently takes the last."
            got = f"{name!r}, also in line {rows[str(name)][0]}"
            problems.append(Problem(str(path), where, "a name used once", got, fix))
        else:
            rows[str(name)] = number, row
    if not rows and not problems:
        problems.append(Problem(str(path), "the file", "at least one row", "none"))
    _raise(problems)
    return rows


def _is_read(row: Mapping[str, Any], benchmark: Benchmark, reread: Reread) -> bool:
    """Tell whether a row without words nevertheless says what is in its response."""
    if benchmark.task == "sentiment" and row.get("sentiment"):
        return True
    return reread == "none" and row.get("openset") is not None


def _answer(row: Mapping[str, Any], words: tuple[str, ...], benchmark: Benchmark) -> Answer:
    if benchmark.task != "sentiment":
        return Answer(words)
    if row.get("sentiment"):
        return Answer(words, read_sentiment(row["sentiment"]))
    return Answer(words, sentiment_of(words) if words else None)


def parse_list(written: str | Sequence[object]) -> tuple[str, ...]:
    """Split a list such as `[happy, 'at ease']`: one pair of brackets removed, split at quotes and commas.

    >>> parse_list("[Happy, 'at ease', ]")
    ('happy', 'at ease')
    """
    text = ",".join(map(str, written)) if not isinstance(written, str) else written.strip()
    inside = text.removeprefix("[").removesuffix("]")
    return tuple(item for item in (part.strip().lower() for part in re.split("['\",]", inside)) if item)


def _raise(problems: Sequence[Problem]) -> None:
    if problems:
        more = len(problems) - SHOWN
        raise InputError(problems[:SHOWN], f"... and {more} more." if more > 0 else "")
