"""Recipe files: one YAML file describes a run. All problems of a recipe are reported at once, before anything loads."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from affectgpt.encoding import decode, half_characters
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.settings import expectation
from train.recipe import Recipe
from train.stages.kinds import KINDS, keys_without_effect

RECIPES = Path(__file__).parent / "recipes"
Location = tuple[str | int, ...]
"""Names and indices that lead to a key of a recipe."""
_MOST_KEYS, _DEEPEST = 10_000, 20
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_NAMES = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:bool")
"""Kinds of keys: `on` is a truth value to YAML."""
_MISREAD = re.compile(r"[-+]?0[0-9_]+$|.*:")
"""Pattern of numbers that are octal or sexagesimal to YAML 1.1."""


def find_recipe(name: str | Path) -> Path:
    """Find a recipe's file by its path, or by its name in `train/recipes`."""
    path = Path(name)
    shipped = RECIPES / f"{path.name}.yaml"
    if not path.suffix and shipped.is_file():
        return shipped
    known = [item.stem for item in sorted(RECIPES.glob("*.yaml"))]
    return require_file(path, "a recipe", nearest(path.stem, known))


def load_recipe(
    name: str | Path, overrides: Sequence[str] = (), say: Callable[[str], object] = lambda text: None
) -> Recipe:
    """Read a recipe and apply `key=value` overrides; stages are addressed by name or by number.

    Args:
        say: called with a sentence for every key that has no effect in a stage of its kind.

    Raises:
        InputError: with every problem: keys that do not exist (and the nearest that do), values of the wrong type or
            out of range, each with its line.
    """
    path = find_recipe(name)
    text = decode(path.read_bytes(), path, "YAML")
    if isinstance(text, Problem):
        raise InputError(text)
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        lines = _line_numbers(root)
        if problems := _misleading(str(path), root):
            raise InputError(problems)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(Problem(str(path), "the file", "YAML", str(error).replace("\n", " "))) from None
    if not isinstance(values, dict):
        raise InputError(Problem(str(path), "the file", "a mapping", shorten(values)))
    for override in overrides:
        values = _override(values, override)
    try:
        recipe = Recipe(**values)
    except ValidationError as failure:
        raise InputError([_problem(str(path), error, lines) for error in _errors(failure, values)]) from None
    for sentence in keys_without_effect(values["stages"]):
        say(sentence)
    return recipe


def save_recipe(recipe: Recipe, path: Path) -> None:
    """Write a recipe with every default spelt out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False), encoding="utf-8")


def _override(values: dict[str, Any], text: str) -> dict[str, Any]:
    key, equals, raw = text.partition("=")
    if not equals:
        raise InputError(f"override '{text}': expected key=value, for example seed=1 or stages.grpo.steps=10")
    section: Any = values
    names = key.split(".")
    for position, name in enumerate(names):
        last = position == len(names) - 1
        if isinstance(section, list):
            named = [item.get("name", index) if isinstance(item, dict) else index for index, item in enumerate(section)]
            stages = {str(item): index for index, item in enumerate(named)}
            stages |= {str(index): index for index in range(len(section))}
            if name not in stages:
                raise InputError(f"override '{text}': no stage '{name}'. {nearest(name, stages)}")
            name = stages[name]  # type: ignore[assignment]
        elif not isinstance(section, dict):
            raise InputError(f"override '{text}': '{'.'.join(names[:position])}' has no parts")
        if last:
            try:
                root = yaml.compose(raw, Loader=yaml.SafeLoader)
                _line_numbers(root)
                if problems := _misleading(f"override '{text}'", root):
                    raise InputError(problems)
                section[name] = yaml.safe_load(raw)
            except (yaml.YAMLError, RecursionError):
                raise InputError(f"override '{text}': the value is not YAML") from None
        else:
            if isinstance(section, dict) and section.get(name) is None:
                section[name] = {}
            section = section[name]
    return values


def _line_numbers(root: yaml.Node | None) -> dict[Location, int]:
    """Return the line of every key of a YAML document, by its location.

    Raises:
        YAMLError: there are more keys than aliases of aliases should make, or a node contains itself.
    """
    lines: dict[Location, int] = {}
    left: list[tuple[Location, yaml.Node | None]] = [((), root)]
    while left:
        location, node = left.pop()
        if len(lines) > _MOST_KEYS or len(location) > _DEEPEST:
            raise yaml.YAMLError(f"more than {_MOST_KEYS:,} keys, or {_DEEPEST} inside each other")
        keys: list[tuple[Any, yaml.Node, yaml.Node]] = []
        if isinstance(node, yaml.MappingNode):
            keys = [(str(key.value), key, value) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            keys = [(index, value, value) for index, value in enumerate(node.value)]
        lines |= {(*location, name): shown.start_mark.line + 1 for name, shown, _ in keys}
        left += [((*location, name), value) for name, _, value in keys]
    return lines


def _misleading(file: str, root: yaml.Node | None) -> list[Problem]:
    """Return a problem for all that YAML takes without a word and reads otherwise than it looks.

    Of a key twice the last counts (yaml/pyyaml#165); 010 is 8, and 12:30 is 750.
    """
    problems: list[tuple[int, Problem]] = []
    left: list[tuple[Location, yaml.Node | None]] = [((), root)]
    seen: set[int] = set()
    while left:
        location, node = left.pop()
        if node is None or id(node) in seen:  # an alias shares its node
            continue
        seen.add(id(node))
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, value in node.value:
                if key.tag not in _NAMES:
                    where, shown = (
                        f"line {key.start_mark.line + 1}",
                        shorten(key.value) if key.id == "scalar" else "a list",
                    )
                    problems.append((line, Problem(file, where, "a name as key", shown, "Put it in quotes.")))
                name, line = str(key.value), key.start_mark.line + 1
                left.append(((*location, name), value))
                if name in first:
                    where = f"line {line}, '{'.'.join(map(str, (*location, name)))}'"
                    got = f"one that line {first[name]} has too"
                    problems.append((line, Problem(file, where, "a key used once", got, "Remove one of the two.")))
                first.setdefault(name, line)
        elif isinstance(node, yaml.SequenceNode):
            left += [((*location, index), value) for index, value in enumerate(node.value)]
        elif isinstance(node, yaml.ScalarNode) and [*half_characters(node.value)]:
            where = f"line {line}, '{'.'.join(map(str, location))}'"
            problems.append((line, Problem(file, where, "whole characters", "half of one (\\ud800 to \\udfff)")))
        elif isinstance(node, yaml.ScalarNode) and _is_misread(node):
            where = f"line {line}, '{'.'.join(map(str, location))}'"
            got = f"{node.value}, which YAML reads as {yaml.safe_load(node.value)}"
            problems.append((line, Problem(file, where, "a number in decimals, or a text in quotes", got)))
    return [problem for _, problem in sorted(problems, key=lambda item: item[0])]


def _is_misread(node: yaml.ScalarNode) -> bool:
    return node.tag in _NUMBERS and node.style is None and _MISREAD.match(node.value) is not None


def _errors(failure: ValidationError, values: dict[str, Any]) -> Iterator[Any]:
    """Yield every error of a recipe, also those in stages of an unknown kind.

    Of such a stage pydantic reports the kind alone, so that it is validated again as one of the nearest kind.
    """
    of_no_kind = [error for error in failure.errors() if error["type"].startswith("union_tag")]
    if not of_no_kind:
        yield from failure.errors()
        return
    stages = list(values["stages"])
    for error in of_no_kind:
        index = int(error["loc"][1])
        near = get_close_matches(str(stages[index].get("kind")), KINDS, n=1) or [*KINDS]
        stages[index] = {**stages[index], "kind": near[0]}
        missing = error["type"] == "union_tag_not_found"
        named = {"type": "missing"} if missing else {"type": "kind", "input": values["stages"][index]["kind"]}
        yield {**named, "loc": (*error["loc"], "kind")}
    try:
        Recipe(**{**values, "stages": stages})
    except ValidationError as rest:
        yield from rest.errors()


def _problem(file: str, error: Any, lines: dict[Location, int]) -> Problem | str:
    loc = tuple(error["loc"])
    location = _without_kind(loc)
    line = next((lines[location[:size]] for size in range(len(location), 0, -1) if location[:size] in lines), 1)
    where = f"line {line}, '{'.'.join(map(str, location)) or 'the recipe'}'"
    if error["type"] == "extra_forbidden":
        return Problem(file, where, "a known key", "an unknown one", nearest(loc[-1], _fields_at(Recipe, loc[:-1])))
    if error["type"] == "missing":
        return Problem(file, where, "a value", "nothing")
    if error["type"] == "kind":
        *first, last = (f"'{kind}'" for kind in KINDS)
        return Problem(file, where, f"{', '.join(first)} or {last}", shorten(error["input"]))
    if error["type"] == "value_error":  # one of ours, a sentence by itself
        return f"{file}: {where}: {error['ctx']['error']}"
    message = expectation(error)
    got = "something else" if isinstance(error["input"], dict) else shorten(error["input"])
    fix = "YAML reads no, off, on and yes so: put the word in quotes." if isinstance(error["input"], bool) else ""
    return Problem(file, where, message, got, fix)


def _without_kind(loc: Location) -> Location:
    """Return the location of a key in the file: pydantic puts the kind of a stage behind its index."""
    is_stage = len(loc) > 2 and loc[0] == "stages" and loc[2] in KINDS
    return (*loc[:2], *loc[3:]) if is_stage else loc


def _fields_at(section: type[BaseModel], loc: Location) -> list[str]:
    """Return the names of the keys that a recipe may have at a location, as pydantic gives it."""
    if _without_kind(loc) != loc:
        section, loc = KINDS[str(loc[2])], loc[3:]
    for name in loc:
        if isinstance(name, int):
            continue
        section = _section_in(section.model_fields[name].annotation)
    return list(section.model_fields)


def _section_in(annotation: Any) -> type[BaseModel]:
    """Find the section inside an annotation such as `TinyConfig | None`."""
    if typing.get_origin(annotation) in (tuple, typing.Union, types.UnionType):
        found = [item for item in typing.get_args(annotation) if isinstance(item, type) and item is not type(None)]
        return _section_in(found[0])
    assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation
