"""Every kind has settings of its own; what v0.1.0 trained and saved is found again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from affectgpt.problems import InputError
from train.recipe import Recipe
from train.recipe_file import load_recipe, save_recipe
from train.stages.kind import StageKind
from train.stages.kinds import KINDS, fingerprint_of, v0_1_0_fingerprint

ROOT = Path(__file__).parents[3]
SAVED_BY_V0_1_0 = ROOT / "tests" / "integration" / "recipe_v0_1_0.yaml"
OF_EVERY_KIND = """
- {name: warm, kind: sft, steps: 7, batch_size: 6, learning_rate: 0.002, mixture: {tree: 1, text: 0.5},
   freeze: [language_model], packing: 64, modality_dropout: 0.25, evidence_dropout: 0.125, accumulation: 2,
   gradient_checkpointing: true}
- {name: rl, kind: grpo, steps: 3, batch_size: 8, learning_rate: 1.0e-5, mixture: {tree: 1}, generations: 4,
   temperature: 0.5, beta: 0.25, loss_type: grpo, epsilon_high: 0.5, exchanges: 1,
   rewards: {tree: {weight: 2}, format: 1}}
- {name: hear, kind: empathy, steps: 5, batch_size: 4, learning_rate: 0.001, mixture: {dialogue: 1},
   plugins: {emotion: {encoder: scratch, epochs: 2}}, selection: {mode: prompt, fusion: 0.5}, evidence_corruption: 0.5}
"""


def recipe(stages: str, **settings: object) -> Recipe:
    given = {"output": "x", "data": {"train": "x"}, "model": {"tiny": {}}, "stages": yaml.safe_load(stages)}
    return Recipe.model_validate(given | settings)


def fingerprints(recipe: Recipe) -> dict[str, str]:
    return {stage.name: v0_1_0_fingerprint("parent", stage, recipe.curriculum) for stage in recipe.planned}


def test_checkpoints_of_v0_1_0_are_found_again():
    """The digests were printed by the code of that version."""
    assert fingerprints(load_recipe(SAVED_BY_V0_1_0)) == {
        "attribute": "3272ba389cadc2c4",
        "expression": "25d94155cd3ca608",
        "emotion": "d8c568e716517bde",
        "grpo": "ff4407a9485a5126",
        "empathy": "dd29f289867ba656",
    }
    assert fingerprints(load_recipe(SAVED_BY_V0_1_0, ["curriculum=false"])) == {
        "shuffled": "cd2c0e69ca6f46df",
        "grpo": "2990c5c84a2d0a9d",
        "empathy": "e32d8a6fada72707",
    }
    stages = recipe(OF_EVERY_KIND).stages
    assert {stage.name: v0_1_0_fingerprint("parent", stage, False) for stage in stages} == {
        "warm": "93b5ec8afd70cb00",
        "rl": "fc4a44a335777987",
        "hear": "ecacf9f5eaffcec4",
    }


@pytest.mark.parametrize("fingerprint", [fingerprint_of, v0_1_0_fingerprint])
def test_a_fingerprint_tells_parents_settings_and_curricula_apart(fingerprint):
    [stage] = recipe("[{name: a, kind: sft, steps: 1, batch_size: 1, learning_rate: 1, mixture: {tree: 1}}]").stages
    other = stage.model_copy(update={"packing": 64})
    found = [
        fingerprint("one", stage, True),
        fingerprint("two", stage, True),
        fingerprint("one", stage, False),
        fingerprint("one", other, True),
    ]
    assert len(set(found)) == 4


def test_a_saved_recipe_has_the_keys_of_each_kind_alone(tmp_path):
    sentences: list[str] = []
    loaded = load_recipe(SAVED_BY_V0_1_0, say=sentences.append)
    assert sentences == []  # what v0.1.0 spelt out were defaults
    save_recipe(loaded, tmp_path / "recipe.yaml")
    saved = yaml.safe_load((tmp_path / "recipe.yaml").read_text())["stages"]
    for stage in saved:
        assert set(stage) == set(KINDS[stage["kind"]].model_fields)
    assert "generations" not in saved[0]
    assert "packing" not in saved[3]
    assert load_recipe(tmp_path / "recipe.yaml") == loaded


def write(path: Path, *lines: str) -> Path:
    fixed = "steps: 2, batch_size: 4, learning_rate: 1.0e-3, mixture: {tree: 1}"
    stages = "".join(f"  - {{{fixed}, {line}}}\n" for line in lines)
    path.write_text(f"output: x\ndata: {{train: x}}\nmodel: {{tiny: {{}}}}\nstages:\n{stages}")
    return path


def test_keys_of_other_kinds_have_no_effect_and_are_named_where_they_are_set(tmp_path):
    path = write(
        tmp_path / "r.yaml",
        "name: one, kind: sft, generations: 3, beta: 0.0, rewards: {tre: 1}",
        "name: two, kind: grpo, generations: 2, packing: 64, plugins: {nobody: {}}, evidence_dropout: 0",
        "name: three, kind: sft, packing: 64, reward_files: []",
    )
    sentences: list[str] = []
    loaded = load_recipe(path, ["stages.three.top_p=0.5"], sentences.append)
    assert sorted(sentences) == [
        "stage 'one': 'generations' has no effect in a stage of kind sft",
        "stage 'one': 'rewards' has no effect in a stage of kind sft",
        "stage 'three': 'top_p' has no effect in a stage of kind sft",
        "stage 'two': 'packing' has no effect in a stage of kind grpo",
        "stage 'two': 'plugins' has no effect in a stage of kind grpo",
    ]
    plain = write(tmp_path / "p.yaml", *("name: one, kind: sft", "name: two, kind: grpo, generations: 2"))
    assert loaded.stages[:2] == load_recipe(plain).stages
    assert load_recipe(plain, say=sentences.append).stages[0] == loaded.stages[0]
    assert len(sentences) == 5


def test_the_nearest_key_is_one_of_the_stages_kind(tmp_path):
    path = write(
        tmp_path / "r.yaml",
        "name: one, kind: sft, generation: 3",
        "name: two, kind: grpo, generations: 2, packin: 64, generatons: 2, selection: {mod: score}",
        "name: three, kind: empathy, selection: {mod: score}",
    )
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    found = [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems]
    assert [text.partition(":")[0] for text in found] == [
        "line 5, 'stages.0.generation'",
        "line 6, 'stages.1.packin'",
        "line 6, 'stages.1.generatons'",
        "line 7, 'stages.2.selection.mod'",
    ]
    assert "generations" not in found[0]
    assert "'packing'" not in found[1]
    assert "Did you mean 'generations'?" in found[2]
    assert "Did you mean 'mode'?" in found[3]


def test_a_stage_without_a_kind_is_named_with_all_else_that_is_wrong(tmp_path):
    path = write(tmp_path / "r.yaml", "name: one, batch_sise: 3", "name: two, kind: 7", "name: three, kind: [sft]")
    with pytest.raises(InputError) as caught:
        load_recipe(path, ["evaluation.resamples=1"])
    found = [str(problem).removeprefix(f"{path}: ") for problem in caught.value.problems]
    assert any("'stages.0.kind'" in text and "expected a value, got nothing" in text for text in found)
    assert any("'stages.1.kind'" in text and "'sft', 'grpo' or 'empathy', got 7" in text for text in found)
    assert any("'stages.2.kind'" in text and "got ['sft']" in text for text in found)
    assert any("'stages.0.batch_sise'" in text and "Did you mean 'batch_size'?" in text for text in found)
    assert any("'evaluation.resamples'" in text for text in found)
    assert len(found) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_its_words(kind):
    cls = KINDS[kind]
    assert issubclass(cls, StageKind)
    assert cls.model_fields["kind"].annotation.__args__ == (kind,)  # type: ignore[union-attr]
    assert cls.title
    assert cls.card_title
    assert cls.seconds_per_step > 0
    assert cls.headline({}) == ""
    metric = {"value": 0.5}
    assert "0.50" in cls.headline(dict.fromkeys(("emotion_uar", "accuracy_plugin"), metric))


def test_plans_and_cards_are_made_without_what_trains():
    """Whoever only reads a recipe does not wait for the import of what trains it."""
    program = """
import json, sys
import train.hub.push, train.hub.background, train.hub.command
from train.plan.command import main
assert main(["videmo_3b", "--json"]) == 0
print(json.dumps([name for name in ("trl", "datasets", "deepspeed", "train.pipeline") if name in sys.modules]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []
