"""The page of several models: its numbers, what it needs from outside, hostile texts, runs that cannot be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectgpt.clip import Clip
from affectgpt.problems import InputError
from eval.predict.answers import Prediction
from eval.report.command import main
from eval.report.scores import score
from eval.report.side_by_side import write_side_by_side
from tests.support.pages import Page
from tests.support.runs import write_run
from videmo.tree import parse_tree

HOSTILE = '<script>alert("x")</script> & <img src=http://evil.example/x.png> $\\frac'
EMOTIONS = ("joy", "fear", "masked <b>distress</b>")


def tree(emotion: str, mouth: str = "smiling") -> str:
    name = emotion.replace("<", "(").replace(">", ")")
    return f"a1 mouth: {mouth}\ne1 open smile <- a1\nm1 {name} <- e1"


def answers(accuracy: float, seed: int) -> list[dict[str, Any]]:
    """Predictions of a test split of 60 clips."""
    truth, rng = np.random.default_rng(0), np.random.default_rng(seed)
    lines: list[dict[str, Any]] = []
    for number in range(60):
        emotion, mouth = EMOTIONS[truth.integers(3)], str(truth.choice(["smiling", "open"]))
        right = rng.random() < accuracy
        said = tree(emotion if right else "joy", mouth if rng.random() < 0.8 else "shut")
        said = said if rng.random() < 0.9 else "HOSTILE " + HOSTILE
        lines.append({"id": f"c{number}/tree", "task": "tree", "response": said, "answer": tree(emotion, mouth)})
        shown = mouth if right else "shut"
        lines.append({"id": f"c{number}/a", "task": "attribute_closed", "response": shown, "answer": mouth})
    return [{**line, "status": "ok"} for line in lines]


def run_with_answers(folder: Path, lines: list[dict[str, Any]], title: str = HOSTILE) -> Path:
    stage = {"name": "emotion", "kind": "sft", "metrics": {"emotion_uar": {"value": 0.5}}}
    report = {"title": title, "seed": 3, "stages": [stage]}
    return write_run(folder, report, predictions={"emotion-test": lines})


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        run_with_answers(tmp_path / name, answers(share, seed))
        for seed, (name, share) in enumerate((("a", 0.9), ("b", 0.5)))
    ]


def test_the_page_needs_nothing_from_outside_and_shows_texts_as_written(runs: list[Path]) -> None:
    text = write_side_by_side(runs).read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "iframe", "link", "object", "embed", "img"} & set(page.tags)
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert not re.search(r"url\((?!#)|@import", text)
    assert HOSTILE in "".join(page.words)
    assert str(runs[0]) not in text
    assert len(text) < 1_000_000


def as_scored(folder: Path) -> dict[str, Any]:
    """The scores of a run as its own report has them."""
    lines = (folder / "predictions" / "emotion-test.jsonl").read_text().splitlines()[1:]
    predictions: list[Prediction] = [json.loads(line) for line in lines]
    clips = [
        Clip(id=p["id"], messages=[], task=p["task"], answer=p["answer"], group=p.get("group") or p["id"].split("/")[0])
        for p in predictions
    ]
    return dict(score(clips, predictions).metrics)


def test_scores_are_those_of_the_reports(runs: list[Path]) -> None:
    words = "\n".join(Page(write_side_by_side(runs).read_text(encoding="utf-8")).words)
    for metrics in map(as_scored, runs):
        for name in ("emotion_uar", "emotion_war", "tree_similarity", "attribute_accuracy", "parse_rate"):
            value, low, high = (f"{100 * metrics[name][part]:.1f}" for part in ("value", "low", "high"))
            assert f"{value}\n{low}–{high}" in words, name
    first, second = (as_scored(run)["emotion_war"]["value"] for run in runs)
    assert f"{100 * (second - first):+.1f}".replace("-", "−") in words
    assert re.search(r"p (?:< 0\.001|= 0\.0\d\d)", words)


def shown(folders: list[Path]) -> str:
    """The words of the page, one text a line."""
    words = Page(write_side_by_side(folders, resamples=200).read_text(encoding="utf-8")).words
    return "\n".join(word.strip() for word in words if word.strip())


def test_intervals_and_p_values_are_clustered_by_actor_where_answers_name_them(tmp_path: Path) -> None:
    # Six actors: one model is right about all clips of some of them, the other about those of fewer.
    folders = []
    for name, least in (("a", 2), ("b", 4)):
        lines = [line for line in answers(1.0, 1) if line["task"] == "attribute_closed"]
        actors = [int(line["id"][1:].partition("/")[0]) % 6 for line in lines]
        lines = [
            {**line, "group": f"actor {actor}", "response": line["answer"] if actor >= least else "shut"}
            for line, actor in zip(lines, actors, strict=True)
        ]
        folders.append(run_with_answers(tmp_path / name, lines))
    text = shown(folders)
    low, high = (int(end) for end in re.findall(r"66\.7\n(\d+)\.\d–(\d+)\.\d", text)[0])
    assert high - low > 50  # of 60 clips by themselves about 24
    assert "−33.3" in text
    assert re.search(r"p = 0\.[45]\d\d", text)  # two actors change sides: half of all exchanges are as far
    assert "whole speakers" in text


def test_a_difference_of_one_actor_is_shown_and_said_to_have_no_interval(tmp_path: Path) -> None:
    lines = [[{**line, "group": "Ann"} for line in answers(right, seed)] for right, seed in ((0.9, 1), (0.3, 2))]
    folders = [run_with_answers(tmp_path / f"run{number}", found) for number, found in enumerate(lines)]
    assert re.search(r"−\d+\.\d\s*no interval", shown(folders))


def test_who_is_right_where_is_counted(runs: list[Path]) -> None:
    pages = [[json.loads(line) for line in _lines(run) if '"tree"' in line] for run in runs]
    right = [[parse_tree(p["response"]).emotions == parse_tree(p["answer"]).emotions for p in page] for page in pages]
    pairs = list(zip(*right, strict=True))
    counts = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
    assert counts[1] != counts[2]
    assert "\n".join(f"{count}\n{100 * count / 60:.1f} %" for count in counts) in shown(runs)


def test_answers_are_those_of_the_last_scored_stage_beside_the_most_frequent_truth(tmp_path: Path) -> None:
    lines = [line for line in answers(0.9, 1) if line["task"] == "attribute_closed"]
    folders = [run_with_answers(tmp_path / name, lines) for name in "ab"]
    for folder in folders:
        report = json.loads((folder / "report.json").read_text())
        stage = report["stages"][0]
        before, after = {**stage, "name": "attributes"}, {"name": "later", "kind": "sft"}
        (folder / "report.json").write_text(json.dumps({**report, "stages": [before, stage, after]}))
    text = shown(folders)
    assert "after stage\nemotion" in text
    truth = [line["answer"] for line in lines]
    most = max(truth.count(answer) for answer in set(truth)) / len(truth)
    assert re.search(rf"Attributes\n[^\n]*\n{100 * most:.1f}\n", text)


def test_every_class_has_a_bar_and_its_number_of_clips(runs: list[Path]) -> None:
    words = Page(write_side_by_side(runs).read_text(encoding="utf-8")).words
    shown = {word.strip() for word in words}
    emotions = [json.loads(line)["answer"] for line in _lines(runs[0]) if '"tree"' in line]
    for name in EMOTIONS:
        plain = name.replace("<", "(").replace(">", ")")
        assert f"{plain} ({sum(f'm1 {plain} ' in answer for answer in emotions)})" in shown


def _lines(folder: Path) -> list[str]:
    return (folder / "predictions" / "emotion-test.jsonl").read_text().splitlines()[1:]


def test_same_files_same_bytes(runs: list[Path]) -> None:
    first = write_side_by_side(runs).read_bytes()
    assert write_side_by_side(runs).read_bytes() == first


def test_the_command_takes_one_run_or_several(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    third = run_with_answers(tmp_path / "deeper" / "b", answers(0.7, 5))
    assert main([*map(str, [*runs, third]), "--out", str(tmp_path / "pages" / "p.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(tmp_path / "pages" / "p.html")}
    words = Page((tmp_path / "pages" / "p.html").read_text(encoding="utf-8")).words
    assert any("deeper/b" in word for word in words)
    assert main([str(run) for run in runs]) == 0
    assert (runs[0] / "side_by_side.html").is_file()
    with pytest.raises(InputError, match="several runs"):
        main([str(runs[0]), "--out", "x.html"])


def test_runs_that_cannot_be_compared_are_explained(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="named twice"):
        write_side_by_side([runs[0], runs[0]])
    fewer = run_with_answers(tmp_path / "fewer", answers(0.9, 1)[:-2])
    with pytest.raises(InputError, match=r"a/predictions.*line 121: expected a clip that .*fewer.*'c59/a'"):
        write_side_by_side([runs[0], fewer])
    (runs[1] / "predictions" / "emotion-test.jsonl").unlink()
    with pytest.raises(InputError, match=r"b/predictions/emotion-test\.jsonl.*nothing there.*affectgpt train"):
        write_side_by_side(runs)


def test_without_trees_there_are_scores_and_no_emotions(tmp_path: Path) -> None:
    lines = [line for line in answers(0.9, 1) if line["task"] != "tree"]
    folders = [run_with_answers(tmp_path / name, lines) for name in "ab"]
    text = write_side_by_side(folders).read_text(encoding="utf-8")
    assert "Emotion by emotion" not in text
    assert "Attributes" in text
