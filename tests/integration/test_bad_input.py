"""Bad input is named, counted and explained, in the same words by the checker and by training; never a traceback."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def spoilt(data, tmp_path_factory) -> Path:
    """A copy of the data in which one training clip is cut short, one is empty and one has lost its sound."""
    import av

    folder = tmp_path_factory.mktemp("spoilt") / "data"
    shutil.copytree(data, folder)
    clips = folder / "clips" / "train"
    cut = clips / "train-00003.mp4"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (clips / "train-00005.mp4").write_bytes(b"")
    silent = clips / "train-00007.mp4"
    with av.open(str(silent)) as source, av.open(str(folder / "silent.mp4"), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    (folder / "silent.mp4").replace(silent)
    return folder


SPOILT = ("train-00003", "train-00005", "train-00007")


@pytest.fixture(scope="module")
def wrong_rows(data) -> Path:
    """A row file with one mistake of each kind, beside the good ones."""
    lines = (data / "train.jsonl").read_text().splitlines()
    rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    closed = next(row for row in rows if row["task"] == "attribute_closed")
    changes: list[Callable[[dict[str, Any]], Any]] = [
        lambda row: row.update(video="clips/train/nowhere.mp4"),
        lambda row: row.update(task="attribute_close"),
        lambda row: row.update(answer="slantedd", options=["slanted", "raised"]),
        lambda row: row.update(vidoe="x"),
        lambda row: row.pop("messages"),
    ]
    bad = []
    for index, change in enumerate(changes):
        row = {**closed, "id": f"bad{index}"}
        change(row)
        bad.append(row)
    path = data / "wrong.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows[:4], *bad]) + "not json\n")
    return path


def test_bad_input(affectgpt, train_in_turn, write_recipe, spoilt, wrong_rows, tmp_path):
    # Several trainings share a process, since starting one takes seconds.
    recipe = write_recipe(tmp_path / "good")
    damaged = write_recipe(tmp_path / "damaged", rows=spoilt)
    missing = tmp_path / "nowhere.jsonl"
    calls = {
        "unknown key": [recipe, "stages.attribute.stepz=1"],
        "wrong rows": [recipe, f"data.train={wrong_rows}"],
        "missing rows": [recipe, f"data.train={missing}"],
        "no such task": [recipe, "stages.attribute.mixture={valence: 1}"],
        "batch": [recipe, "stages.attribute.accumulation=2", "stages.attribute.batch_size=7"],
        "beyond": [damaged, "data.bad_sample_budget=0.1"],
        "within": [damaged, "data.bad_sample_budget=0.2"],
        "mended": [damaged, "data.bad_sample_budget=0.2"],
        "diverged": [recipe, f"output={tmp_path / 'diverged'}", "stages.attribute.learning_rate=1e38"],
    }
    done = dict(zip(calls, train_in_turn(*calls.values()), strict=True))
    for name, ended in done.items():
        assert ended.code == {"within": 0, "mended": 0, "diverged": 1}.get(name, 2), (name, ended)
        assert "Traceback" not in ended.err, (name, ended)

    assert f"{recipe}: line" in done["unknown key"].err
    assert "'stages.0.stepz': expected a known key" in done["unknown key"].err
    assert "Did you mean 'steps'?" in done["unknown key"].err
    assert "must be a multiple of accumulation" in done["batch"].err
    assert "no row has it" in done["no such task"].err
    # A loss that is no number: the step is not taken, its rows are named.
    assert re.search(r"step [23]: the loss is nan in rows (\S+, )+\S+\. The step was not", done["diverged"].err), done[
        "diverged"
    ].err

    # The checker and training list the same problems in the same words.
    listed = affectgpt("data", "check", wrong_rows)
    assert listed.code == 2
    assert listed.out == ""
    assert "Traceback" not in listed.err, listed.err
    problems = [line for line in listed.err.splitlines() if "wrong.jsonl: row" in line]
    assert len(problems) >= 6
    assert [line for line in done["wrong rows"].err.splitlines() if "wrong.jsonl: row" in line] == problems
    text = "\n".join(problems)
    for words in (
        "row 5, field 'video': expected a file, got clips/train/nowhere.mp4, which is not there",
        "row 6, field 'task': expected one of",
        "Did you mean 'attribute_closed'?",
        "row 7, field 'answer': expected one of its options: slanted, raised, got slantedd. Did you mean 'slanted'?",
        "row 8, field 'vidoe': expected a known field, got an unknown one. Did you mean 'video'?",
        "row 9, field 'messages': expected a list of at least two chat turns",
        "row 10: expected one JSON object",
    ):
        assert words in text
    gone = affectgpt("data", "check", missing)
    assert gone.code == 2
    assert gone.err.splitlines()[0] in done["missing rows"].err

    # Media that do not decode: named with their rows and reasons, within the budget as beyond it.
    checked = affectgpt("data", "check", spoilt / "train.jsonl", "--json")
    assert checked.code == 2
    reasons = {Path(item["got"].split(":")[0]).stem: item["got"] for item in json.loads(checked.out)["problems"]}
    assert set(reasons) == set(SPOILT)
    samples = [json.loads(line) for line in (tmp_path / "damaged/run/bad_samples.jsonl").read_text().splitlines()]
    assert {Path(sample["files"][0]).stem for sample in samples} == set(SPOILT)
    for sample in samples:
        name = Path(sample["files"][0]).stem
        assert sample["reason"] == reasons[name]
        assert len(sample["rows"]) > 5
        assert all(row.startswith(f"{name}/") for row in sample["rows"])
        for call in ("beyond", "within"):
            assert f"(row {sample['rows'][0]}): {sample['reason']}" in done[call].err
    assert "3 of 24 clips cannot be used, more than data.bad_sample_budget allows" in done["beyond"].err

    # The run went on without them, put nothing in their place, and says so.
    report = json.loads((tmp_path / "damaged/run/report.json").read_text())
    assert report["data"]["unusable_clips"] == 3
    assert report["data"]["train"]["clips"] == 9
    assert "unchanged, reused" in done["mended"].err
    # Nothing else was trained, or left behind by what was refused.
    assert not (tmp_path / "good" / "run" / "report.json").exists()
    assert not list((tmp_path / "good" / "run").glob("checkpoints/*/model.safetensors"))


def test_check_accepts_what_is_right(affectgpt, data):
    done = affectgpt("data", "check", data / "train.jsonl", "--json")
    assert done.code == 0
    report = json.loads(done.out)
    assert (report["rows"], report["problems"]) == (len((data / "train.jsonl").read_text().splitlines()), [])
    assert report["warnings"] == []
    (contents,) = report["contents"]
    assert (contents["clips"], contents["video"]["clips"], contents["tasks"]["tree"]) == (12, 12, 12)
