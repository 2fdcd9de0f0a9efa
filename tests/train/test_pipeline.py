"""The frame of a run, with nothing in it."""

from __future__ import annotations

import io
import os
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from affectgpt.problems import InputError, RunError
from train import libraries, pipeline
from train.recipe import Recipe
from train.stages.empathy import EmpathyStage
from train.stages.kind import StageKind
from train.stages.sft import SftStage

ONE = SftStage(name="one", kind="sft", steps=1, batch_size=1, learning_rate=1, mixture={"tree": 1})
EMPATHY = EmpathyStage(name="e", kind="empathy", steps=1, batch_size=1, learning_rate=1, mixture={"dialogue": 1})


PREPARED = SimpleNamespace(
    clips={"train": []}, reader=None, starting_model=Path("base"), fingerprint="data", v0_1_0="older data"
)


def recipe(folder: Path, *stages: StageKind, **settings: Any) -> Recipe:
    return Recipe(output=folder, data={"train": "x"}, model={"tiny": {}}, stages=stages or (ONE,), **settings)


@pytest.fixture
def done(monkeypatch) -> list[str]:
    """What was done of a run, whose parts do nothing."""
    happened: list[str] = []

    def stages(*_: Any) -> Any:
        happened.append("train one")
        yield SimpleNamespace(stage=ONE)

    def score(*_: Any) -> dict[str, Any]:
        happened.append("score one")
        return {"kind": "sft", "metrics": {}}

    def finish(recipe: Recipe, prepared: Any, context: Any, results: Any, entries: Any, *_: Any) -> Path:
        happened.append("report")
        (recipe.output / "report.json").write_text(f'{{"stages": {len(entries)}}}')
        return recipe.output / "report.html"

    monkeypatch.setattr(pipeline, "prepare", lambda *_: PREPARED)
    monkeypatch.setattr(pipeline, "run_stages", stages)
    monkeypatch.setattr(SftStage, "score", score)
    monkeypatch.setattr(pipeline, "finish", finish)
    return happened


def test_ctrl_c_while_a_stage_is_scored_says_how_to_go_on(done, monkeypatch, tmp_path):
    out = io.StringIO()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "Console", partial(pipeline.Console, out=out))
    monkeypatch.setattr(SftStage, "score", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run_recipe(recipe(tmp_path))
    assert f"Resume with: affectgpt train {tmp_path}/recipe.yaml" in out.getvalue()
    assert (tmp_path / "recipe.yaml").is_file()


def test_the_first_process_scores_and_reports_and_the_others_train(done, monkeypatch, tmp_path):
    watched = []
    monkeypatch.setattr(pipeline, "Watchdog", lambda *given: watched.append(given) or nullcontext())
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        two = ONE.model_copy(update={"batch_size": 2})
        found = pipeline.run_recipe(recipe(tmp_path / rank, two, hang_s=77))
        assert found == ({"stages": 1} if rank == "0" else None)
        assert (tmp_path / rank / "recipe.yaml").is_file() == (rank == "0")
    assert done == ["train one", "score one", "report", "train one"]
    assert watched == [(tmp_path / str(rank), rank, 2, 77) for rank in (0, 1)]


@pytest.mark.parametrize("curriculum", [True, False])
def test_stages_run_as_planned_from_the_model_and_the_data_that_were_prepared(done, monkeypatch, tmp_path, curriculum):
    given: list[Any] = []
    monkeypatch.setattr(pipeline, "run_stages", lambda context, *rest: given.extend(rest) or iter(()))
    planned = recipe(tmp_path, ONE, ONE.model_copy(update={"name": "two"}), curriculum=curriculum)
    pipeline.run_recipe(planned)
    assert [stage.name for stage in given[0]] == (["one", "two"] if curriculum else ["shuffled"])
    assert given[1:] == [Path("base"), "data", "older data", curriculum]


def test_rows_that_plugins_cannot_learn_from_are_refused_before_any_stage(done, tmp_path):
    with pytest.raises(InputError, match="stage 'e': expected rows of task"):
        pipeline.run_recipe(recipe(tmp_path, ONE, EMPATHY))
    assert done == []


def test_one_run_at_a_time_in_a_folder(done, monkeypatch, tmp_path):
    def again(*_: Any) -> Any:
        monkeypatch.setattr(pipeline, "prepare", lambda *_: PREPARED)
        with pytest.raises(InputError, match="another run is under way there"):
            pipeline.run_recipe(recipe(tmp_path))
        return PREPARED

    monkeypatch.setattr(pipeline, "prepare", again)
    assert pipeline.run_recipe(recipe(tmp_path)) == {"stages": 1}
    assert pipeline.run_recipe(recipe(tmp_path)) == {"stages": 1}


def test_a_broken_connection_is_told_as_what_it_is(done, monkeypatch, tmp_path):
    def fail(text: str, *_: Any) -> None:
        raise RuntimeError(text)

    for text, kind in (("[gloo] Connection closed by peer", RunError), ("shapes differ", RuntimeError)):
        monkeypatch.setattr(pipeline, "prepare", partial(fail, text))
        with pytest.raises(RuntimeError) as caught:
            pipeline.run_recipe(recipe(tmp_path))
        assert type(caught.value) is kind


def test_batches_that_do_not_split_over_the_processes_are_refused_before_anything_is_prepared(
    done, monkeypatch, tmp_path
):
    monkeypatch.setattr(pipeline, "prepare", lambda *_: pytest.fail("it prepared data"))
    monkeypatch.setattr(pipeline, "world", lambda: (0, 2))
    three = ONE.model_copy(update={"name": "three", "batch_size": 3})
    with pytest.raises(InputError) as caught:
        pipeline.run_recipe(recipe(tmp_path, ONE, three))
    assert "stage 'one': batch_size 1 does not split" in str(caught.value)
    assert "Set stages.three.batch_size to 2 or 4" in str(caught.value)


def test_threads_and_wandb_are_set_up_as_the_recipe_says(done, monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_DIR", "WANDB_PROJECT", "WANDB_MODE"):
        monkeypatch.setenv(name, "set")  # so that what the run sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))  # where nobody is logged in
    monkeypatch.setattr(libraries.importlib.util, "find_spec", lambda name: object())
    before = torch.get_num_threads()
    try:
        pipeline.run_recipe(recipe(tmp_path, threads=before + 1, wandb=True))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
    assert os.environ["WANDB_DIR"] == str(tmp_path)
    assert os.environ["WANDB_MODE"] == "offline"
