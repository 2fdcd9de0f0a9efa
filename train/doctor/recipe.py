"""Checks of a machine for one recipe: its batches, its DeepSpeed configuration, and room for its checkpoints."""

from __future__ import annotations

import json
import shutil
from typing import Any

from affectgpt.problems import InputError
from train.doctor.findings import Check, Finding, Subject, existing


def check_batches(subject: Subject) -> Finding:
    """Check that the batches of every stage can be split over the processes."""
    from train.plan.estimate import split_batches

    assert subject.recipe is not None
    try:
        split_batches(subject.recipe.planned, subject.processes)
    except InputError as error:
        summary = "; ".join(map(str, error.problems))
        fix = "Change batch_size or accumulation of the stage, or the number of processes."
        return Finding("problem", summary, fix)
    return Finding("ok", f"every stage splits over {subject.processes} process{'es' * (subject.processes > 1)}")


def check_deepspeed_config(subject: Subject) -> Finding:
    """Check that the DeepSpeed configuration exists and is valid."""
    assert subject.recipe is not None
    path = subject.recipe.deepspeed
    if path is None:
        if subject.processes == 1:
            return Finding("ok", "none given")
        summary = "none given: every process holds the whole optimizer state"
        return Finding("warning", summary, "Pass one: deepspeed=deepspeed_configs/zero2.json")
    fix = "Use one that works: deepspeed=deepspeed_configs/zero2.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_duplicates)
    except OSError as error:
        return Finding("problem", f"{path}: {error.strerror}", fix)
    except ValueError as error:
        return Finding("problem", f"{path}: expected JSON, got {error}", fix)
    zero = content.get("zero_optimization", {}) if isinstance(content, dict) else None
    stage = zero.get("stage", 0) if isinstance(zero, dict) else None
    if stage not in (0, 1, 2, 3):
        return Finding("problem", f"{path}: zero_optimization.stage: expected 0, 1, 2 or 3, got {stage!r}", fix)
    return Finding("ok", f"{path}: ZeRO-{stage}")


def check_room(subject: Subject) -> Finding:
    """Check that there is room for the checkpoints of the recipe."""
    assert subject.recipe is not None
    folder = existing(subject.folder)
    free = shutil.disk_usage(folder).free
    if subject.recipe.model.tiny is not None:
        return Finding("ok", f"{free / 1e9:,.0f} GB free, more than a small model trained from scratch takes")
    try:
        needed = room_for(subject)
    except InputError as error:
        return Finding("ok", f"{free / 1e9:,.0f} GB free; the size of the checkpoints is unknown: {error}")
    summary = f"{needed / 1e9:,.1f} GB at most for the checkpoints, {free / 1e9:,.1f} GB free in {folder}"
    if needed > free:
        return Finding("problem", summary, "Free some space, or choose another folder: output=DIR")
    return Finding("ok", summary)


def room_for(subject: Subject) -> float:
    """Estimate the bytes that the checkpoints of the recipe take at most.

    That is the result of every stage and, while one runs, the trainer's newest checkpoints and the one being written:
    weights in float32 (only the trained ones of an adapter), a copy of what is trained, and its two moments.

    Raises:
        InputError: the configuration of the model cannot be found.
    """
    from train.fault_tolerance.checkpoint import KEPT
    from train.plan.estimate import Machine, make_plan

    assert subject.recipe is not None
    stages = make_plan(subject.recipe, Machine(gpus=1, nodes=1, gpu_bytes=80e9))["stages"]
    results, steps = 0.0, 0.0
    for stage in stages:
        count = stage["parameters"]
        saved = count["trained"] if subject.recipe.model.lora is not None else count["total"]
        results += 4.0 * saved
        steps = max(steps, 4.0 * saved + 12.0 * count["trained"])
    return results + (KEPT + 1) * steps


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; like DeepSpeed, refuse one with a repeated key."""
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"a repeated key: {', '.join(twice)}")
    return dict(pairs)


CHECKS: dict[str, Check] = {
    "batches": check_batches,
    "deepspeed config": check_deepspeed_config,
    "room": check_room,
}
