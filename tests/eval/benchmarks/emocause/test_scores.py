"""EmoCause's lenient recall, by hand and through the command."""

from __future__ import annotations

import json

import pytest

from affectgpt.plugins.command import train_main
from affectgpt.problems import InputError
from eval.benchmarks.emocause.command import main
from eval.benchmarks.emocause.scores import cause_recall, read_emocause, recall_of
from tests.support.rows import WORDS, write_data


def test_recall_by_hand():
    assert recall_of(["Crashed", "car"], ["crash", "brother"]) == 0.5  # begins with a gold word
    assert recall_of(["classmate"], ["mate"]) == 1.0  # ends with one
    assert recall_of(["cra"], ["crash"]) == 0.0
    assert recall_of(["died", "died"], ["died"]) == 1.0
    assert recall_of(["died"], ["died", "died"]) == 0.5
    scores = cause_recall([["a", "b", "c"], ["x"]], [["c", "a"], ["y"]])
    assert [scores[name]["value"] for name in ("top1", "top3", "top5")] == [0.25, 0.5, 0.5]
    assert scores["top1"]["n"] == 2


def test_intervals_are_clustered_by_dialogue():
    found = cause_recall([["a"]] * 4 + [["b"]] * 4, [["a"]] * 8, ["one"] * 4 + ["other"] * 4)
    assert found["top1"] == {"value": 0.5, "low": 0.0, "high": 1.0, "n": 8, "groups": 2}


def test_the_command(tmp_path, capsys):
    folder = tmp_path / "cause"
    assert train_main(["cause", "--data", str(write_data(tmp_path / "data.jsonl")), "--out", str(folder)]) == 0
    entries = [
        {"original_situation": f"Then my friend {words[0]} today", "emotion": emotion, "annotation": [[words[0], 3]]}
        for emotion, words in WORDS.items()
    ]
    file = tmp_path / "emocause.json"
    file.write_text(json.dumps(entries))
    capsys.readouterr()
    assert main([str(file), "--plugin", str(folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["n"] == len(entries)
    assert printed["top1"]["value"] == 1.0
    assert set(printed) >= {"dataset", "mode", "n", "coverage", "primary", "secondary", "baselines"}
    assert (printed["dataset"], printed["coverage"], printed["primary"]["name"]) == ("emocause", 1.0, "top5")
    assert set(printed["secondary"]) == {"top1", "top3"}
    ((constant, scores),) = printed["baselines"].items()
    assert constant.startswith("always ")
    assert scores["top5"]["value"] == 1.0  # three words are marked in all
    assert scores["top1"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert main([str(file), "--plugin", str(folder)]) == 0
    assert "top1 1.000" in capsys.readouterr().out


def test_situations_of_a_conversation_count_as_one(tmp_path, capsys):
    folder, file = tmp_path / "cause", tmp_path / "emocause.json"
    assert train_main(["cause", "--data", str(write_data(tmp_path / "data.jsonl")), "--out", str(folder)]) == 0

    def top1(copies: int) -> dict[str, float]:
        entries = [
            {"original_situation": f"My friend {words[0]} today", "annotation": [gold], "conv_id": index}
            for index, (words, gold) in enumerate(zip(WORDS.values(), ("won", "dark", "friend"), strict=True))
        ]
        file.write_text(json.dumps([entry for entry in entries for _ in range(copies)]))
        capsys.readouterr()
        assert main([str(file), "--plugin", str(folder), "--json"]) == 0
        figures = json.loads(capsys.readouterr().out)["top1"]
        return {name: figures[name] for name in ("value", "low", "high")}

    once = top1(1)
    assert once == {"value": pytest.approx(2 / 3, abs=1e-6), "low": 0.0, "high": 1.0}
    assert top1(20) == once


def test_files_that_are_wrong(tmp_path):
    file = tmp_path / "emocause.json"
    file.write_text(json.dumps([{"original_situation": "I fell", "labels": ["fell"]}, {"labels": ["a"]}, 3]))
    with pytest.raises(InputError) as caught:
        read_emocause(file)
    assert [problem.where for problem in caught.value.problems] == ["entry 1", "entry 2"]
    file.write_text("{}")
    with pytest.raises(InputError, match="a JSON list of situations"):
        read_emocause(file)
    file.write_text("[")
    with pytest.raises(InputError, match="a JSON list"):
        read_emocause(file)
