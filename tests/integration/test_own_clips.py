"""The page on training with one's own clips, run as it stands: its table, its recipe, its commands."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.support.commands import ENV, ROOT
from tests.support.limits import PATIENCE_S
from tests.support.pages import Page

PAGE = (ROOT / "docs" / "train_own_clips.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SPEAKERS = ("ann", "bo", "cy", "di", "eve", "fay")
EMOTIONS = {
    "anger": (300, "Leave me alone!"),
    "joy": (220, "You are here at last."),
    "sadness": (120, "Nobody called."),
}


def block(name: str) -> str:
    """Return the block of the page that shows the file `name`."""
    (text,) = [text for _, title, text in BLOCKS if title == name]
    return text


def write_clips(folder: Path) -> None:
    """Write a table like that of the page, and a tone for each line, whose pitch tells the emotion."""
    header = block("clips.csv").splitlines()[0]
    times = np.arange(8000) / 16_000
    lines = [header]
    (folder / "clips").mkdir()
    for place, speaker in enumerate(SPEAKERS):
        for number, (emotion, (hz, words)) in enumerate(EMOTIONS.items(), start=1):
            name = f"clips/{speaker}-{number}.wav"
            samples = (8000 * np.sin(2 * np.pi * (hz + 5 * place) * times)).astype("<i2")
            with wave.open(str(folder / name), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(16_000)
                file.writeframes(samples.tobytes())
            lines.append(f"{name},{emotion},{speaker},{words}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Folder in which every command of the page was run in turn, and what they printed."""
    folder = tmp_path_factory.mktemp("own")
    write_clips(folder)
    (folder / "recipe.yaml").write_text(block("recipe.yaml"), encoding="utf-8")
    (folder / "bin").mkdir()
    command = folder / "bin" / "affectgpt"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m affectgpt "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    script = "set -e\n" + "".join(text for language, _, text in BLOCKS if language == "sh")
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env={**ENV, "PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_the_table_of_the_page_is_one_that_the_command_reads() -> None:
    rows = list(csv.DictReader(io.StringIO(block("clips.csv"))))
    assert rows
    assert all(None not in row and None not in row.values() for row in rows)
    assert {row["emotion"] for row in rows} <= {*EMOTIONS}


def test_the_recipe_of_the_page_is_short() -> None:
    assert len(block("recipe.yaml").splitlines()) <= 17
    assert yaml.safe_load(block("recipe.yaml"))["stages"][0]["mixture"] == {"emotion_label": 1.0}


@pytest.mark.slow
def test_speakers_are_divided_and_all_rows_offer_the_same_emotions(followed: tuple[Path, str]) -> None:
    folder, _ = followed
    parts = {
        part: [json.loads(line) for line in (folder / f"rows-{part}.jsonl").read_text().splitlines()]
        for part in ("train", "test")
    }
    speakers = {part: {row["group"] for row in rows} for part, rows in parts.items()}
    assert speakers["train"] | speakers["test"] == {*SPEAKERS}
    assert (len(speakers["train"]), len(speakers["test"])) == (4, 2)
    assert {tuple(row["options"]) for rows in parts.values() for row in rows} == {tuple(sorted(EMOTIONS))}


@pytest.mark.slow
def test_the_report_shows_what_the_page_promises(followed: tuple[Path, str]) -> None:
    folder, _ = followed
    report = json.loads((folder / "runs" / "mine" / "report.json").read_text())
    assert report["data"]["train"]["clips"] == 12
    assert report["data"]["test"] | {"labels": 0} == {
        **{"clips": 6, "rows": 6, "actors": 2, "carries": {"audio": 6, "text": 6}, "labels": 0},
        "actors_in_training": 0,
    }
    (stage,) = report["stages"]
    assert sum(map(sum, stage["confusion"]["counts"])) == 6
    assert {*stage["tasks"]["emotion_label"]["classes"]} >= {*EMOTIONS}
    words = "".join(Page((folder / "runs" / "mine" / "report.html").read_text(encoding="utf-8")).words)
    for promised in ("What the figures say", "Emotion label: UAR", "By speaker", "Answers, the worst first"):
        assert promised in words
    assert "hears the voice, and is given nothing else" in " ".join(words.split())
    assert "Few speakers: the test clips are of 2 people" in " ".join(words.split())


@pytest.mark.slow
def test_answers_scored_again_have_the_scores_of_the_report(followed: tuple[Path, str]) -> None:
    folder, printed = followed
    report = json.loads((folder / "runs" / "mine" / "report.json").read_text())
    metrics = report["stages"][0]["metrics"]
    scored = dict(re.findall(r"^  (uar|war) +([\d.]+)", printed, re.MULTILINE))
    assert float(scored["uar"]) == pytest.approx(metrics["emotion_label_uar"]["value"], abs=1e-4)
    assert float(scored["war"]) == pytest.approx(metrics["emotion_label_accuracy"]["value"], abs=1e-4)


@pytest.mark.slow
def test_evidence_of_a_plugin_is_on_the_rows_and_both_models_stand_side_by_side(followed: tuple[Path, str]) -> None:
    folder, _ = followed
    for part in ("train", "test"):
        rows = [json.loads(line) for line in (folder / f"{part}-evidence.jsonl").read_text().splitlines()]
        assert all("emotion" in row["evidence"] for row in rows)
    assert (folder / "runs" / "mine" / "side_by_side.html").is_file()
