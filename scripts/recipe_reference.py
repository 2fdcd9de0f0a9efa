"""Writes docs/recipe.md, the reference of all keys of a recipe, from the settings themselves.

python scripts/recipe_reference.py
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined, to_jsonable_python

from data_recipes.synthetic.generate import Settings
from train.config.data import DataConfig
from train.config.evaluation import EvaluationConfig, EvidenceConfig
from train.config.hub import HubConfig
from train.config.model import FusionSettings, LoraSettings, ModelConfig, PartsConfig, TinyConfig
from train.recipe import Recipe
from train.stages.empathy import SelectionConfig
from train.stages.grpo_settings import RewardConfig
from train.stages.kind import StageKind
from train.stages.kinds import KINDS
from train.stages.supervised import SupervisedSettings

PAGE = Path(__file__).parents[1] / "docs/recipe.md"
INTRODUCTION = """\
# Keys of a recipe

A recipe is one YAML file; `affectgpt train RECIPE key=value ...` changes keys on the command line, by their path here:
`seed=1`, `model.lora.r=32`, `stages.grpo.steps=10` (a stage by its name). `recipe.yaml` in the folder of a run lists
every key with the value that the run had. Unknown keys and values out of range are errors, each with its line.

Relative paths, in the recipe and on the command line, are relative to the folder in which the command runs, not to the
recipe. Media paths inside row files are relative to the row file, or to `data.media_root`.

This page is written by `python scripts/recipe_reference.py`.
"""
WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", Any: "anything"}
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def page() -> str:
    """Return the text of the page."""
    own = {name: [key for key in cls.model_fields if key not in StageKind.model_fields] for name, cls in KINDS.items()}
    supervised = [name for name in SupervisedSettings.model_fields if name not in StageKind.model_fields]
    model = [name for name in ModelConfig.model_fields if name not in FusionSettings.model_fields]
    model += list(FusionSettings.model_fields)
    kinds = [name for name, cls in KINDS.items() if issubclass(cls, SupervisedSettings)]
    parts = [
        INTRODUCTION,
        *section("The whole", Recipe),
        *section("`data`: rows", DataConfig, "Either `synthetic`, or `train` and any other row files (docs/data.md)."),
        synthetic(),
        *section(
            "`model`: what is trained", ModelConfig, "One of `path`, `parts` and `tiny`; see [models.md](models.md)."
        ),
        *section("`model.parts`", PartsConfig),
        *section("`model.tiny`", TinyConfig),
        *section("`model.lora`", LoraSettings),
        *section("`stages`: settings of every kind", StageKind, f"A list; `kind` is one of {', '.join(KINDS)}."),
        *section(f"`stages` of kind {' and '.join(kinds)}", SupervisedSettings, names=supervised),
    ]
    for kind, cls in KINDS.items():
        if names := [name for name in own[kind] if kind not in kinds or name not in supervised]:
            parts += section(f"`stages` of kind {kind}", cls, names=names)
    parts += [
        *section("`stages[].rewards` of kind grpo", RewardConfig, "Further keys are settings of the reward."),
        *section("`stages[].selection` of kind empathy", SelectionConfig),
        *section("`evidence`", EvidenceConfig),
        *section("`evaluation`", EvaluationConfig),
        *section("`hub`", HubConfig, "See [hub.md](hub.md)."),
    ]
    return "\n".join(parts)


def section(title: str, cls: type[BaseModel], note: str = "", names: Sequence[str] | None = None) -> Iterator[str]:
    """Yield the lines of a section: its title, a note, and a table of keys."""
    yield f"## {title}\n"
    if note:
        yield f"{note.replace('(docs/data.md)', '([data.md](data.md))')}\n"
    yield "| key | value | default | |\n|---|---|---|---|"
    for name in names or cls.model_fields:
        field = cls.model_fields[name]
        text = " ".join((field.description or "").split()).replace("docs/grpo.md", "[grpo.md](grpo.md)")
        yield f"| `{name}` | {value_of(field)} | {default_of(field)} | {cell(text)} |"
    yield ""


def synthetic() -> str:
    """Return the list of the keys of synthetic data with their defaults."""
    keys = [f"`{name}` {field.default:g}" for name, field in Settings.__dataclass_fields__.items()]
    return (
        "## `data.synthetic`\n\nWhole numbers but for `label_noise`, a share of rows; "
        f"`affectgpt data synthetic --help` explains them: {', '.join(keys)}.\n"
    )


def value_of(field: FieldInfo) -> str:
    """Return the type of a key's value, and its bounds."""
    bounds = [
        f"{sign} {getattr(item, name):g}"
        for item in field.metadata
        for name, sign in BOUNDS.items()
        if hasattr(item, name)
    ]
    return " ".join([cell(words_of(field.annotation)), ", ".join(bounds)]).strip()


def words_of(annotation: Any) -> str:
    """Return a type in words."""
    if annotation in WORDS:
        return WORDS[annotation]
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{item}`" for item in inner)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(dict.fromkeys(words_of(item) for item in inner if item is not type(None)))
    if origin is tuple:
        items = [words_of(item) for item in inner if item is not ...]
        plural = items[0] if "`" in items[0] or items[0].endswith("s") else f"{items[0]}s"
        return f"list of {plural}" if ... in inner else f"list of {len(items)} {plural}"
    if origin is dict:
        return f"{words_of(inner[0])} → {words_of(inner[1])}"
    if origin is typing.Annotated:
        return "sections"
    return "section"


def default_of(field: FieldInfo) -> str:
    """Return the default of a key as a recipe would spell it."""
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "**required**"
    if default is None:
        return ""
    if isinstance(default, BaseModel):
        return "`{}`"
    return cell(f"`{json.dumps(to_jsonable_python(default, exclude_none=True), ensure_ascii=False)}`")


def cell(text: str) -> str:
    """Return a text that does not end the cell of a table."""
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
