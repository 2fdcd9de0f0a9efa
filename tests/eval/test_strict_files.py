"""Labels and predictions of the evaluators: what would change a score without a word is refused, or read as meant."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from affectgpt.problems import InputError
from eval.benchmarks.recognition.command import main as recognition
from eval.benchmarks.unibench.command import main as unibench

LABELS = ["happy", "angry", "sad", "neutral", "worried", "surprise"]
Score = Callable[..., float]


@pytest.fixture
def score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Score:
    """Score predictions that are the labels themselves against a label file, and return the primary metric."""

    def call(labels: str | bytes, predictions: bytes | None = None, suffix: str = ".csv") -> float:
        gold, said = tmp_path / f"labels{suffix}", tmp_path / "said.jsonl"
        gold.write_bytes(labels.encode() if isinstance(labels, str) else labels)
        lines = [json.dumps({"name": f"s{n}", "response": label}) for n, label in enumerate(LABELS)]
        said.write_bytes("\n".join(lines).encode() if predictions is None else predictions)
        command = ["--dataset", "mer2023", "--labels", str(gold), "--predictions", str(said), "--json"]
        assert unibench(command) == 0
        return float(json.loads(capsys.readouterr().out)["primary"]["value"])

    return call


def table(
    labels: list[str] | tuple[str, ...] = tuple(LABELS), between: str = ",", end: str = "\n", head: str = "name,label"
) -> str:
    rows = [head.replace(",", between), *(f"s{n}{between}{label}" for n, label in enumerate(labels))]
    return end.join(rows) + end


def test_label_files_as_programs_write_them(score: Score) -> None:
    for text in (
        table(),
        "\ufeff" + table(end="\r\n"),
        table() + "\n\n",
        ",name,label\n" + "".join(f"{n},s{n},{label}\n" for n, label in enumerate(LABELS)),
    ):
        assert score(text) == 1.0
    assert score(table(between="\t"), suffix=".tsv") == 1.0


BAD = {
    "open quotation mark": (table().replace("angry", '"angry'), "line 3: expected a cell in quotation marks that ends"),
    "swallowed rows": (
        table().replace("angry", '"angry').replace("neutral", 'neutral"'),
        "lines 3 to 5: expected one row, got a quoted cell that holds what looks like whole rows",
    ),
    "a column twice": (
        "name,label,label\n" + "".join(f"s{n},{label},sad\n" for n, label in enumerate(LABELS)),
        "the header: expected a name used once, got 'label' in columns 2 and 3",
    ),
    "semicolons": (table(between=";"), "seem to be separated by ';'"),
    "tabs": (table(between="\t"), "Call the file .tsv."),
    "more cells": (table().replace("angry", "angry,sad"), "line 3: expected 2 cells, got more"),
    "cp1252": (table().replace("angry", "\u2019angry").encode("cp1252"), "line 3, byte 4: expected a CSV in UTF-8"),
    "utf-16": (table().encode("utf-16"), "line 1, byte 1: expected a CSV in UTF-8, got UTF-16"),
    "gbk": (table().replace("angry", "生气").encode("gbk"), "It may be in GB18030"),
}


@pytest.mark.parametrize("name", BAD)
def test_label_files_that_would_be_misread(score: Score, name: str) -> None:
    labels, words = BAD[name]
    with pytest.raises(InputError) as caught:
        score(labels)
    assert words in str(caught.value)


def lines(**changes: Any) -> list[str]:
    return [json.dumps({"name": f"s{n}", "response": label, **changes}) for n, label in enumerate(LABELS)]


def test_predictions_with_a_byte_order_mark_and_other_ends_of_lines(score: Score) -> None:
    text = "\r\n".join(lines(note="a\u2028b\x85c")).replace("\\u2028", "\u2028").replace("\\u0085", "\x85")
    assert "\u2028" in text
    assert score(table(), b"\xef\xbb\xbf" + text.encode()) == 1.0


def test_a_response_that_ends_inside_a_character_is_scored(score: Score) -> None:
    text = "\n".join(line.replace('happy"', 'happy \\ud83d"') for line in lines())
    assert score(table(), text.encode()) == 1.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"[{', '.join(lines())}]", "expected one JSON object a line, got a JSON array. Write each object"),
        ("[\n" + ",\n".join(lines()) + "\n]", "expected one JSON object a line, got a JSON array. Write each object"),
        ("\n".join(lines()).replace('{"name": "s2"', '{"name": "s1", "name": "s2"'), "row 3: expected one JSON object"),
    ],
)
def test_predictions_that_would_be_misread(score: Score, text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        score(table(), text.encode())
    assert len(caught.value.problems) == 1
    assert words in str(caught.value)


def test_recognition_reads_the_same_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gold, said = tmp_path / "gold.tsv", tmp_path / "said.jsonl"
    gold.write_text("\ufeff" + table(between="\t"), encoding="utf-8")
    said.write_text("\ufeff" + "\r\n".join(lines()), encoding="utf-8")
    command = ["--truth", str(gold), "--predictions", str(said), "--json"]
    assert recognition(command) == 0
    assert json.loads(capsys.readouterr().out)["primary"]["value"] == 1.0
    gold.write_text(table(between="\t").replace("sad", '"sad'), encoding="utf-8")
    with pytest.raises(InputError, match="line 4: expected a cell in quotation marks"):
        recognition(command)


@pytest.mark.parametrize(
    ("folder", "name", "words"),
    [
        ("uni", "dup.csv", "expected a name used once, got 'label' in columns 2 and 3"),
        ("uni", "q_truth.csv", "line 2: expected a cell in quotation marks"),
        ("uni", "cp.csv", "line 3, byte 4: expected a CSV in UTF-8, got the byte 0x92"),
        ("uni", "semi.csv", "seem to be separated by ';'"),
    ],
)
def test_reported_labels(folder: str, name: str, words: str, tmp_path: Path) -> None:
    if "SHARED_DATA" not in os.environ:
        pytest.skip("needs the shared data")
    said = tmp_path / "said.jsonl"
    said.write_text("\n".join(lines()))
    path = Path(os.environ["SHARED_DATA"], "reported", folder, name)
    with pytest.raises(InputError) as caught:
        unibench(["--dataset", "mer2023", "--labels", str(path), "--predictions", str(said)])
    assert words in str(caught.value)
