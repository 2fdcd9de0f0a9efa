"""A stage of kind empathy, as users start it: plugins are trained once, rows get evidence, controls are scored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from affectgpt.clip import write_clips
from affectgpt.plugins.plugin import load_plugin
from data_recipes.synthetic.dialogues import EMOTIONS, dialogue_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("dialogues")
    for part, count in (("train", 60), ("test", 20)):
        write_clips(folder / f"{part}.jsonl", dialogue_rows(1, part, count))
    return folder


def test_an_empathy_stage(train, train_in_turn, write_recipe, make_stage, rows, tmp_path):
    plugins = {"emotion": {"encoder": "scratch", "epochs": 2}, "cause": {}}
    stage = make_stage("empathy", "empathy", mixture={"dialogue": 1.0}, plugins=plugins, evidence_dropout=0.2)
    data = {part: str(rows / f"{part}.jsonl") for part in ("train", "test")}
    recipe = write_recipe(tmp_path, [stage], data=data, evidence={"top": 2})
    done = train(recipe)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    run = tmp_path / "run"
    (entry,) = json.loads((run / "report.json").read_text())["stages"]
    assert (entry["kind"], entry["reused"]) == ("empathy", False)
    assert entry["metrics"]["accuracy_plugin"] == entry["empathy"]["conditions"]["plugin"]["accuracy"]
    assert list(entry["empathy"]["conditions"]) == [
        *("plugin", "no_plugin", "oracle", "random_emotions", "random_causes")
    ]
    assert entry["empathy"]["n"] == 20
    assert len(entry["empathy"]["examples"][0]["first"]) == 2
    assert set(entry["empathy"]["responses"]["plugin"]) == {"dist1", "dist2", "bleu"}
    assert "What small models add" in (run / "report.html").read_text()
    folder = run / "plugins" / "empathy"
    assert load_plugin(folder / "emotion").labels == sorted(EMOTIONS)
    pieces = json.loads((folder / "emotion" / "evidence.json").read_text())
    assert len(pieces) == 60
    stamp = (folder / "emotion" / "model.safetensors").stat().st_mtime_ns

    again, wrong = train_in_turn(
        [recipe, "stages.empathy.steps=2"],  # the stage is another one; its plugins are the same
        [recipe, "stages.empathy.mixture={dialogue: 0, tree: 1}"],
    )
    assert again.code == 0, again.err
    assert (folder / "emotion" / "model.safetensors").stat().st_mtime_ns == stamp
    assert wrong.code == 2
    assert "stage 'empathy': expected rows of task dialogue or emotion_label with words, got none" in wrong.err
