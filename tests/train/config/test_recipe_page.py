"""The reference of a recipe's keys: written from the settings, and never stale."""

from __future__ import annotations

import re
import runpy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from tests.support.commands import ROOT
from train.recipe import Recipe
from train.recipe_file import load_recipe
from train.stages.kinds import KINDS


@pytest.fixture(scope="module")
def page() -> Callable[[], str]:
    """What the script would write."""
    return runpy.run_path(str(ROOT / "scripts/recipe_reference.py"))["page"]


def test_the_page_is_what_the_script_writes(page):
    expected = page()
    assert (ROOT / "docs/recipe.md").read_text(encoding="utf-8") == expected, "run: python scripts/recipe_reference.py"


def test_every_key_of_a_resolved_recipe_is_on_the_page():
    text = (ROOT / "docs/recipe.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))

    free = ("synthetic", "mixture", "rewards", "plugins", "num_tokens", "config", "configs", "revisions")

    def keys(value: Any) -> Iterator[str]:
        for name, item in value.items() if isinstance(value, dict) else ():
            yield name
            if name not in free:
                yield from keys(item)
        for item in value if isinstance(value, list) else ():
            yield from keys(item)

    for name in ("demo", "affectgpt_7b", "videmo_7b", "hef_7b"):
        assert set(keys(load_recipe(name).model_dump(mode="json"))) <= listed, name
    synthetic = yaml.safe_load((ROOT / "train/recipes/demo.yaml").read_text())["data"]["synthetic"]
    assert all(f"`{name}` " in text for name in synthetic)


@pytest.mark.parametrize("cls", [Recipe, *KINDS.values()])
def test_every_key_says_what_it_is(cls: type[BaseModel]):
    assert [name for name, field in cls.model_fields.items() if name != "kind" and not field.description] == []
