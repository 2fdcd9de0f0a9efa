"""Ablations: each is a recipe that can be saved and read, and changes what its name says."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.inputs.reader import ClipReader
from tests.support.rows import make_clip
from train import ablate
from train.ablate import derive, run_ablations, tabulate, variants
from train.recipe import Recipe
from train.recipe_file import load_recipe, save_recipe

DEMO = load_recipe("demo")
TREE = "a1 mouth: smiling\ne1 open smile <- a1\nm1 {} <- e1"


@pytest.mark.parametrize("name", ["full", "no_tree_reward", *variants(DEMO)])
def test_an_ablation_is_a_recipe(name, tmp_path):
    recipe = derive(DEMO, name, 2)
    save_recipe(recipe, tmp_path / "ablation.yaml")
    assert load_recipe(tmp_path / "ablation.yaml") == recipe
    assert (recipe.output.name, recipe.seed) == (f"demo-{name}-2", 2)


def test_without_the_tree_reward_grpo_starts_from_the_same_checkpoint():
    recipe = derive(DEMO, "no_tree_reward", 1)
    assert recipe.model.path == "runs/demo-full-1/checkpoints/emotion"
    [stage] = recipe.stages
    assert list(stage.rewards) == ["format", "label"]
    full = derive(DEMO, "full", 1).stages[-1]
    assert stage.model_copy(update={"rewards": full.rewards}) == full


def test_ablations_are_not_published():
    recipe = load_recipe("demo", ["hub.repo=user/model"])
    assert all(derive(recipe, name, 0).hub is None for name in ("full", "no_tree_reward", *variants(recipe)))


def test_ablations_leave_the_empathy_stage_out():
    assert DEMO.stages[-1].kind == "empathy"
    kinds = {
        stage.kind for name in ("full", "no_tree_reward", *variants(DEMO)) for stage in derive(DEMO, name, 0).stages
    }
    assert kinds == {"sft", "grpo"}


def test_each_changes_what_its_name_says_and_nothing_else():
    def changes(name: str) -> dict[str, Any]:
        full, other = (derive(DEMO, chosen, 1).model_dump(exclude={"output", "stages"}) for chosen in ("full", name))
        top = {key: value for key, value in other.items() if value != full[key] and key != "model"}
        inside = {key: value for key, value in other["model"].items() if value != full["model"][key]}
        return top | inside

    assert {name: changes(name) for name in variants(DEMO)} == {
        "video_only": {"inputs": ("video",)},
        "audio_only": {"inputs": ("audio",)},
        "text_only": {"inputs": ("text",)},
        "no_prefusion": {"fusion": "none"},
        "no_curriculum": {"curriculum": False},
    }
    full = derive(DEMO, "full", 1)
    assert full.seed == 1
    assert [stage.name for stage in full.stages] == ["attribute", "expression", "emotion", "grpo"]
    assert {tuple(stage.name for stage in derive(DEMO, name, 1).stages) for name in variants(DEMO)} == {
        ("attribute", "expression", "emotion")
    }


def test_every_ablation_runs_with_every_seed_and_grpo_after_what_it_starts_from(tmp_path, monkeypatch):
    ran: list[str] = []
    monkeypatch.setattr(ablate, "_run", lambda recipe: ran.append(f"{recipe.output.name}") or recipe.output)
    monkeypatch.setattr(ablate, "tabulate", lambda recipe, seeds: {"seeds": list(seeds)})
    recipe = DEMO.model_copy(update={"output": tmp_path / "r"})
    assert run_ablations(recipe, [3, 4], 2, lambda text: None) == {"seeds": [3, 4]}
    names = ("full", *variants(DEMO), "no_tree_reward")
    assert sorted(ran) == sorted(f"r-{name}-{seed}" for name in names for seed in (3, 4))
    assert {name.rpartition("-")[0] for name in ran[-2:]} == {"r-no_tree_reward"}


def test_a_run_that_fails_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match=r"the run in .*r failed; its console\.log says why"):
        ablate._run(DEMO.model_copy(update={"output": tmp_path / "r"}))
    assert load_recipe(tmp_path / "r" / "ablation.yaml").output == tmp_path / "r"


def row(name: str, group: str) -> Clip:
    return make_clip(name, TREE.format("joy"), "tree", group=group)


CLIPS = {
    "train": [row("a", "Ann")],
    "dev": [row("d", "Dan")],
    "test": [row("t", "Tim"), row("u", "Tim"), row("v", "Una")],
}


def write_answers(recipe: Recipe) -> None:
    """Of each stage to each part: an emotion named after all three, but the true one of the last stage of 'full'."""
    run = recipe.output.name.split("-")[1]
    for stage in ("emotion", "grpo", "shuffled"):
        for part, clips in CLIPS.items():
            said = "joy" if (run, stage) == ("full", "grpo") else f"{run} {stage} {part}".replace("_", " ")
            path = recipe.folder.predictions(stage, part)
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [{"fingerprint": "x"}, *({"id": clip.id, "response": TREE.format(said)} for clip in clips)]
            path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_table_pools_the_answers_of_the_right_stages_and_asks_again_what_is_hidden_or_searched(
    tmp_path, monkeypatch
):
    asked: list[tuple[Any, ...]] = []
    processor: Any = SimpleNamespace(inputs=("video", "audio", "text"), tokenizer=None, stop_strings=[])
    data = SimpleNamespace(clips=CLIPS, reader=ClipReader(processor, None, cues=Cues(top=1)))  # type: ignore[arg-type]

    def answer(folder: Path, reader: ClipReader, rows: Sequence[Clip], *_: int, search: Any = None) -> Any:
        stage = str(folder.relative_to(tmp_path))
        asked.append((stage, reader.inputs, search, [clip.id for clip in rows]))
        assert reader.cues == Cues(top=1)
        return [{"id": clip.id, "response": TREE.format("again")} for clip in rows]

    def tell(rows: list[Clip], answers: list[Any], resamples: int) -> SimpleNamespace:
        assert [clip.id for clip in rows] == [said["id"] for said in answers]
        texts = {said["response"].split("m1 ")[1].split(" <-")[0] for said in answers}
        return SimpleNamespace(metrics={"said": sorted(texts), "n": len(rows)})

    monkeypatch.setattr(ablate, "prepare", lambda *_: data)
    monkeypatch.setattr(ablate, "load_stage_model", lambda folder, recipe: folder)
    monkeypatch.setattr(ablate, "answer_rows", answer)
    monkeypatch.setattr(ablate, "score", tell)
    recipe = DEMO.model_copy(update={"output": tmp_path / "r"})
    recipe.output.mkdir()
    for name in ("full", "no_tree_reward", *variants(recipe)):
        for seed in (0, 1):
            write_answers(derive(recipe, name, seed))
    table = tabulate(recipe, [0, 1])
    assert json.loads((recipe.output / "ablations.json").read_text()) == table
    assert {figures["n"] for figures in table.values()} == {6}
    assert {name: figures["said"] for name, figures in table.items() if figures["said"] != ["again"]} == {
        "full": ["joy"],
        "no_tree_reward": ["no tree reward grpo test"],
        "supervised": ["full emotion test"],
        "video_only": ["video only emotion test"],
        "audio_only": ["audio only emotion test"],
        "text_only": ["text only emotion test"],
        "no_prefusion": ["no prefusion emotion test"],
        "no_curriculum": ["no curriculum shuffled test"],
    }
    everything, rows = ("video", "audio", "text"), ["t", "u", "v"]
    hidden = {"video": ("audio", "text"), "audio": ("video", "text"), "text": ("video", "audio")}
    assert {name for name, figures in table.items() if figures["said"] == ["again"]} == {
        *(f"masked_{name}" for name in hidden),
        *(f"{name}_{search}" for name in ("supervised", "full") for search in ablate.SEARCHES),
    }
    expected = [
        *(("grpo", everything, search, rows) for search in ablate.SEARCHES.values()),
        *(("emotion", everything, search, rows) for search in ablate.SEARCHES.values()),
        *(("grpo", seen, None, rows) for seen in hidden.values()),
    ]
    assert asked == [(f"r-full-{seed}/checkpoints/{stage}", *more) for stage, *more in expected for seed in (0, 1)]
    compared = json.loads((recipe.output / "comparisons.json").read_text())
    assert set(compared) == {f"{second} over {first}" for first, second in ablate.COMPARED}
    over = compared["full over supervised"]
    assert (over["value"], over["n"]) == (pytest.approx(1 / 6, abs=1e-5), 6)
    assert compared["full_search over full"]["value"] < 0
    # Clips of one actor change sides together, in all runs: with two actors, half of all changes are as far apart.
    assert over["p"] == pytest.approx(0.5, abs=0.05)
