"""Predictions that a run keeps are read back whole, whatever ends of lines their texts hold."""

from __future__ import annotations

import json
from pathlib import Path

from train.run_folder import RunFolder
from train.stages.scores import read_predictions


def test_texts_may_hold_other_ends_of_lines(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    path = folder.predictions("one", "test")
    path.parent.mkdir(parents=True)
    answers = [{"id": str(n), "response": f"a{sign}b"} for n, sign in enumerate("\u2028\u2029\x85\x1c\n\r")]
    lines = [json.dumps(line, ensure_ascii=False) for line in ({"fingerprint": "x"}, *answers)]
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
    assert read_predictions(folder, "one", "test") == answers
