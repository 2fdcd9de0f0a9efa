"""Recipes that would make objects, fill the memory, or switch on what nothing may switch on."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectgpt.problems import InputError
from train.recipe_file import RECIPES, load_recipe

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x: !!python/object/apply:pathlib.Path.touch ['{mark}']", "the tag 'tag:yaml.org,2002:python/object"),
        ("x: !!python/object/new:os.system ['touch {mark}']", "the tag 'tag:yaml.org,2002:python/object"),
        ("x: !!python/name:os.system", "the tag 'tag:yaml.org,2002:python/name"),
        ("x: !!python/module:os", "the tag 'tag:yaml.org,2002:python/module"),
        (LAUGHS, "more than 10,000 keys"),
        ("x: &x [*x]", "20 inside each other"),
        ("x: " + "[" * 5000 + "]" * 5000, "expected YAML"),
    ],
    ids=["apply", "new", "name", "module", "laughs", "circle", "deep"],
)
def test_yaml_makes_plain_values_alone(tmp_path: Path, text: str, words: str) -> None:
    mark = tmp_path / "it ran"
    path = tmp_path / "recipe.yaml"
    path.write_text(text.replace("{mark}", str(mark)))
    with pytest.raises(InputError, match=r"recipe\.yaml: the file: expected YAML") as caught:
        load_recipe(path)
    assert words in str(caught.value)
    assert not mark.exists()


def test_values_on_the_command_line_are_plain_too(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the value is not YAML"):
        load_recipe("demo", [f"seed=!!python/object/apply:pathlib.Path.touch ['{tmp_path / 'it ran'}']"])
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match=r"recipe\.yaml: line 1, byte 1: expected YAML in UTF-8, got UTF-16"):
        load_recipe(tmp_path / "recipe.yaml")


@pytest.mark.parametrize("place", ["", "model.", "model.parts.", "data.", "evaluation."])
def test_no_recipe_switches_on_code_of_a_model(tmp_path: Path, place: str) -> None:
    with pytest.raises(InputError, match="trust_remote_code': expected a known key"):
        load_recipe(RECIPES / "affectgpt_7b.yaml", [f"{place}trust_remote_code=true"])
