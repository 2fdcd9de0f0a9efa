"""Recipes: every mistake named at once with its place, nothing guessed, nothing lost on the way to disk and back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from affectgpt.problems import InputError
from train.recipe import Recipe
from train.recipe_file import RECIPES, load_recipe, save_recipe

GOOD = """\
output: runs/x
data:
  train: rows.jsonl
model:
  tiny: {}
stages:
  - name: one
    kind: sft
    steps: 3
    batch_size: 4
    learning_rate: 1e-3
    mixture: {tree: 1}
  - name: two
    kind: grpo
    steps: 2
    batch_size: 8
    generations: 4
    learning_rate: 1.0e-4
    mixture: {tree: 1}
"""


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return path


def complaints(path: Path | str, *overrides: str) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_recipe(path, overrides)
    assert all(str(problem) in str(caught.value) for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_a_good_recipe(recipe):
    loaded = load_recipe(recipe)
    assert [stage.name for stage in loaded.stages] == ["one", "two"]
    assert (loaded.seed, loaded.stages[0].learning_rate, loaded.output) == (0, 1e-3, Path("runs/x"))


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_load_by_name(path):
    assert load_recipe(path.stem) == load_recipe(path)


@pytest.mark.parametrize(
    ("written", "rate"),
    [
        *(("1e-4", 1e-4), ("1E-4", 1e-4), ("1.e-4", 1e-4), ("1.0e-4", 1e-4), ("+1e-4", 1e-4), ("0.0001", 1e-4)),
        *(("'1e-4'", 1e-4), ('"1e-4"', 1e-4), ("'0.0001'", 1e-4), ("1", 1.0), (".5", 0.5), ("1e2", 100.0)),
    ],
)
def test_numbers_are_read_however_they_are_written(recipe, written, rate):
    """YAML takes `1e-4` for a text, as hiyouga/LlamaFactory#4014 found."""
    recipe.write_text(GOOD.replace("learning_rate: 1e-3", f"learning_rate: {written}"))
    assert load_recipe(recipe).stages[0].learning_rate == rate
    assert load_recipe(recipe, [f"stages.two.learning_rate={written}"]).stages[1].learning_rate == rate


@pytest.mark.parametrize(("written", "steps"), [("'3'", 3), ('"3"', 3), ("3.0", 3), ("0x10", 16), ("1_000", 1000)])
def test_whole_numbers_are_too(recipe, written, steps):
    recipe.write_text(GOOD.replace("steps: 3", f"steps: {written}"))
    assert load_recipe(recipe).stages[0].steps == steps


@pytest.mark.parametrize("written", ["1e-4x", "'1,5'", "1e", "one", "", "1e400", "-1e-4", "[1e-4]", "2024-01-01"])
def test_what_is_no_number_is_refused_with_its_line(recipe, written):
    recipe.write_text(GOOD.replace("learning_rate: 1e-3", f"learning_rate: {written}"))
    [problem] = complaints(recipe)
    assert f"{recipe}: line 11, 'stages.0.learning_rate'" in problem


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.rstrip("\n"),
        lambda text: text.replace("\n", "   \n"),
        lambda text: "---\n" + text + "...\n",
        lambda text: "# 情感 модель\r\n" + text + "\n\n",
    ],
    ids=["CRLF", "BOM", "BOM and CRLF", "no last newline", "spaces at ends", "marks of a document", "comment"],
)
def test_files_of_other_systems_are_read_as_ours(recipe, change):
    expected = load_recipe(recipe)
    recipe.write_bytes(change(GOOD).encode())
    assert load_recipe(recipe) == expected
    recipe.write_bytes(change(GOOD.replace("steps: 3", "stepz: 3")).encode())
    assert any("Did you mean 'steps'?" in problem for problem in complaints(recipe))


@pytest.mark.parametrize(
    "change", [("  train:", "\ttrain:"), ("  - name: one", "\t- name: one"), ("    kind", "   \tkind")]
)
def test_a_tab_is_refused_with_its_line(recipe, change):
    recipe.write_text(GOOD.replace(*change, 1))
    line = recipe.read_text().partition("\t")[0].count("\n") + 1
    [problem] = complaints(recipe)
    assert problem.startswith(f"{recipe}: the file: expected YAML, got ")
    assert f"line {line}, column" in problem


def test_a_recipe_that_is_not_there_names_the_nearest():
    assert "Did you mean 'demo'?" in complaints("dmo")[0]
    assert "nothing there" in complaints("nowhere/else.yaml")[0]


WRONG = """\
output: runs/x
sede: 1
data:
  synthetic:
    clipss: 3
  bad_sample_budgt: 0.1
model:
  tiny:
    hiden_size: 32
  lora: {rr: 3, r: 0}
  num_tokens: {faec: 1}
  inputs: [video, sound]
stages:
  - name: one
    kind: sft
    steps: 0
    batch_sise: 4
    batch_size: four
    learning_rate: 1.0e-3
    mixture: {tree: 1}
  - name: two
    kind: grppo
    batch_size: 4
    learning_rate: 1e-3
    rewards: {tre: 1.0}
    mixture: {attribute_close: 1, treee: 2}
    freeze: [language_modl]
evaluation:
  bach_size: 3
"""


def test_all_problems_at_once_with_line_and_remedy(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    found = complaints(path)
    expected = [
        (2, "'sede'", "Did you mean 'seed'?"),
        (4, "'data.synthetic'", "unknown key 'clipss'. Did you mean 'clips'?"),
        (6, "'data.bad_sample_budgt'", "Did you mean 'bad_sample_budget'?"),
        (9, "'model.tiny.hiden_size'", "Did you mean 'hidden_size'?"),
        (10, "'model.lora.rr'", "Did you mean 'r'?"),
        (10, "'model.lora.r'", "greater than or equal to 1, got 0"),
        (11, "'model.num_tokens.faec", "'face', 'frame', 'audio' or 'multi', got 'faec'"),
        (12, "'model.inputs.1'", "'video', 'audio' or 'text', got 'sound'"),
        (16, "'stages.0.steps'", "greater than or equal to 1, got 0"),
        (17, "'stages.0.batch_sise'", "Did you mean 'batch_size'?"),
        (18, "'stages.0.batch_size'", "a valid integer"),
        (21, "'stages.1.steps'", "expected a value, got nothing"),
        (22, "'stages.1.kind'", "'sft', 'grpo' or 'empathy', got 'grppo'"),
        (25, "'stages.1.rewards'", "unknown reward 'tre'. Did you mean 'tree'?"),
        (26, "'stages.1.mixture'", "unknown task 'attribute_close'. Did you mean 'attribute_closed'?"),
        (26, "'stages.1.mixture'", "unknown task 'treee'. Did you mean 'tree'?"),
        (27, "'stages.1.freeze.0'", "'language_model' or 'soft_tokens', got 'language_modl'"),
        (29, "'evaluation.bach_size'", "Did you mean 'batch_size'?"),
    ]
    for line, place, words in expected:
        start = f"{path}: line {line}, {place}"
        assert any(text.startswith(start) and words in text for text in found), (start, words, found)
    assert len(found) == len(expected) - 1  # both tasks stand in one


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("train: rows.jsonl", "train: rows.jsonl\n  synthetic: {}"), "not both (found train)"),
        (("train: rows.jsonl", "test: rows.jsonl"), "give 'synthetic', or 'train'"),
        (("train: rows.jsonl", "synthetic: {label_noise: 2}"), "label_noise must be between 0 and 1, got 2"),
        (("train: rows.jsonl", "synthetic: {clips: 2.5}"), "clips must be a whole number, got 2.5"),
        (("tiny: {}", "tiny: {}\n  path: some/model"), "give one of 'path', 'parts' and 'tiny' (found path and tiny)"),
        (("tiny: {}", "inputs: [video]"), "give one of 'path', 'parts' and 'tiny' (found none)"),
        (("tiny: {}", "path: a/b\n  fusion: none\n  pooling: mean"), "fusion, pooling: a saved model has its own"),
        (("tiny: {}", "tiny: {}\n  inputs: []"), "at least one modality"),
        (("name: two", "name: one"), "every stage needs a name of its own"),
        (("name: two", "name: ../two"), "pattern"),
        (("generations: 4", "generations: 3"), "batch_size (8) must be a multiple of generations (3)"),
        (("generations: 4", "generations: 4\n    accumulation: 3"), "must be a multiple of accumulation (3)"),
        (("mixture: {tree: 1}\n  - name: two", "mixture: {}\n  - name: two"), "weights must be 0 or more"),
        (("mixture: {tree: 1}\n  - name: two", "mixture: {tree: -1}\n  - name: two"), "weights must be 0 or more"),
        (("learning_rate: 1e-3", "learning_rate: .nan"), "finite number"),
        (("output: runs/x", "title: x"), "'output': expected a value, got nothing"),
    ],
)
def test_what_does_not_fit_together(recipe, change, words):
    assert GOOD.count(change[0]) == 1
    recipe.write_text(GOOD.replace(*change))
    found = complaints(recipe)
    assert len(found) == 1
    assert words in found[0]
    assert re.match(rf"{re.escape(str(recipe))}: line \d+, ", found[0])


def test_a_recipe_without_stages(recipe):
    recipe.write_text(GOOD.split("stages:")[0] + "stages: []\n")
    assert "at least one" in complaints(recipe)[0]


@pytest.mark.parametrize("text", ["output: [", "- a\n- b\n", "just words", "", "a: b: c"])
def test_what_is_no_mapping(recipe, text):
    recipe.write_text(text)
    assert len(complaints(recipe)) == 1


def test_yaml_makes_no_objects(recipe, tmp_path):
    mark = tmp_path / "mark"
    recipe.write_text(f'{GOOD}title: !!python/object/apply:os.system ["touch {mark}"]\n')
    assert "YAML" in complaints(recipe)[0]
    assert "YAML" in complaints("demo", f'title=!!python/object/apply:os.system ["touch {mark}"]')[0]
    assert not mark.exists()


def test_overrides(recipe):
    loaded = load_recipe(
        recipe,
        [
            "seed=7",
            "stages.two.steps=9",
            "stages.0.steps=5",
            "model.tiny.num_layers=1",
            "model.lora.r=4",
            "model.num_tokens.face=3",
            "title=Two words",
            "stages.one.betas=[0.9, 0.95]",
            "model.inputs=[audio]",
            "deepspeed=deepspeed_configs/zero2.json",
        ],
    )
    assert (loaded.seed, loaded.stages[0].steps, loaded.stages[1].steps) == (7, 5, 9)
    assert loaded.model.tiny is not None
    assert loaded.model.lora is not None
    assert (loaded.model.tiny.num_layers, loaded.model.lora.r, loaded.model.num_tokens) == (1, 4, {"face": 3})
    assert (loaded.title, loaded.stages[0].betas, loaded.model.inputs) == ("Two words", (0.9, 0.95), ("audio",))
    assert loaded.deepspeed == Path("deepspeed_configs/zero2.json")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "expected key=value"),
        ("seed=[", "not YAML"),
        ("seed=x", "a valid integer"),
        ("sead=1", "Did you mean 'seed'?"),
        ("stages.tow.steps=1", "no stage 'tow'. Did you mean 'two'?"),
        ("stages.two.stepz=1", "Did you mean 'steps'?"),
        ("stages.two.steps.x=1", "has no parts"),
        ("stages.2.steps=1", "no stage '2'"),
        ("evaluation.bach_size=1", "Did you mean 'batch_size'?"),
        ("data=3", "'data'"),
        ("stages=3", "'stages'"),
        ("=3", "an unknown one"),
    ],
)
def test_wrong_overrides(recipe, override, words):
    found = complaints(recipe, override)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize("name", ["demo", "recipe"])
def test_what_is_saved_loads_back_equal_and_complete(name, recipe, tmp_path):
    loaded = load_recipe(recipe if name == "recipe" else name, ["stages.0.accumulation=2", "model.lora.r=3"])
    path = tmp_path / "run" / "recipe.yaml"
    save_recipe(loaded, path)
    assert load_recipe(path) == loaded
    values = yaml.safe_load(path.read_text())
    assert set(values) == set(Recipe.model_fields)
    for section, kept in ((loaded.stages[0], values["stages"][0]), (loaded.evaluation, values["evaluation"])):
        assert set(kept) == set(type(section).model_fields)


def test_packs_are_not_shuffled_over_stages(recipe):
    assert "which packing cannot" in complaints(recipe, "curriculum=false", "stages.one.packing=64")[0]
