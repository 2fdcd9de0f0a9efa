"""Run folders as training leaves them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_run(
    folder: Path,
    report: Mapping[str, Any],
    log: Iterable[Mapping[str, Any]] = (),
    examples: Iterable[Mapping[str, Any]] = (),
    predictions: Mapping[str, list[dict[str, Any]]] | None = None,
) -> Path:
    """Write the report of a run, its log, its examples and the predictions by the name of their file.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(report))
    write_lines(folder / "log.jsonl", log)
    write_lines(folder / "examples.jsonl", examples)
    for name, lines in (predictions or {}).items():
        (folder / "predictions").mkdir(exist_ok=True)
        head = {"fingerprint": "f", "rows": [line["id"] for line in lines]}
        write_lines(folder / "predictions" / f"{name}.jsonl", [head, *lines])
    return folder


def write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line."""
    lines = "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    path.write_text(lines, encoding="utf-8")
