"""Label and prediction files of MER-UniBench: their contents, checked and matched by clip name.

Labels are a CSV `name,label`: an emotion word of the data set, a valence, or a list of emotion words. Predictions are
JSONL with `name` (or `id`) and `response`, or as `eval.answers.fields` knows it. If a row has `openset`, emotion words
extracted from the response, or `sentiment`, these count; otherwise they are extracted here.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from affectgpt.emotions.extract import Extractor
from affectgpt.emotions.sentiment import read_sentiment, sentiment_of
from affectgpt.emotions.taxonomy import find
from affectgpt.emotions.wheels import EmotionWheels, WheelTableError, read_wheels
from affectgpt.problems import InputError, Problem, require_file, shorten
from eval.answers.fields import GOLD, LABELS, RESPONSES, Record, fields_of, name_of
from eval.answers.labelled_file import Entry, read_entries, read_records, refuse, require_same_names
from eval.benchmarks.unibench.sets import Answer, Answers, Benchmark, Gold, Mode

_SAMPLE = 400
"""Characters of an answer by which its script is told."""
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
    foreign: int
    """Number of answers without a word of the wheel that are written in another script than English."""


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


def read_labels(path: Path, benchmark: Benchmark, field: str | None = None, mode: Mode = "clean") -> Labels:
    """Read the labels of a data set.

    Args:
        path: CSV `name,label`, or JSONL.
        benchmark: data set.
        field: field of the labels; None to tell it by its name.
        mode: mode of the scores; the published one splits lists at ASCII commas alone.

    Raises:
        InputError: no such file, repeated names, labels outside the set, valences that are not numbers.
    """
    lists = ("openset",) if benchmark.task == "open" else ()
    role = replace(GOLD, fields=lists, fallback=LABELS) if lists else replace(GOLD, fields=LABELS)
    entries = read_entries(path, role.named(field))
    gold: dict[str, Gold] = {}
    problems: list[Problem] = []
    for name, entry in entries.items():
        value = _gold(entry, benchmark, mode)
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
    refuse(problems)
    return Labels(path, gold, {name: entry.line for name, entry in entries.items()})


def _gold(entry: Entry, benchmark: Benchmark, mode: Mode) -> Gold | None:
    if benchmark.task == "open":
        return parse_list(entry.value, mode) if isinstance(entry.value, str | list) else None
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
    field: str | None = None,
    mode: Mode = "clean",
) -> Predictions:
    """Read the answers of a checkpoint and match them with the labels.

    Args:
        extractor: reads all responses without `openset` in one call.
        reread: whether it also reads others: those whose `openset` is empty, or all of them.
        allow_missing: accept clips without an answer, and answers without a clip.
        field: field of the responses; None to tell it by its name.
        mode: as in `read_labels`.

    Raises:
        InputError: no such file, unreadable rows, repeated names, or, unless allowed, names that only one of answers
            and labels has.
    """
    rows = _rows(path, field)
    if not allow_missing:
        fix = "Predict the missing clips, remove the extra predictions, or pass --allow-missing to score the rest."
        lines = {name: number for name, (number, _) in rows.items()}
        require_same_names(labels.path, labels.lines, path, lines, fix)
    wanted = {name: row for name, (_, row) in rows.items() if name in labels.gold}
    if reread == "all":
        wanted = {name: {"response": row.get("response")} for name, row in wanted.items()}
    words = {name: parse_list(row.get("openset") or "", mode) for name, row in wanted.items()}
    texts = {
        name: row["response"]
        for name, row in wanted.items()
        if row.get("response") and not (words[name] or _is_read(row, benchmark, reread))
    }
    extracted = extractor.extract(list(texts.values()))
    words |= {name: tuple(labels or ()) for name, labels in zip(texts, extracted, strict=True)}
    answers = {name: _answer(row, words[name], benchmark) for name, row in wanted.items()}
    foreign = sum(_is_foreign(row, words[name]) for name, row in wanted.items())
    return Predictions([answers.get(name) for name in labels.gold], len(texts), len(rows) - len(wanted), foreign)


def _is_foreign(row: Mapping[str, Any], words: Sequence[str]) -> bool:
    """Tell whether an answer without a word of the wheel is mostly written in letters that are not Latin."""
    text = " ".join(words) or row.get("response") or row.get("sentiment") or ""
    if text.isascii():
        return False
    letters = [character for character in text[:_SAMPLE] if character.isalpha()]
    if 2 * sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters) >= len(letters):
        return False
    return not (any(map(find, words)) or (row.get("sentiment") and read_sentiment(row["sentiment"])))


def _rows(path: Path, field: str | None) -> dict[str, tuple[int, Record]]:
    """Read the rows of predictions by name, with their lines; each with its `response`, however its file calls it."""
    path = require_file(path, "predictions", "One JSON object a line, with name and response.")
    rows: dict[str, tuple[int, Record]] = {}
    lines, problems = read_records(path)
    fields = fields_of(path, lines, RESPONSES.named(field))
    for number, given in lines:
        response = next((item for item in fields if item in given), None)
        row = given if response is None else {**given, "response": given[response]}
        where = f"line {number}"
        name = name_of(row)
        wrong = [field for field, types in _TYPES.items() if not isinstance(row.get(field), (*types, type(None)))]
        if name is None:
            problems.append(Problem(str(path), where, "the field 'name'", shorten(", ".join(map(str, row)))))
        elif not row.keys() & _TYPES.keys():
            expected = "one of the fields 'response', 'openset', 'sentiment'"
            fix = f"Name the field of the responses with {RESPONSES.option}."
            problems.append(Problem(str(path), where, expected, shorten(", ".join(map(str, row))), fix))
        elif wrong:
            problems.append(Problem(str(path), f"{where}, {wrong[0]}", "text or null", shorten(row[wrong[0]])))
        elif name in rows:
            fix = "Remove one of the two: the official scorer silently takes the last."
            got = f"{name!r}, also in line {rows[name][0]}"
            problems.append(Problem(str(path), where, "a name used once", got, fix))
        else:
            rows[name] = number, row
    refuse(problems)
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


def parse_list(written: str | Sequence[object], mode: Mode = "official") -> tuple[str, ...]:
    """Split a list such as `[happy, 'at ease']`: one pair of brackets removed, split at quotes and commas.

    >>> parse_list("[Happy, 'at ease', ]"), parse_list("[happy，excited]", "clean")
    (('happy', 'at ease'), ('happy', 'excited'))
    """
    text = ",".join(map(str, written)) if not isinstance(written, str) else written.strip()
    inside = text.removeprefix("[").removesuffix("]")
    between = "['\",]" if mode == "official" else "['\"“”,;，、；]"
    return tuple(item for item in (part.strip().lower() for part in re.split(between, inside)) if item)
