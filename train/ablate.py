"""The ablations of the papers on a recipe: each a run of its own, over several seeds, pooled into one table.

Ablations stop after the supervised stages and are compared with `supervised`, the full recipe up to there; only
`no_tree_reward` goes on to GRPO, from the same checkpoints as `full`. A modality that is taken away is taken away in
training too; rows named `masked_...` merely hide one from the full model. Rows named `..._search` are answered by the
model of the row so named, by search (`videmo/search.py`) instead of greedily.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import torch

from affectgpt.clip import Clip
from affectgpt.inputs.reader import ClipReader
from eval.metrics.stats import Difference, compare, mean_tally
from eval.predict.answers import Prediction, answer_rows
from eval.report.scores import score
from train.config.model import FusionSettings
from train.model_setup import load_stage_model
from train.monitor import Console
from train.prepare import context_of, prepare
from train.recipe import Recipe
from train.recipe_file import save_recipe
from train.stages.context import StageContext
from train.stages.kinds import rewarded_stages
from train.stages.scores import read_predictions, scored_rows
from videmo.distance import tree_similarity
from videmo.scorers import likelihood
from videmo.search import SearchSettings, TreeSearch
from videmo.tree import parse_tree

MODALITIES = ("video", "audio", "text")
SEARCHES = {
    "search": TreeSearch(SearchSettings(n=4), likelihood),
    "search_bonus": TreeSearch(SearchSettings(n=4, node_bonus=0.02), likelihood),
}
"""Suffix of a row's name -> the search for its trees."""
COMPARED = [
    ("no_tree_reward", "full"),
    ("supervised", "full"),
    *((name, f"{name}_{search}") for name in ("supervised", "full") for search in SEARCHES),
]
"""Rows whose tree similarity is compared clip by clip."""
_Answers = tuple[list[Clip], list[Prediction]]


class _DoneRun(NamedTuple):
    """Finished run: its recipe, and the context of its stages."""

    recipe: Recipe
    context: StageContext


def variants(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """Return what each ablation changes in the recipe, by name; stages are left out."""
    inputs = {f"{name}_only": {"model": recipe.model.model_copy(update={"inputs": (name,)})} for name in MODALITIES}
    return {
        **inputs,
        "no_prefusion": {"model": recipe.model.model_copy(update={"fusion": "none"})},
        "no_curriculum": {"curriculum": False},
    }


def derive(recipe: Recipe, name: str, seed: int) -> Recipe:
    """Return the recipe of one run: `name` is 'full', 'no_tree_reward' or one of `variants`."""
    output = recipe.output.with_name(f"{recipe.output.name}-{name}-{seed}")
    common: dict[str, Any] = {"output": output, "seed": seed, "threads": 1, "hub": None}
    supervised = tuple(stage for stage in recipe.stages if stage.merges)
    if name == "full":
        return recipe.model_copy(update={**common, "stages": tuple(s for s in recipe.stages if s.answers_clips)})
    if name == "no_tree_reward":
        parent = derive(recipe, "full", seed).folder.checkpoint(supervised[-1].name)
        stages = [
            stage.model_copy(update={"rewards": {key: value for key, value in stage.rewards.items() if key != "tree"}})
            for stage in rewarded_stages(recipe.stages)
        ]
        built = {
            name: field.get_default(call_default_factory=True) for name, field in FusionSettings.model_fields.items()
        }
        model = recipe.model.model_copy(update={**built, "path": str(parent), "tiny": None})  # it is built already
        return recipe.model_copy(update={**common, "model": model, "stages": tuple(stages)})
    return recipe.model_copy(update={**common, "stages": supervised, **variants(recipe)[name]})


def run_ablations(recipe: Recipe, seeds: Sequence[int], workers: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run every ablation with every seed, `workers` at a time; returns `ablations.json` of the recipe's run.

    Writes `comparisons.json` beside it. Finished runs are reused: an interrupted call resumes where it stopped.
    """
    say(f"ablations: {len(variants(recipe)) + 2} x {len(seeds)} runs, {workers} at a time")
    for names in (["full", *variants(recipe)], ["no_tree_reward"]):
        jobs = [derive(recipe, name, seed) for seed in seeds for name in names]
        with ThreadPoolExecutor(workers) as pool:
            for done in pool.map(_run, jobs):
                say(f"ablations: {done.name} done")
    return tabulate(recipe, seeds)


def tabulate(recipe: Recipe, seeds: Sequence[int]) -> dict[str, Any]:
    """Score the finished runs of `run_ablations`, pooled over seeds."""
    rows = _rows_of_table(recipe)
    sources = dict.fromkeys(source for _, source, _ in rows)
    runs = {source: [_done_run(derive(recipe, source, seed)) for seed in seeds] for source in sources}
    answers = {name: _pooled(runs[source], stage) for name, source, stage in rows}
    full = runs["full"]
    for name, _, stage in rows:
        if name in ("supervised", "full"):
            for added, search in SEARCHES.items():
                answers[f"{name}_{added}"] = _answered_again(full, stage, search=search)
    for hidden in MODALITIES:
        inputs = [name for name in MODALITIES if name != hidden]
        answers[f"masked_{hidden}"] = _answered_again(full, -1, inputs)
    table = {name: dict(score(*pooled, resamples=1000).metrics) for name, pooled in answers.items()}
    compared = {f"{second} over {first}": _compare(answers[first], answers[second]) for first, second in COMPARED}
    recipe.folder.ablations.write_text(json.dumps(table, indent=2) + "\n")
    recipe.folder.comparisons.write_text(json.dumps(compared, indent=2) + "\n")
    return table


def _rows_of_table(recipe: Recipe) -> list[tuple[str, str, int]]:
    """Return each row's name, the runs that it pools, and the index of their stage: the last, or last supervised."""
    last = len([stage for stage in recipe.stages if stage.merges]) - 1
    rows = [("full", "full", -1), ("no_tree_reward", "no_tree_reward", -1), ("supervised", "full", last)]
    return [*rows, *((name, name, -1) for name in variants(recipe))]


def _run(recipe: Recipe) -> Path:
    """Run a recipe in a process of its own."""
    path = recipe.folder.ablation
    save_recipe(recipe, path)
    with recipe.folder.console.open("w") as log:
        done = subprocess.run([sys.executable, "-m", "train.run", str(path)], stdout=log, stderr=log, check=False)
    if done.returncode:
        raise RuntimeError(f"the run in {recipe.output} failed; its console.log says why")
    return recipe.output


def _done_run(recipe: Recipe) -> _DoneRun:
    console = Console({}, quiet=True)
    return _DoneRun(recipe, context_of(recipe, prepare(recipe, console), console))


def _pooled(runs: Sequence[_DoneRun], stage: int) -> _Answers:
    """Return the test rows and answers of several runs together; clips of one actor stay one cluster."""
    clips: list[Clip] = []
    predictions: list[Prediction] = []
    for recipe, context in runs:
        clips += scored_rows(context, "test")
        predictions += read_predictions(context.folder, recipe.planned[stage].name, "test")
    return clips, predictions


def _answered_again(
    runs: Sequence[_DoneRun], stage: int, inputs: Sequence[str] = MODALITIES, search: TreeSearch | None = None
) -> _Answers:
    """Answer tree rows again with a stage's model that is given some modalities only, or searches."""
    clips: list[Clip] = []
    predictions: list[Prediction] = []
    for recipe, context in runs:
        assert isinstance(context.reader, ClipReader)
        reader = ClipReader(context.reader.processor, context.reader.source, inputs, context.reader.cues)
        rows = [clip for clip in scored_rows(context, "test") if clip.task == "tree"]
        model = load_stage_model(context.folder.checkpoint(recipe.planned[stage].name), recipe.model)
        limits = recipe.evaluation.batch_size, recipe.evaluation.max_new_tokens
        torch.manual_seed(recipe.seed)
        clips += rows
        predictions += answer_rows(model, reader, rows, *limits, search=search)
    return clips, predictions


def _compare(first: _Answers, second: _Answers) -> Difference:
    """Compare the tree similarity of the second answers with that of the first: same clips, clustered by actor."""
    scored = []
    for clips, predictions in (first, second):
        pairs = [pair for pair in zip(clips, predictions, strict=True) if pair[0].task == "tree"]
        values = [tree_similarity(parse_tree(clip.answer), parse_tree(said["response"])) for clip, said in pairs]
        scored.append((mean_tally(values), [clip for clip, _ in pairs]))
    (one, asked), (other, same) = scored
    assert [clip.id for clip in asked] == [clip.id for clip in same]
    return compare(one, other, [clip.group or clip.id for clip in asked])
