"""Ablations: each is a recipe that can be saved and read, and changes what its name says."""

from __future__ import annotations

import pytest

from train.ablate import derive, variants
from train.recipe_file import load_recipe, save_recipe

DEMO = load_recipe("demo")


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
