"""Shipped recipes: they load, their plan adds up, and the machines that their launch lines name are large enough."""

from __future__ import annotations

import json
import re
import shlex

import pytest
import yaml

from affectgpt.tasks import TASKS
from train.plan.command import main
from train.plan.estimate import Machine, make_plan, own_option
from train.recipe_file import RECIPES, load_recipe, save_recipe

SHIPPED = ("affectgpt_7b", "hef_7b", "videmo_3b", "videmo_7b", "videmo_affectgpt_7b")


def opening(name: str) -> str:
    """The comments that a recipe opens with."""
    lines = (RECIPES / f"{name}.yaml").read_text().splitlines()
    count = next(index for index, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:count])


def launch_lines(name: str) -> list[tuple[Machine, list[str]]]:
    """The machine and the overrides of every command in a recipe's opening."""
    found = []
    for line in opening(name).replace("\\\n", " ").splitlines():
        words = shlex.split(line) if re.match(r"\s+(affectgpt train|deepspeed) ", line) else []
        if words[:1] == ["affectgpt"]:
            found.append((Machine(1), words[3:]))
        elif words:
            nodes = 2 if "--hostfile" in words else 1
            start = words.index("--module")
            assert words[start + 1 : start + 3] == ["train.run", name]
            assert nodes == 2 or words[words.index("--num_gpus") + 1] == "8"
            found.append((Machine(8, nodes), words[start + 3 :]))
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_it_opens_with_what_it_is_and_how_it_runs(name):
    text = opening(name)
    headings = {line.strip() for line in re.sub(r"[,(:].*", "", text).splitlines()}
    assert {"1 GPU", "8 GPUs", "2 nodes of 8 GPUs"} <= headings
    assert "Departures from the" in text
    assert {(machine.gpus, machine.nodes) for machine, _ in launch_lines(name)} == {(1, 1), (8, 1), (8, 2)}


@pytest.mark.parametrize("name", SHIPPED)
def test_launch_lines_fit_where_they_run(name, request):
    for machine, overrides in launch_lines(name):
        recipe = load_recipe(name, overrides)
        assert recipe.deepspeed is None or (request.config.rootpath / recipe.deepspeed).is_file()
        for stage in make_plan(recipe, machine)["stages"]:
            assert own_option(recipe, stage["options"])["fits"], (machine, overrides, stage["name"], stage["advice"])


@pytest.mark.parametrize("name", SHIPPED)
def test_its_plan(name, capsys):
    assert main([name, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    recipe = load_recipe(name)
    assert [stage["name"] for stage in plan["stages"]] == [stage.name for stage in recipe.stages]
    for stage in plan["stages"]:
        counts = stage["parameters"]
        assert counts["total"] == sum(part["total"] for part in counts["parts"].values())
        for option in stage["options"]:
            memory = option["memory_mb"]
            assert max(memory.values()) == memory["peak"] <= sum(memory.values()) - memory["peak"] + 1


@pytest.mark.parametrize("name", SHIPPED)
def test_it_is_saved_and_loads_back_equal(name, tmp_path):
    recipe = load_recipe(name)
    save_recipe(recipe, tmp_path / "recipe.yaml")
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


@pytest.mark.parametrize(("name", "total"), [("videmo_3b", 3_754_622_976), ("videmo_7b", 8_292_166_656)])
def test_videmo(name, total):
    recipe = load_recipe(name)
    stages = make_plan(recipe, Machine(8))["stages"]
    assert {stage["parameters"]["total"] for stage in stages} == {total}  # as published on the Hub
    assert all(stage["parameters"]["parts"]["encoders"]["trained"] == 0 for stage in stages)
    # Three epochs of what the paper's Table 7 counts, at 95 % of the batch; GRPO sees the trees once.
    rows = {"attribute": (392_284, 1_215_882), "expression": (279_219, 9_358), "emotion": (78_072, 121_618 + 59_797)}
    for stage in recipe.stages[:3]:
        counted, weights = rows[stage.name], list(stage.mixture.values())
        assert stage.steps == pytest.approx(3 * sum(counted) / (0.95 * stage.batch_size), abs=1)
        assert weights == pytest.approx([*(0.95 * count / sum(counted) for count in counted), 0.05], abs=1e-3)
    grpo = recipe.stages[3]
    prompts = grpo.batch_size // grpo.generations
    assert (prompts, grpo.steps) == (128, pytest.approx(78_072 / (prompts * grpo.mixture["tree"]), abs=1))


def test_videmo_on_affectgpt_is_the_model_of_one_and_the_teaching_of_the_other():
    joined, affectgpt, videmo = (load_recipe(name) for name in ("videmo_affectgpt_7b", "affectgpt_7b", "videmo_7b"))
    published = {"pooling": "attention_paper", "fusion": "attention_paper"}
    assert joined.model.model_copy(update=published) == affectgpt.model
    machine = {"accumulation": 1, "gradient_checkpointing": False}
    for ours, theirs in zip(joined.stages, videmo.stages, strict=True):
        assert ours.model_copy(update=machine) == theirs.model_copy(update=machine)


def test_other_settings_that_the_recipes_name_are_settings():
    for name in SHIPPED:
        lines = re.findall(r"^  +\.\.\. (.+)$", opening(name).replace("\\\n", " "), re.MULTILINE)
        assert lines or name == "affectgpt_7b"
        for line in lines:
            load_recipe(name, shlex.split(line))


def test_affectgpt_sees_as_many_rows_on_any_machine():
    seen = {
        stage.steps * stage.batch_size
        for _, overrides in launch_lines("affectgpt_7b")
        for stage in load_recipe("affectgpt_7b", overrides).stages
    }
    assert seen == {900_000}


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe(path):
    recipe = load_recipe(path.stem)
    assert str(recipe.output) == f"runs/{path.stem}"
    for stage in recipe.planned:
        assert set(stage.mixture) <= set(TASKS)
        assert sum(stage.mixture.values()) == pytest.approx(1)
    assert "title" in yaml.safe_load(path.read_text())
