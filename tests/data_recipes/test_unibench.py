"""MER-UniBench's own files: converted once to plain text, pickles only where they are trusted."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from affectgpt.problems import InputError
from data_recipes.unibench.command import main


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="") as file:
        return list(csv.reader(file))


def save(path: Path, **arrays: object) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def label_file(tmp_path: Path) -> Path:
    train, test = {"t1": {"emo": "sad", "val": ""}}, {"a": {"emo": "happy", "val": 0.4}, "b": {"emo": "worried"}}
    return save(tmp_path / "label.npz", train_corpus=train, test1_corpus=test)


def test_labels_are_the_test_set(label_file, tmp_path):
    out = tmp_path / "new" / "labels.csv"
    assert main([str(label_file), "--out", str(out), "--trust-pickle"]) == 0
    assert read_csv(out) == [["name", "label"], ["a", "happy"], ["b", "worried"]]


def test_another_corpus_and_a_part_of_it(label_file, tmp_path, capsys):
    corpus = {"Ses01_1": {"val": 0.5}, "Ses05_1": {"val": -1.0}, "Ses05_2": {"val": np.float64(0.0)}}
    save(label_file, whole_corpus=corpus, extra={"x": {"emo": "sad"}})
    out = tmp_path / "labels.csv"
    assert main([str(label_file), "--out", str(out), "--trust-pickle", "--start", "Ses05", "--json"]) == 0
    assert read_csv(out)[1:] == [["Ses05_1", "-1.0"], ["Ses05_2", "0.0"]]
    assert json.loads(capsys.readouterr().out) == {"clips": 2, "out": str(out)}
    main([str(label_file), "--out", str(out), "--trust-pickle", "--corpus", "extra"])
    assert read_csv(out)[1:] == [["x", "sad"]]


def test_pickles_are_not_read_unless_trusted(label_file, tmp_path):
    class Marker:
        def __reduce__(self):
            return Path.touch, (tmp_path / "was run",)

    save(label_file, test1_corpus=np.array(Marker(), dtype=object))
    with pytest.raises(InputError, match="--trust-pickle"):
        main([str(label_file), "--out", str(tmp_path / "labels.csv")])
    assert not (tmp_path / "was run").exists()
    assert not (tmp_path / "labels.csv").exists()


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"test1_corpus": {"a": {"emo": ""}}}, "clip 'a'"),
        ({"test1_corpus": {"a": {"val": float("nan")}}}, "clip 'a'"),
        ({"test1_corpus": {}}, "none"),
        ({"train_corpus": {"a": {"emo": "sad"}}}, "the arrays train_corpus"),
        ({"test1_corpus": [1, 2]}, "a dict by clip"),
    ],
)
def test_labels_that_are_none_are_named(tmp_path, arrays, told):
    path = save(tmp_path / "label.npz", **arrays)
    with pytest.raises(InputError, match=told):
        main([str(path), "--out", str(tmp_path / "labels.csv"), "--trust-pickle"])


def test_labels_of_an_open_set_come_from_csv(tmp_path):
    (tmp_path / "ovlabel.csv").write_text('name,openset\na,"[sad, at ease]"\n')
    assert main([str(tmp_path / "ovlabel.csv"), "--out", str(tmp_path / "labels.csv")]) == 0
    assert read_csv(tmp_path / "labels.csv") == [["name", "label"], ["a", "[sad, at ease]"]]


def test_results_bring_along_what_lies_beside_them(tmp_path):
    save(tmp_path / "x.npz", name2reason={"a": "She is happy.", "b": "He's sad."})
    save(tmp_path / "x-openset.npz", filenames=np.array(["b", "a"]), fileitems=np.array(["[sad]", "[happy]"]))
    save(tmp_path / "x-openset-sentiment.npz", filenames=["a", "b"], fileitems=["positive", "negative"])
    out = tmp_path / "predictions_50.jsonl"
    assert main([str(tmp_path / "x.npz"), "--out", str(out), "--trust-pickle"]) == 0
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"name": "a", "response": "She is happy.", "openset": "[happy]", "sentiment": "positive"},
        {"name": "b", "response": "He's sad.", "openset": "[sad]", "sentiment": "negative"},
    ]


def test_arrays_of_text_need_no_trust(tmp_path):
    path = save(tmp_path / "x.npz", filenames=["a"], fileitems=["happy"])
    assert main([str(path), "--out", str(tmp_path / "p.jsonl")]) == 0
    assert json.loads((tmp_path / "p.jsonl").read_text()) == {"name": "a", "response": "happy"}


def test_results_that_do_not_fit_are_explained(tmp_path):
    path, out = tmp_path / "x.npz", str(tmp_path / "p.jsonl")
    with pytest.raises(InputError, match=r"x\.npz"):
        main([str(path), "--out", out])
    path.write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"an \.npz archive"):
        main([str(path), "--out", out])
    save(path, filenames=["a", "b"], fileitems=["happy"])
    with pytest.raises(InputError, match="2 items"):
        main([str(path), "--out", out])
    save(path, other=[1])
    with pytest.raises(InputError, match="filenames and fileitems, got other"):
        main([str(path), "--out", out])
    save(path, filenames=["a"], fileitems=["happy"])
    save(tmp_path / "x-openset.npz", filenames=["b"], fileitems=["[sad]"])
    with pytest.raises(InputError, match="in one alone"):
        main([str(path), "--out", out])
    with pytest.raises(InputError, match=r"\.csv for labels"):
        main([str(path), "--out", str(tmp_path / "p.txt")])
