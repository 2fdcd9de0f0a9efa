"""`affectgpt demo`: the whole main job on the embedded default."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from affectgpt.problems import InputError
from eval.metrics.evaluation import number


def main(argv: list[str]) -> int:
    """Draw clips, train a small model on them by curriculum and GRPO, and report its scores."""
    parser = argparse.ArgumentParser(prog="affectgpt demo", description=main.__doc__)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to train/recipes/demo.yaml")
    parser.add_argument(
        "--ablate", action="store_true", help="also run the papers' ablations (about an hour on 2 cores)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of the ablations (3)")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    options = parser.parse_args(argv)
    if options.seeds < 1:
        raise InputError(f"--seeds: expected 1 or more, got {options.seeds}")
    from train.pipeline import run_recipe
    from train.recipe_file import load_recipe
    from train.stages.kinds import KINDS

    recipe = load_recipe("demo", options.overrides, lambda text: print(text, file=sys.stderr))
    if options.ablate:
        from train.ablate import run_ablations

        run_recipe(recipe)
        seeds = range(recipe.seed, recipe.seed + options.seeds)
        run_ablations(recipe, seeds, os.cpu_count() or 1, lambda text: print(text, file=sys.stderr, flush=True))
    report = run_recipe(recipe)
    if report is not None and options.json:
        print(json.dumps(report))
    elif report is not None:
        stages = [stage["metrics"] for stage in report["stages"] if KINDS[stage["kind"]].answers_clips]
        before, after = stages[-2:]
        print(
            f"\nOn {after['emotion_uar']['n']} clips of actors never seen: "
            f"emotion UAR {_shown(before['emotion_uar'])} after the supervised stages, "
            f"{_shown(after['emotion_uar'])} after GRPO; "
            f"tree similarity {_shown(before['tree_similarity'])}, then {_shown(after['tree_similarity'])}.\n"
            f"{_plugins(report)}"
            f"Open {recipe.folder.page} in a browser."
        )
    return 0


def _plugins(report: dict[str, Any]) -> str:
    found = [stage["empathy"] for stage in report["stages"] if "empathy" in stage]
    if not found:
        return ""
    scores = {name: metrics["accuracy"] for name, metrics in found[-1]["conditions"].items()}
    return (
        f"On {found[-1]['n']} dialogues: emotion {_shown(scores['no_plugin'])} by itself, {_shown(scores['plugin'])} "
        f"with the plugins, {_shown(scores['random_emotions'])} with false evidence.\n"
    )


def _shown(metric: dict[str, float | None]) -> str:
    value, low, high = (number(metric[key], 2) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
