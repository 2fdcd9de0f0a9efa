"""What users rely on since v0.1.0 is still there and means the same; additions pass.

`public_surface_v0_1_0.json` was written from that version by `current_surface` below and is not edited: commands with
their options, entry-point groups, fields of rows, keys of a recipe and of `report.json`, documented imports, modules
that are started with `-m`. `recipe_v0_1_0.yaml` is a recipe as that version saved it, every default spelt out.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from affectgpt.clip import read_clips, write_clips
from data_recipes.synthetic.dialogues import dialogue_rows

HERE = Path(__file__).parent
FROZEN: dict[str, Any] = json.loads((HERE / "public_surface_v0_1_0.json").read_text())
IMPORTS = (
    "affectgpt.assistant:Assistant",
    "affectgpt.clip:Clip",
    "affectgpt.clip:read_clips",
    "affectgpt.clip:write_clips",
    "affectgpt.clip:FIELDS",
    "affectgpt.model:AffectGPTConfig",
    "affectgpt.model:AffectGPTForConditionalGeneration",
    "affectgpt.model:AffectGPTProcessor",
    "affectgpt.empathy.plugins:Plugin",
    "videmo.search:Scorer",
    "videmo.distance:Costs",
    "videmo.embedding_rename:EmbeddingRename",
    "videmo.caption_tree:read_caption",
    "train.config:Recipe",
    "train.run:entry",
)
GROUPS = ("affectgpt.commands", "affectgpt.plugins", "affectgpt.extractors")
VARYING = ("ablations", "versions", "dialogues", "labels", "counts", "examples", "baselines")
"""Keys of a report below which names depend on the run."""


class _Parsed(Exception):
    """The parser of a command, once it is complete."""


def options_of(command: str) -> dict[str, dict[str, Any]]:
    """Every option of a command by its spellings, with what is taken, expected and assumed."""

    def stop(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        raise _Parsed(parser)

    (entry,) = [entry for entry in entry_points(group="affectgpt.commands") if entry.name == command]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        patch.setattr(argparse.ArgumentParser, "parse_intermixed_args", stop)
        with pytest.raises(_Parsed) as found:
            entry.load()([])
    (parser,) = found.value.args
    simple = (int, float, str, Path)
    return {
        ", ".join(action.option_strings) or action.dest: {
            "action": type(action).__name__.strip("_"),
            "nargs": action.nargs,
            "required": action.required,
            "default": default_of(action),
            "choices": sorted(map(str, action.choices)) if action.choices else None,
            "type": action.type.__name__ if action.type in simple else None,
        }
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    }


def default_of(action: argparse.Action) -> int | float | str | None:
    """What an option is where it is not given; of a number of processes, which the machine decides, nothing."""
    if action.dest == "workers":
        return None
    return action.default if isinstance(action.default, int | float | None) else str(action.default)


def keys_of_recipes() -> dict[str, dict[str, Any]]:
    """Every key that a recipe may have, as a path such as `stages[].steps`, with its types, words and defaults."""
    schema = importlib.import_module("train.config").Recipe.model_json_schema()
    definitions = schema.get("$defs", {})
    found: dict[str, dict[str, list[Any]]] = {}

    def variants(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "$ref" in node:
            yield from variants(definitions[node["$ref"].rpartition("/")[2]])
        elif "anyOf" in node or "oneOf" in node:
            for item in node.get("anyOf", node.get("oneOf")):
                yield from variants(item)
        else:
            yield node

    def walk(path: str, node: dict[str, Any]) -> None:
        entry = found.setdefault(path, {"types": [], "words": [], "defaults": []})
        if "default" in node and node["default"] not in entry["defaults"]:
            entry["defaults"].append(node["default"])
        for item in variants(node):
            kinds = item.get("type", "any")
            entry["types"] += [kind for kind in [kinds] if kind not in entry["types"]]
            words = [*item.get("enum", []), *([item["const"]] if "const" in item else [])]
            entry["words"] += [word for word in words if word not in entry["words"]]
            for name, inner in item.get("properties", {}).items():
                walk(f"{path}.{name}".lstrip("."), inner)
            if isinstance(item.get("items"), dict):
                walk(f"{path}[]", item["items"])
            if isinstance(item.get("additionalProperties"), dict):
                walk(f"{path}.*", item["additionalProperties"])

    walk("", schema)
    del found[""]
    return found


def keys_of(value: Any, path: str = "") -> set[str]:
    """The paths of a JSON value; of lists those of all items, of what varies from run to run the name alone."""
    if isinstance(value, list):
        return {path}.union(*(keys_of(item, f"{path}[]") for item in value))
    if isinstance(value, dict) and path.rpartition(".")[2].removesuffix("[]") not in VARYING:
        return {path}.union(*(keys_of(item, f"{path}.{name}".lstrip(".")) for name, item in value.items())) - {""}
    return {path}


def current_surface() -> dict[str, Any]:
    """All but the keys of a report, which only a run shows."""
    groups = {group: sorted(entry.name for entry in entry_points(group=group)) for group in GROUPS}
    return {
        "commands": {name: options_of(name) for name in groups["affectgpt.commands"]},
        "groups": groups,
        "row": sorted(importlib.import_module("affectgpt.clip").FIELDS),
        "recipe": keys_of_recipes(),
    }


@pytest.fixture(scope="module")
def surface() -> dict[str, Any]:
    return current_surface()


def test_entry_points_and_fields_of_rows_are_there(surface):
    for group, names in FROZEN["groups"].items():
        assert set(names) <= set(surface["groups"][group]), group
    assert set(FROZEN["row"]) <= set(surface["row"])


@pytest.mark.parametrize("command", sorted(FROZEN["commands"]))
def test_a_command_takes_its_options(surface, command):
    options = surface["commands"][command]
    for name, meant in FROZEN["commands"][command].items():
        assert name in options, f"{command}: {name}"
        now = dict(options[name])
        if meant["choices"] is not None:
            assert now["choices"] is None or set(meant["choices"]) <= set(now["choices"]), f"{command}: {name}"
        assert now | {"choices": None} == meant | {"choices": None}, f"{command}: {name}"
    for name, added in options.items():
        assert name in FROZEN["commands"][command] or not added["required"], f"{command}: {name} is asked for now"


def test_a_recipe_has_its_keys(surface):
    for path, meant in FROZEN["recipe"].items():
        now = surface["recipe"].get(path)
        assert now is not None, path
        for what in ("types", "words", "defaults"):
            assert [value for value in meant[what] if value not in now[what]] == [], f"{path}: {what}"


def test_a_saved_recipe_loads_with_what_it_says():
    said = yaml.safe_load((HERE / "recipe_v0_1_0.yaml").read_text())
    means = importlib.import_module("train.config").Recipe(**said).model_dump(mode="json")
    assert {name: means[name] for name in said} | {"stages": []} == said | {"stages": []}
    for stage, now in zip(said["stages"], means["stages"], strict=True):
        assert {"name", "kind", "steps", "batch_size", "learning_rate", "mixture"} <= now.keys()
        assert {name: now[name] for name in stage if name in now} == {
            name: value for name, value in stage.items() if name in now
        }


@pytest.mark.parametrize("name", IMPORTS)
def test_a_documented_name_can_be_imported(name):
    module, _, attribute = name.partition(":")
    assert hasattr(importlib.import_module(module), attribute)


def test_modules_can_be_started():
    for name in ("affectgpt", "train.run", "train.doctor"):
        done = subprocess.run([sys.executable, "-m", name, "--help"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout[:6]) == (0, "usage:"), done.stderr
    towers = importlib.util.find_spec("data_recipes.synthetic.towers")  # makes weights, so that it is not started here
    assert 'if __name__ == "__main__":' in Path(towers.origin).read_text()


def test_a_report_has_its_keys(train, write_recipe, make_stage, data, tmp_path):
    paths = {part: data / f"surface-{part}.jsonl" for part in ("train", "test")}
    for part, path in paths.items():
        write_clips(path, [*read_clips(data / f"{part}.jsonl"), *dialogue_rows(1, part, 20)])
    plugins = {"emotion": {"encoder": "scratch", "epochs": 1}, "cause": {}}
    stages = [
        make_stage("attribute", steps=1, mixture={"attribute_closed": 1.0}),
        make_stage("empathy", "empathy", steps=1, mixture={"dialogue": 1.0}, plugins=plugins),
        make_stage("grpo", "grpo", steps=1),
    ]
    files = {**{part: str(path) for part, path in paths.items()}, "dev": str(data / "dev.jsonl")}
    recipe = write_recipe(tmp_path, stages, data=files)
    done = train(recipe, "--json")
    assert done.code == 0, done.err
    keys = keys_of(json.loads(done.out))
    assert sorted(set(FROZEN["report"]) - keys) == []
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert set(FROZEN["run_folder"]) - left == set()
