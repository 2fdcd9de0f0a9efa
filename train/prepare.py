"""What a run needs before its first step: data, the untrained model, features. Done once, found again later.

Under a launcher every process calls `prepare` behind a file lock, not behind a collective: the first does the work, the
others find it done, however long it takes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from transformers import AutoModelForImageTextToText, AutoProcessor

from affectgpt.clip import Clip
from affectgpt.features import FeatureStore, FeatureTable, build_features
from affectgpt.model import AffectGPTForConditionalGeneration
from affectgpt.problems import InputError
from affectgpt.reader import ClipReader
from data_recipes.synthetic import generate as synthetic
from data_recipes.synthetic.towers import WEIGHTS
from train.base import build_tiny
from train.check import load_rows
from train.config import PARTS, Recipe
from train.monitor import Console


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows by part ('train', 'rl', 'dev', 'test', 'text'), features, and where the untrained model lies."""

    clips: dict[str, list[Clip]]
    reader: ClipReader
    base: Path
    fingerprint: str
    """Hash of everything that training depends on besides the stages."""
    bad: int


def digest(*parts: Any) -> str:
    """A short name for any JSON values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def cache_of(recipe: Recipe) -> Path:
    """What runs beside each other share: synthetic data, features, untrained models."""
    return recipe.output.parent / "cache"


def synthetic_settings(recipe: Recipe) -> synthetic.Settings:
    """The generator's settings of a recipe."""
    return synthetic.Settings(**(recipe.data.synthetic or {}))  # type: ignore[arg-type]


def prepare(recipe: Recipe, console: Console) -> Prepared:
    """Make or find everything; all problems of all row files are reported before a weight is loaded."""
    cache = cache_of(recipe)
    cache.mkdir(parents=True, exist_ok=True)
    recipe.output.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):
        console.begin("data")
        paths = _row_files(recipe, cache, console)
        loaded = load_rows(list(paths.values()), recipe.data.media_root)
        clips = dict(zip(paths, loaded, strict=True))
        everything = [clip for part in clips.values() for clip in part]
        console.done(f"{len({clip.video for clip in everything if clip.has_media})} clips, {len(everything)} rows")

        console.begin("features")
        base = _base_model(recipe, cache, clips)
        processor = AutoProcessor.from_pretrained(base)
        model = AutoModelForImageTextToText.from_pretrained(base)
        assert isinstance(model, AffectGPTForConditionalGeneration)
        table = build_features(
            everything,
            model.model,
            processor,
            FeatureStore(cache / "features"),
            timeout_s=recipe.data.decode_timeout_s,
            workers=os.cpu_count() or 1,
            progress=lambda done, count: console.show(f"{done}/{count} clips", done / count),
        )
        _report_bad(recipe, table, console)
        console.done(f"{len(table.features)} clips" + (f", {len(table.bad)} unusable" if table.bad else ""))
    usable = {part: table.usable(rows) for part, rows in clips.items()}
    contents = {part: hashlib.sha256(path.read_bytes()).hexdigest() for part, path in paths.items()}
    bad = sorted(name for sample in table.bad for name in sample.rows)
    fingerprint = digest(contents, _weights_hash(base), bad, recipe.model.inputs, str(recipe.model.lora), recipe.seed)
    return Prepared(usable, ClipReader(processor, table, recipe.model.inputs), base, fingerprint, len(table.bad))


def _row_files(recipe: Recipe, cache: Path, console: Console) -> dict[str, Path]:
    if recipe.data.synthetic is None:
        given = {part: getattr(recipe.data, part) for part in PARTS}
        return {part: path for part, path in given.items() if path is not None}
    settings = synthetic_settings(recipe)
    folder = recipe.data.folder or cache / f"synthetic-{digest(synthetic.FORMAT, asdict(settings))}"
    synthetic.generate(
        settings, folder, progress=lambda done, count: console.show(f"filming {done}/{count} clips", done / count)
    )
    return {part: folder / f"{part}.jsonl" for part in PARTS if (folder / f"{part}.jsonl").stat().st_size}


def _base_model(recipe: Recipe, cache: Path, clips: dict[str, list[Clip]]) -> Path:
    if recipe.model.path is not None:
        return Path(recipe.model.path)
    texts: Sequence[Clip] = [*clips["train"], *clips.get("text", [])]
    towers = json.loads((WEIGHTS / "manifest.json").read_text())
    settings = recipe.model.model_dump(mode="json", exclude={"inputs", "lora"})
    name = digest(settings, towers, recipe.seed, [(clip.subtitle, clip.messages) for clip in texts])
    folder = cache / f"base-{name}"
    if not folder.is_dir():
        draft = folder.with_suffix(".part")
        shutil.rmtree(draft, ignore_errors=True)
        build_tiny(recipe.model, texts, WEIGHTS, recipe.seed, draft)
        draft.rename(folder)
    return folder


def _weights_hash(folder: Path) -> str:
    """Hash of a model folder's weights; of its name for a model of the Hub."""
    files = sorted(folder.glob("*.safetensors"))
    return digest([hashlib.sha256(file.read_bytes()).hexdigest() for file in files] or str(folder))


def _report_bad(recipe: Recipe, table: FeatureTable, console: Console) -> None:
    """Name every unusable clip; stop beyond the budget."""
    path = recipe.output / "bad_samples.jsonl"
    path.write_text("".join(json.dumps(sample.to_json()) + "\n" for sample in table.bad))
    total = len(table.bad) + len(table.features)
    named = [f"{', '.join(sample.files)} (row {sample.rows[0]}): {sample.reason}" for sample in table.bad]
    if len(table.bad) > recipe.data.bad_sample_budget * total:
        raise InputError(
            [f"unusable: {text}" for text in named],
            advice=f"{len(table.bad)} of {total} clips cannot be used, more than data.bad_sample_budget allows "
            f"({recipe.data.bad_sample_budget:.0%}). Listed in {path}. Mend or remove them, or raise the budget.",
        )
    for text in named:
        console.say(f"      unusable: {text}")
