"""The table of the kinds of stages. No other file compares kinds: their classes hold what differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Field
from pydantic_core import to_jsonable_python

from train.fingerprint import fingerprint
from train.stages.empathy import EmpathyStage
from train.stages.grpo import GrpoStage
from train.stages.kind import StageKind
from train.stages.sft import SftStage

KINDS: dict[str, type[StageKind]] = {
    "sft": SftStage,
    "grpo": GrpoStage,
    "empathy": EmpathyStage,
}
_SETTINGS_OF_V0_1_0: dict[str, Any] = {
    "packing": None,
    "modality_dropout": 0.0,
    "evidence_dropout": 0.0,
    "evidence_corruption": 0.0,
    "plugins": {"emotion": {"encoder": "scratch"}, "cause": {}},
    "selection": {"mode": "score", "margin": 0.0, "fusion": 0.0},
    "generations": 8,
    "temperature": 1.0,
    "top_p": 1.0,
    "max_new_tokens": 128,
    "beta": 0.0,
    "loss_type": "dapo",
    "importance_sampling": "token",
    "num_iterations": 1,
    "epsilon": 0.2,
    "epsilon_high": None,
    "exchanges": 0,
    "reward_files": [],
    "reward_failure": "stop",
    "reward_limit_s": 600.0,
    "rewards": {"tree": {"weight": 1.0}, "format": {"weight": 0.2}, "label": {"weight": 0.25}},
}
"""Settings, at their defaults, that in v0.1.0 stages of all kinds had and that now belong to some kinds."""


def _own_keys(given: Any) -> Any:
    """Return a stage's settings without those that only other kinds have."""
    foreign = _foreign_keys(given)
    return {name: value for name, value in given.items() if name not in foreign} if foreign else given


def _foreign_keys(given: Any) -> dict[str, Any]:
    """Return the keys of a stage that only other kinds have, with their defaults there."""
    cls = KINDS.get(given["kind"]) if isinstance(given, Mapping) and isinstance(given.get("kind"), str) else None
    if cls is None:
        return {}
    return {name: default for name, default in _defaults().items() if name not in cls.model_fields}


@cache
def _defaults() -> dict[str, Any]:
    """Return the keys that only some kinds of stages have, with their defaults as JSON values."""
    return {
        name: to_jsonable_python(field.get_default(call_default_factory=True))
        for cls in KINDS.values()
        for name, field in cls.model_fields.items()
        if name not in StageKind.model_fields
    }


if TYPE_CHECKING:
    AnyStage = StageKind
else:
    AnyStage = Annotated[
        Annotated[Union[tuple(KINDS.values())], Field(discriminator="kind")],  # noqa: UP007  (of a table)
        BeforeValidator(_own_keys),
    ]
    """A stage of any kind, as a recipe has it: keys of other kinds are accepted, since v0.1.0 had them in every stage,
    and have no effect."""


def keys_without_effect(stages: Any) -> Iterator[str]:
    """Yield a sentence for every key of another kind that the stages of a recipe set to something.

    Args:
        stages: as the recipe file has them.
    """
    for stage in stages if isinstance(stages, Sequence) and not isinstance(stages, str) else ():
        for name, default in _foreign_keys(stage).items():
            if name in stage and stage[name] != default:
                yield f"stage '{stage.get('name')}': '{name}' has no effect in a stage of kind {stage['kind']}"


def fingerprint_of(parent: str, stage: StageKind, curriculum: bool) -> str:
    """Return the fingerprint of a stage's checkpoint: of its parent, settings and files, and whether it is merged."""
    return fingerprint(parent, stage.model_dump(mode="json"), stage.file_texts(), curriculum)


def v0_1_0_fingerprint(parent: str, stage: StageKind, curriculum: bool) -> str:
    """Return the fingerprint that v0.1.0 gave a stage's checkpoint; its stages had the settings of all kinds."""
    return fingerprint(parent, _SETTINGS_OF_V0_1_0 | stage.model_dump(mode="json"), curriculum)


def rewarded_stages(stages: Sequence[StageKind]) -> list[GrpoStage]:
    """Return the stages whose rewards a recipe can choose."""
    return [stage for stage in stages if isinstance(stage, GrpoStage)]
