"""Preparation of a run before its first step: data, the untrained model, features. Done once, reused later.

Under a launcher every process calls `prepare` behind a file lock, not behind a collective: the first does the work, the
others reuse it, however long it takes.
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

import torch
from filelock import FileLock

from affectgpt.clip import Clip, count_clips
from affectgpt.evidence.cues import Cues
from affectgpt.features.file_hashes import ContentIndex
from affectgpt.features.sources import (
    BadSample,
    DecodedMedia,
    FeatureSource,
    OnlineFeatures,
    build_features,
    media_of,
    undecodable,
)
from affectgpt.features.store import FeatureStore
from affectgpt.inputs.open import open_encoder, open_reader, remember_inputs, require_readable, takes, wanted_of
from affectgpt.inputs.reader import Reader
from affectgpt.model.assemble import assemble
from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.loading import load_config, load_processor, model_folder, weight_files
from affectgpt.problems import InputError, Problem
from data_recipes.check.rows import load_rows
from data_recipes.synthetic import generate as synthetic
from data_recipes.synthetic.towers import WEIGHTS
from train.config.data import PARTS, DataConfig
from train.config.model import ModelConfig
from train.fingerprint import fingerprint
from train.monitor import Console
from train.recipe import Recipe
from train.run_folder import RunFolder
from train.stages.context import StageContext
from train.tiny_model import build_tiny


@dataclass(frozen=True, slots=True)
class Prepared:
    """Prepared run: rows by part ('train', 'rl', 'dev', 'test', 'text'), features, and the untrained model's folder."""

    clips: dict[str, list[Clip]]
    reader: Reader
    starting_model: Path
    fingerprint: str
    """Hash of everything that training depends on besides the stages."""
    v0_1_0: str
    """Fingerprint that v0.1.0 gave the same run; with it, that version's checkpoints are reused."""
    bad: int


def synthetic_settings(data: DataConfig) -> synthetic.Settings:
    """Return the settings with which a recipe draws synthetic data."""
    return synthetic.Settings(**(data.synthetic or {}))  # type: ignore[arg-type]


def notes_of(data: DataConfig) -> list[str]:
    """Return what readers of a report must know of its data: that they are synthetic, as their manifests say."""
    folders = [path.parent for part in PARTS if (path := getattr(data, part)) is not None]
    found = [synthetic.NOTE] if data.synthetic is not None else [synthetic.note_of(folder) for folder in folders]
    return list(dict.fromkeys(note for note in found if note))


def context_of(recipe: Recipe, prepared: Prepared, console: Console) -> StageContext:
    """Return the context that a run gives its stages."""
    return StageContext(
        folder=recipe.folder,
        model=recipe.model,
        rows=prepared.clips,
        reader=prepared.reader,
        console=console,
        seed=recipe.seed,
        evaluation=recipe.evaluation,
        merged=recipe.merged,
        deepspeed=recipe.deepspeed,
        wandb=recipe.wandb,
    )


def prepare(recipe: Recipe, console: Console) -> Prepared:
    """Make or reuse data, model and features; report all problems of all row files before a weight is loaded."""
    cache = recipe.folder.cache
    cache.mkdir(parents=True, exist_ok=True)
    recipe.output.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / ".lock"):
        console.begin("data")
        paths = _row_files(recipe.data, cache, console)
        loaded = load_rows(list(paths.values()), recipe.data.media_root)
        clips = dict(zip(paths, loaded, strict=True))
        _require_conversations(recipe, paths, clips)
        everything = [clip for part in clips.values() for clip in part]
        console.done(f"{count_clips(everything)} clips, {len(everything)} rows")

        console.begin("media")
        model = _starting_model(recipe.model, recipe.seed, cache, clips)
        processor = load_processor(model)
        reader, bad = _open_reader(recipe, model, processor, everything, console)
        total = len({media_of(clip) for clip in everything if clip.has_media})
        _report_bad(recipe.folder, recipe.data.bad_sample_budget, bad, total, console)
        console.done(f"{total - len(bad)} clips" + (f", {len(bad)} unusable" if bad else ""))
    index = ContentIndex(cache / "contents.jsonl")
    lost = {sample.media for sample in bad}
    usable = {part: [clip for clip in rows if media_of(clip) not in lost] for part, rows in clips.items()}
    contents = {part: hashlib.sha256(path.read_bytes()).hexdigest() for part, path in paths.items()}
    bad_files = sorted(sample.files for sample in bad)
    weights = _weights_hash(model, index)
    lora, evidence = str(recipe.model.lora), recipe.evidence.model_dump()
    v0_1_0 = fingerprint(contents, weights, bad_files, recipe.model.inputs, lora, evidence, recipe.seed)
    # How clips are read and prompts are written leaves no trace in the weights; where those lie does not matter.
    reading = recipe.model.model_dump(mode="json", exclude={"path", "config", "parts", "tiny", "attention"})
    now = fingerprint(contents, weights, bad_files, reading, evidence, recipe.seed)
    return Prepared(usable, reader, model, now, v0_1_0, len(bad))


def _require_conversations(recipe: Recipe, paths: dict[str, Path], clips: dict[str, list[Clip]]) -> None:
    """Refuse mixtures that draw rows without a conversation, naming the first such row of each task and file."""
    problems = []
    for stage in recipe.stages:
        for task, weight in stage.mixture.items() if stage.needs_conversations else ():
            for part in ("train", "text", "rl"):
                mute = [clip for clip in clips.get(part, []) if clip.task == task and not clip.messages]
                if weight > 0 and mute:
                    where = f"row {mute[0].line} ({mute[0].id}), field 'messages'"
                    expected = f"a conversation, for stage '{stage.name}' draws rows of task '{task}'"
                    got = f"none, here and in {len(mute) - 1} more rows"
                    fix = f"Leave '{task}' out of stages.{stage.name}.mixture."
                    problems.append(Problem(str(paths[part]), where, expected, got, fix))
    if problems:
        raise InputError(problems)


def _open_reader(
    recipe: Recipe, base: Path | str, processor: Any, clips: Sequence[Clip], console: Console
) -> tuple[Reader, list[BadSample]]:
    """Return the reader of rows for the model, and the clips that it cannot read."""
    workers, timeout_s = os.cpu_count() or 1, recipe.data.decode_timeout_s
    folder, settings = model_folder(base), recipe.model

    def show(done: int, count: int) -> None:
        console.show(f"{done}/{count} clips", done / count)

    require_readable(processor, clips)
    remember_inputs(processor, settings.inputs, settings.num_frames, settings.fps)
    config: Any = load_config(folder)
    source: FeatureSource | DecodedMedia
    if takes(processor) == "features" and recipe.data.features != "online":
        source, bad = build_features(
            clips,
            config,
            processor,
            FeatureStore(recipe.data.store or recipe.folder.cache / "features"),
            lambda: ClipEncoder.from_pretrained(folder, _device()),
            timeout_s,
            workers,
            show,
            recipe.data.reader,
        )
    else:
        wanted = wanted_of(processor, config, settings.num_frames, settings.fps, recipe.data.reader)
        bad = undecodable(clips, wanted, workers, timeout_s, show, recipe.folder.cache / "decoded.txt")
        encoder = open_encoder(processor, folder, _device())
        if encoder is not None:
            source = OnlineFeatures(encoder, workers, timeout_s, recipe.data.reader)
        else:
            source = DecodedMedia(wanted, workers, timeout_s)
    cues = Cues(**recipe.evidence.model_dump())
    return open_reader(processor, source, settings.inputs, cues, settings.max_pixels), bad


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _row_files(data: DataConfig, cache: Path, console: Console) -> dict[str, Path]:
    if data.synthetic is None:
        given = {part: getattr(data, part) for part in PARTS}
        return {part: path for part, path in given.items() if path is not None}
    settings = synthetic_settings(data)
    folder = data.folder or cache / f"synthetic-{fingerprint(synthetic.FORMAT, asdict(settings))}"
    synthetic.generate(
        settings, folder, progress=lambda done, count: console.show(f"filming {done}/{count} clips", done / count)
    )
    return {part: folder / f"{part}.jsonl" for part in PARTS if (folder / f"{part}.jsonl").stat().st_size}


def _starting_model(settings: ModelConfig, seed: int, cache: Path, clips: dict[str, list[Clip]]) -> Path:
    """Return the folder of the untrained model, which is built unless the recipe names one."""
    if settings.path is not None:
        return Path(settings.path)
    shape: Any = settings.model_dump(mode="json", exclude={"inputs", "lora", "dtype", "attention", "max_pixels", "fps"})
    texts: Sequence[Clip] = []
    if settings.tiny is not None:
        texts = [*clips["train"], *clips.get("text", [])]
        towers = json.loads((WEIGHTS / "manifest.json").read_text())
        shape = [shape, towers, [(clip.subtitle, clip.messages) for clip in texts]]
    folder = cache / f"base-{fingerprint(shape, seed)}"
    if not folder.is_dir():
        draft = folder.with_suffix(".part")
        shutil.rmtree(draft, ignore_errors=True)
        if settings.parts is not None:
            given = settings.parts
            assemble(
                draft,
                given.llm,
                given.vision,
                given.audio,
                {str(part): revision for part, revision in given.revisions.items()},
                settings.prompt_style,
                seed,
                **settings.fusion_settings(),
            )
        else:
            build_tiny(settings, texts, WEIGHTS, seed, draft, folder)
        draft.rename(folder)
    return folder


def _weights_hash(folder: Path, index: ContentIndex) -> str:
    """Return the hash of a model folder's weights; for a model of the Hub, of its name."""
    return fingerprint(sorted(index.hashes(weight_files(folder)).values()) or str(folder))


def _report_bad(folder: RunFolder, budget: float, bad: Sequence[BadSample], total: int, console: Console) -> None:
    """Name every unusable clip; stop if their share of all clips exceeds the budget."""
    path = folder.bad_samples
    path.write_text("".join(json.dumps(sample.to_json()) + "\n" for sample in bad))
    named = [f"{', '.join(sample.files)} (row {sample.rows[0]}): {sample.reason}" for sample in bad]
    if len(bad) > budget * total:
        raise InputError(
            [f"unusable: {text}" for text in named],
            advice=f"{len(bad)} of {total} clips cannot be used, more than data.bad_sample_budget allows "
            f"({budget:.0%}). Listed in {path}. Repair or remove them, or raise the budget.",
        )
    for text in named:
        console.say(f"      unusable: {text}")
