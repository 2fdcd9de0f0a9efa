"""Effect of plugins on a small language model, on EmpatheticDialogues' dev split (5,734 contexts of SHARED_DATA).

A fifth of the dialogues, grouped by their first turn, is held out for evaluation. A small model is trained from scratch
on the others twice: with evidence of plugins, which are trained on them too, and without any. Prints one JSON object:
for every seed and both models, what `eval.benchmarks.empathy.scores.evaluate` returns.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from affectgpt.clip import Clip, write_clips
from affectgpt.evidence.dialogue import rows_with_emotion
from train.pipeline import run_recipe
from train.recipe import Recipe

STEPS = 300
DROPOUT = {"with_evidence": 0.3, "alone": 1.0}
"""Model -> share of its training rows without evidence."""


def split(rows: list[Clip], seed: int) -> dict[str, list[Clip]]:
    """Split rows into train and test; no group is in both."""
    groups = sorted({str(row.group) for row in rows})
    kept = set(np.random.default_rng(seed).permutation(groups)[: len(groups) // 5].tolist())
    return {
        "train": [row for row in rows if row.group not in kept],
        "test": [row for row in rows if row.group in kept],
    }


def recipe_of(folder: Path, seed: int, name: str, threads: int) -> Recipe:
    """Return the recipe of a small model on the dialogues of a seed."""
    stage = {
        "name": "empathy",
        "kind": "empathy",
        "steps": STEPS,
        "batch_size": 32,
        "learning_rate": 1e-3,
        "betas": [0.9, 0.95],
        "warmup_ratio": 0.1,
        "mixture": {"dialogue": 1.0},
        "evidence_dropout": DROPOUT[name],
        "evidence_corruption": 0.1 if name == "with_evidence" else 0.0,
        "save_steps": 10_000,
    }
    return Recipe.model_validate(
        {
            "output": folder / name,
            "seed": seed,
            "threads": threads,
            "data": {part: folder / f"{part}.jsonl" for part in ("train", "test")},
            "model": {"tiny": {"vocab_size": 2048}},
            "stages": [stage],
            "evaluation": {"batch_size": 32, "examples": 0},
        }
    )


def run_seed(rows: list[Clip], out: Path, seed: int, models: list[str], threads: int) -> dict[str, Any]:
    """Train the models of a seed, and score them under every condition."""
    folder = out / f"seed{seed}"
    for part, chosen in split(rows, seed).items():
        write_clips(folder / f"{part}.jsonl", chosen)
    scores = {}
    for name in models:
        report = run_recipe(recipe_of(folder, seed, name, threads))
        assert report is not None
        scores[name] = report["stages"][-1]["empathy"]
    return scores


def main() -> None:
    """Run the seeds and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--models", nargs="+", choices=DROPOUT, default=list(DROPOUT))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    data = Path(os.environ.get("SHARED_DATA", ""), "empathetic_dialogues", "dev.jsonl")
    if not data.is_file():
        raise SystemExit("SHARED_DATA: expected the folder that holds empathetic_dialogues/dev.jsonl, found none.")
    rows = rows_with_emotion(data)
    seeds = {seed: run_seed(rows, options.out, seed, options.models, options.threads) for seed in options.seeds}
    json.dump(seeds, sys.stdout)
    print()


if __name__ == "__main__":
    main()
