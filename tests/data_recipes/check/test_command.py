"""`affectgpt data check` on the media of rows: pictures and signals as well as clips."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_recipes.check.command import main


def test_every_medium_is_decoded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "good.png")
    (tmp_path / "paper.png").write_bytes(b"%PDF-1.7\n")
    np.save(tmp_path / "good.npy", np.zeros((2, 9)))
    np.save(tmp_path / "bad.npy", np.full((2, 9), np.nan))
    beside = {"signal_rate": 3, "signal_channels": ["Fp1", "Fp2"]}
    media = [
        {"image": "good.png"},
        {"image": "paper.png"},
        {"signal": "good.npy", **beside},
        {"signal": "bad.npy", **beside},
        {"signal": "bad.npy", **beside},
        {"signal": "good.npy", **beside, "start": 3.5},
    ]
    lines = [json.dumps({"id": str(number), "task": "clip", **of_it}) for number, of_it in enumerate(media)]
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(lines))
    assert main([str(rows), "--json", "--workers", "1"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == 6
    wheres = {item["where"]: item["got"] for item in found["problems"]}
    assert list(wheres) == ["row 2 (1)", "row 4 (3)", "row 6 (5)"]
    assert "paper.png: no picture that can be read" in wheres["row 2 (1)"]
    assert "bad.npy: samples that are NaN or infinite, in Fp1, Fp2" in wheres["row 4 (3)"]
    assert "good.npy: no sample in the part" in wheres["row 6 (5)"]
    rows.write_text("\n".join(lines[:1] + lines[2:3]))
    assert main([str(rows), "--workers", "1"]) == 0
