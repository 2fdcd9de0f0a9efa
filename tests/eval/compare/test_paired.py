"""Two models on the same clips: paired differences, and files that are not of the same clips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from affectgpt.problems import InputError
from eval.compare.command import main
from eval.compare.paired import paired_scores

TASK = "DFEW_Single-Label-Emotion-Recognition"
ASKED = "What is felt? A. happy B. sad C. angry"


def write(path: Path, rows: list[Any]) -> Path:
    """A CSV of the rows' texts, or JSONL of objects."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def labelled(path: Path, labels: Any) -> Path:
    return write(path, ["name,label", *(f"c{number},{label}" for number, label in enumerate(labels))])


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json", "--resamples", "200"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert set(found) == {"a", "b", "metrics", "unreadable", "notes"}
    metrics: dict[str, Any] = found["metrics"]
    return metrics


def test_labels_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(["joy", "fear", "calm"], 200, p=[0.6, 0.3, 0.1])
    first = np.where(rng.random(200) < 0.5, truth, "joy")
    second = np.where(rng.random(200) < 0.4, truth, first)
    files = [labelled(tmp_path / f"{name}.csv", of) for name, of in zip("abt", (first, second, truth), strict=True)]
    found = run(capsys, files[0], files[1], "--labels", files[2])
    for name, metric in (("war", accuracy_score), ("uar", balanced_accuracy_score)):
        assert found[name]["a"] == pytest.approx(metric(truth, first), abs=1e-6)
        assert found[name]["b"] == pytest.approx(metric(truth, second), abs=1e-6)
        apart = found[name]["difference"]
        assert apart["value"] == pytest.approx(metric(truth, second) - metric(truth, first), abs=1e-6)
        assert 0 < apart["low"] < apart["value"] < apart["high"]
        assert apart["p"] < 0.01
        assert apart["n"] == 200
    assert run(capsys, files[0], files[1], "--labels", files[2]) == found  # same seed, same figures
    assert main([*map(str, files[:2]), "--labels", str(files[2])]) == 0
    assert "uar" in capsys.readouterr().out


def intervals(found: dict[str, Any]) -> dict[str, Any]:
    """Score to low end, high end and p value of its difference."""
    return {name: [one["difference"][part] for part in ("low", "high", "p")] for name, one in found.items()}


def test_clips_of_a_speaker_who_are_answered_alike_count_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(folder: str, clips: int, grouped: bool) -> dict[str, Any]:
        names = [(speaker, f"s{speaker}c{number}") for speaker in range(8) for number in range(clips)]
        (tmp_path / folder).mkdir()
        paths = [tmp_path / folder / f"{name}.csv" for name in "abt"]
        write(paths[0], ["name,label", *(f"{name},fear" for _, name in names)])
        write(paths[1], ["name,label", *(f"{name},{'joy' if speaker % 3 else 'fear'}" for speaker, name in names)])
        heads = "name,label,group" if grouped else "name,label"
        truth = ["fear" if speaker == 0 else "joy" for speaker, _ in names]
        groups = [f",{speaker}" if grouped else "" for speaker, _ in names]
        write(paths[2], [heads, *(f"{n},{t}{g}" for (_, n), t, g in zip(names, truth, groups, strict=True))])
        return intervals(run(capsys, paths[0], paths[1], "--labels", paths[2]))

    one, many = compared("one", 1, False), compared("many", 10, True)
    assert many == one
    low, high, _ = many["war"]
    assert high - low > 2 * np.subtract(*compared("naive", 10, False)["war"][1::-1])


def test_a_model_does_not_differ_from_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, said = labelled(tmp_path / "t.csv", [0.5, 1, -1, 2]), labelled(tmp_path / "p.csv", [0, 1, -0.5, 1])
    for compared in run(capsys, said, said, "--labels", truth).values():
        assert compared["difference"] == {"value": 0, "low": 0, "high": 0, "p": 1, "n": 4, "least_p": 0.125}


def row(number: int, response: str, truth: str = "A") -> dict[str, Any]:
    messages = [{"role": "user", "content": ASKED}]
    return {"response": response, "labels": truth, "messages": messages, "videos": [f"{number}.mp4"]}


def test_results_of_faces_are_paired_by_clip_whatever_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = write(tmp_path / "a" / f"{TASK}.jsonl", [row(number, "A" if number < 5 else "B") for number in range(20)])
    second = write(tmp_path / "b" / f"{TASK}.jsonl", [row(n, "A" if n < 15 else "B") for n in reversed(range(20))])
    found = run(capsys, first, second)[f"{TASK}/accuracy"]
    assert (found["a"], found["b"], found["difference"]["value"]) == (0.25, 0.75, 0.5)
    before, after = paired_scores([first], [second])[TASK]
    assert [one.key for one in before.rows] == [one.key for one in after.rows]
    assert before.groups == after.groups


def test_rows_of_a_speaker_who_are_answered_alike_count_as_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def compared(folder: str, clips: int, grouped: bool) -> dict[str, Any]:
        paths = []
        for name in "ab":
            said = [
                {
                    **row(10 * speaker + number, "A" if name == "b" and speaker % 3 else "B"),
                    **({"group": f"speaker {speaker}"} if grouped else {}),
                }
                for speaker in range(8)
                for number in range(clips)
            ]
            (tmp_path / folder).mkdir(exist_ok=True)
            paths.append(write(tmp_path / folder / name / f"{TASK}.jsonl", said))
        return intervals(run(capsys, *paths))

    assert compared("many", 10, True) == compared("one", 1, False)


def test_two_questions_about_a_clip_are_told_apart(tmp_path: Path) -> None:
    asked = [
        {**row(0, said), "messages": [{"role": "user", "content": f"{ASKED} {hint}"}]}
        for said, hint in (("A", ""), ("B", "Look at the eyes."))
    ]
    files = [write(tmp_path / name / f"{TASK}.jsonl", lines) for name, lines in (("a", asked), ("b", asked[::-1]))]
    before, after = paired_scores(files[:1], files[1:])[TASK]
    assert [one.response for one in before.rows] == [one.response for one in after.rows] == ["A", "B"]


def test_a_question_asked_twice_is_paired_in_turn(tmp_path: Path) -> None:
    files = [write(tmp_path / name / f"{TASK}.jsonl", [row(0, "A"), row(0, "B")]) for name in "ab"]
    before, after = paired_scores(files[:1], files[1:])[TASK]
    assert [one.response for one in before.rows] == [one.response for one in after.rows] == ["A", "B"]


def test_different_clips_are_named(tmp_path: Path) -> None:
    truth = labelled(tmp_path / "t.csv", ["joy", "fear", "joy"])
    first, second = labelled(tmp_path / "a.csv", ["joy", "fear", "joy"]), labelled(tmp_path / "b.csv", ["joy", "fear"])
    expected = r"a\.csv: line 4: expected a clip that .*b\.csv has too, got 'c2'"
    with pytest.raises(InputError, match=expected) as error:
        main([str(first), str(second), "--labels", str(truth)])
    assert "a.csv alone: 1 clips; in" in str(error.value)
    with pytest.raises(InputError, match=r"t\.csv: line 4"):
        main([str(second), str(second), "--labels", str(truth)])


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ([row(0, "A"), row(7, "A")], r"b/.*line 2: expected a clip that .*a/.*has too, got .*7\.mp4"),
        ([row(0, "A")], r"a/.*line 2: expected a clip that .*b/.*has too, got .*1\.mp4"),
        ([{"id": "x", "task": "caption", "response": "", "answer": "y"}], "expected a task that"),
    ],
)
def test_different_results_are_named(tmp_path: Path, second: list[Any], message: str) -> None:
    files = [write(tmp_path / "a" / f"{TASK}.jsonl", [row(0, "A"), row(1, "B")])]
    files.append(write(tmp_path / "b" / f"{TASK}.jsonl", second))
    with pytest.raises(InputError, match=message):
        main([str(file) for file in files])


def test_two_truths_are_named(tmp_path: Path) -> None:
    lines = [{"id": "x", "task": "attribute_closed", "response": "up", "answer": truth} for truth in ("up", "down")]
    files = [write(tmp_path / f"{name}.jsonl", [line]) for name, line in zip("ab", lines, strict=True)]
    with pytest.raises(
        InputError, match=r"b\.jsonl: line 1: expected the gold answer of .*a\.jsonl, line 1, got 'down'"
    ):
        main([str(file) for file in files])


def test_predictions_alone_ask_for_labels(tmp_path: Path) -> None:
    file = labelled(tmp_path / "a.csv", ["joy"])
    with pytest.raises(InputError, match="--labels"):
        main([str(file), str(file)])
