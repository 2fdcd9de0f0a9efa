"""Recipes: one YAML file says what a run does. Every problem of a recipe is reported at once, before anything loads."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.settings import expectation
from train.config.sections import Recipe

RECIPES = Path(__file__).parents[1] / "recipes"
Place = tuple[str | int, ...]
"""Names and numbers that lead to a key of a recipe."""
_MOST_KEYS, _DEEPEST = 10_000, 20


def find_recipe(name: str | Path) -> Path:
    """A recipe's file: a path, or the name of one in `train/recipes`."""
    path = Path(name)
    shipped = RECIPES / f"{path.name}.yaml"
    if not path.suffix and shipped.is_file():
        return shipped
    known = [item.stem for item in sorted(RECIPES.glob("*.yaml"))]
    return require_file(path, "a recipe", nearest(path.stem, known))


def load_recipe(name: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and apply `key=value` overrides; stages are addressed by name or by number.

    Raises:
        InputError: with every problem: keys that do not exist (and the nearest that do), values of the wrong type or
            out of range, each with its line.
    """
    path = find_recipe(name)
    try:
        text = path.read_text(encoding="utf-8")
        lines = _line_numbers(yaml.compose(text, Loader=yaml.SafeLoader))
        values = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(Problem(str(path), "the file", "YAML", str(error).replace("\n", " "))) from None
    if not isinstance(values, dict):
        raise InputError(Problem(str(path), "the file", "a mapping", shorten(values)))
    for override in overrides:
        values = _override(values, override)
    try:
        return Recipe(**values)
    except ValidationError as errors:
        raise InputError([_problem(str(path), error, lines) for error in errors.errors()]) from None


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe with every default spelt out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _override(values: dict[str, Any], text: str) -> dict[str, Any]:
    key, equals, raw = text.partition("=")
    if not equals:
        raise InputError(f"override '{text}': expected key=value, for example seed=1 or stages.grpo.steps=10")
    place: Any = values
    names = key.split(".")
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if isinstance(place, list):
            stages = {str(item.get("name", index)): index for index, item in enumerate(place)}
            stages |= {str(index): index for index in range(len(place))}
            if name not in stages:
                raise InputError(f"override '{text}': no stage '{name}'. {nearest(name, stages)}")
            name = stages[name]  # type: ignore[assignment]
        elif not isinstance(place, dict):
            raise InputError(f"override '{text}': '{'.'.join(names[:position])}' has no parts")
        if last:
            try:
                place[name] = yaml.safe_load(raw)
            except yaml.YAMLError:
                raise InputError(f"override '{text}': the value is not YAML") from None
        else:
            if isinstance(place, dict) and place.get(name) is None:
                place[name] = {}
            place = place[name]
    return values


def _line_numbers(root: yaml.Node | None) -> dict[Place, int]:
    """Line of every key of a YAML document, by its path.

    Raises:
        YAMLError: so many that aliases of aliases must have made them, or one inside itself.
    """
    lines: dict[Place, int] = {}
    left: list[tuple[Place, yaml.Node | None]] = [((), root)]
    while left:
        place, node = left.pop()
        if len(lines) > _MOST_KEYS or len(place) > _DEEPEST:
            raise yaml.YAMLError(f"more than {_MOST_KEYS:,} keys, or {_DEEPEST} inside each other")
        found: list[tuple[Any, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            found = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            found = [(index, value, value) for index, value in enumerate(node.value)]
        lines |= {(*place, name): shown.start_mark.line + 1 for name, shown, _ in found}
        left += [((*place, name), value) for name, _, value in found]
    return lines


def _problem(file: str, error: Any, lines: dict[Place, int]) -> Problem | str:
    place = tuple(error["loc"])
    known = next((lines[place[:size]] for size in range(len(place), 0, -1) if place[:size] in lines), 1)
    where = f"line {known}, '{'.'.join(map(str, place)) or 'the recipe'}'"
    if error["type"] == "extra_forbidden":
        fields = _fields_at(Recipe, place[:-1])
        return Problem(file, where, "a known key", "an unknown one", nearest(place[-1], fields))
    if error["type"] == "missing":
        return Problem(file, where, "a value", "nothing")
    if error["type"] == "value_error":  # one of ours, a sentence by itself
        return f"{file}: {where}: {error['ctx']['error']}"
    message = expectation(error)
    got = "something else" if isinstance(error["input"], dict) else shorten(error["input"])
    return Problem(file, where, message, got)


def _fields_at(section: type[BaseModel], place: Place) -> list[str]:
    """Names of the keys that a recipe may have at a place."""
    for name in place:
        if isinstance(name, int):
            continue
        section = _section_in(section.model_fields[name].annotation)
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel]:
    """The section inside an annotation such as `tuple[StageConfig, ...]` or `TinyConfig | None`."""
    if typing.get_origin(annotation) in (tuple, typing.Union, types.UnionType):
        found = [item for item in typing.get_args(annotation) if isinstance(item, type) and item is not type(None)]
        return _section_in(found[0])
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation
