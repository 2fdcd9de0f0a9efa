"""Converts MER-UniBench's own files to the CSV and JSONL that `affectgpt eval unibench` reads.

Labels are a CSV (`name` and `label` or `openset`) or an `.npz` of dicts (`test1_corpus`, `test_corpus`, `whole_corpus`:
name -> {"emo": ...} or {"val": ...}). The answers of a checkpoint are `X.npz` (`name2reason`, a dict, or the arrays
`filenames` and `fileitems`); `X-openset.npz` and `X-openset-sentiment.npz` beside it, if any, hold such arrays too.
Dicts and lists in `.npz` are pickles, which can run any code when they are read: hence `trust_pickle`.
"""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.problems import InputError, Problem, require_file, shorten
from affectgpt.tables import read_table

CORPORA = ("test1_corpus", "test_corpus", "whole_corpus")
"""Arrays of a label file that may hold the test set; the first that exists counts."""
BESIDE = {"openset": ("-openset",), "sentiment": ("-openset-sentiment", "-sentiment")}
"""Field of a prediction -> suffixes of the file beside the answers that holds it."""
_FIELDS = ("emo", "val", "label", "openset")


def read_labels(path: Path, trust_pickle: bool = False, corpus: str | None = None, start: str = "") -> dict[str, str]:
    """Read the labels of a file by clip.

    Args:
        trust_pickle: read object arrays of `.npz`.
        corpus: array that holds the test set; by default the first of CORPORA that exists.
        start: prefix of the clips to keep (IEMOCAP's test set is `Ses05` of its `whole_corpus`).

    Raises:
        InputError: no such file, pickles that are not trusted, a clip without a label.
    """
    path = require_file(path, "labels", "A CSV with name and label or openset, or the benchmark's label .npz.")
    if path.suffix == ".npz":
        arrays = _load(path, trust_pickle)
        name = corpus or next((name for name in CORPORA if name in arrays), CORPORA[0])
        values = _dict(path, arrays, name)
    else:
        rows, problems = read_table(path, ["name"])
        values = {}
        for line, cells in rows:
            if cells["name"] in values:
                problems.append(Problem(str(path), f"line {line}, column 'name'", "a name used once", cells["name"]))
            values[cells["name"]] = cells
        if problems:
            raise InputError(problems)
    labels = {str(clip): _label(value) for clip, value in values.items() if str(clip).startswith(start)}
    wrong = [clip for clip, label in labels.items() if label is None or not clip]
    if wrong or not labels:
        got = shorten(values[wrong[0]]) if wrong else "none" + (f" that begin with {start!r}" if start else "")
        where = f"clip {wrong[0]!r}" if wrong else "the clips"
        raise InputError(Problem(str(path), where, f"a name and one of {', '.join(_FIELDS)}", got))
    return {clip: label for clip, label in labels.items() if label is not None}


def _label(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = next((value[field] for field in _FIELDS if value.get(field) not in (None, "")), None)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list | tuple | np.ndarray):
        return f"[{', '.join(map(str, value))}]"
    return None if value is None else str(value)


def read_predictions(path: Path, trust_pickle: bool = False) -> list[dict[str, str]]:
    """Read the answers of a checkpoint, with the emotion words and sentiments in the files beside it.

    Raises:
        InputError: no such file, pickles that are not trusted, missing arrays, files of different clips.
    """
    path = require_file(path, "answers of a checkpoint", "The benchmark's result .npz, with name2reason or fileitems.")
    columns = {"response": _answers(path, _load(path, trust_pickle))}
    for field, endings in BESIDE.items():
        files = [path.with_name(f"{path.stem}{ending}.npz") for ending in endings]
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            columns[field] = _answers(file, _load(file, trust_pickle))
            apart = columns[field].keys() ^ columns["response"].keys()
            if apart:
                raise InputError(
                    Problem(str(file), "its clips", f"those of {path.name}", f"{min(apart)!r} in one alone")
                )
    return [
        {"name": name, **{field: column[name] for field, column in columns.items()}} for name in columns["response"]
    ]


def _answers(path: Path, arrays: Mapping[str, Any]) -> dict[str, str]:
    if "name2reason" in arrays:
        return {str(name): _text(item) for name, item in _dict(path, arrays, "name2reason").items()}
    if not {"filenames", "fileitems"} <= arrays.keys():
        expected = "the array name2reason, or filenames and fileitems"
        raise InputError(Problem(str(path), "its arrays", expected, ", ".join(arrays) or "none"))
    names, items = list(arrays["filenames"]), list(arrays["fileitems"])
    if len(names) != len(items):
        raise InputError(Problem(str(path), "fileitems", f"{len(names)} items, as filenames", str(len(items))))
    return {str(name): _text(item) for name, item in zip(names, items, strict=True)}


def _text(item: object) -> str:
    return f"[{', '.join(map(str, item))}]" if isinstance(item, list | tuple | np.ndarray) else str(item)


def _dict(path: Path, arrays: Mapping[str, Any], name: str) -> dict[Any, Any]:
    value = arrays[name].tolist() if name in arrays else None
    if not isinstance(value, dict):
        got = type(value).__name__ if name in arrays else f"the arrays {', '.join(arrays) or 'none'}"
        raise InputError(Problem(str(path), f"array {name}", "a dict by clip", got))
    return value


def _load(path: Path, trust_pickle: bool) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):
        raise InputError(Problem(str(path), "the file", "an .npz archive", "something else"))
    with np.load(path, allow_pickle=trust_pickle) as archive:
        arrays = {}
        for name in archive.files:
            try:
                arrays[name] = archive[name]
            except ValueError as error:
                if trust_pickle or "pickle" not in str(error):
                    raise InputError(Problem(str(path), f"array {name}", "an array", str(error))) from None
                fix = (
                    "It can run any code when it is read. If you trust the source of the file, pass --trust-pickle; "
                    "the converted files hold no pickle."
                )
                raise InputError(Problem(str(path), f"array {name}", "plain text", "a pickle", fix)) from None
    return arrays


def write_labels(labels: Mapping[str, str], path: Path) -> None:
    """Write labels as the CSV `name,label`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["name", "label"])
        writer.writerows(labels.items())


def write_predictions(rows: list[dict[str, str]], path: Path) -> None:
    """Write predictions as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
