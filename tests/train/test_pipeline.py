"""The frame of a run, with nothing in it."""

from __future__ import annotations

import io
from functools import partial
from types import SimpleNamespace

import pytest

from train import pipeline
from train.recipe import Recipe
from train.stages.sft import SftStage


def test_ctrl_c_while_a_stage_is_scored_says_how_to_go_on(monkeypatch, tmp_path):
    stage = SftStage(name="one", kind="sft", steps=1, batch_size=1, learning_rate=1, mixture={"tree": 1})
    recipe = Recipe(output=tmp_path, data={"train": "x"}, model={"tiny": {}}, stages=(stage,))
    out = io.StringIO()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    prepared = SimpleNamespace(clips={"train": []}, reader=None, starting_model=tmp_path, fingerprint="f")

    monkeypatch.setattr(pipeline, "Console", partial(pipeline.Console, out=out))
    monkeypatch.setattr(pipeline, "prepare", lambda *_: prepared)
    monkeypatch.setattr(pipeline, "run_stages", lambda *_: iter([SimpleNamespace(stage=stage)]))
    monkeypatch.setattr(SftStage, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run_recipe(recipe)
    assert f"Go on with: affectgpt train {tmp_path}/recipe.yaml" in out.getvalue()
    assert (tmp_path / "recipe.yaml").is_file()
