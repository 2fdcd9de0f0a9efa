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

import torch
from filelock import FileLock
from transformers import AutoConfig

from affectgpt.clip import Clip
from affectgpt.evidence.prompting import Cues
from affectgpt.features.file_hashes import ContentIndex
from affectgpt.features.sources import (
    BadSample,
    DecodedMedia,
    FeatureSource,
    OnlineFeatures,
    build_features,
    media_of,
    undecodable,
    wanted_by,
)
from affectgpt.features.store import FeatureStore
from affectgpt.inputs.reader import ClipReader, Reader
from affectgpt.inputs.vlm_reader import HubReader, wanted_by_hub_model
from affectgpt.model.assemble import assemble
from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.loading import load_processor, model_folder
from affectgpt.model.processing import AffectGPTProcessor
from affectgpt.problems import InputError, Problem
from data_recipes.check.rows import load_rows
from data_recipes.synthetic import generate as synthetic
from data_recipes.synthetic.towers import WEIGHTS
from train.config.sections import PARTS, Recipe
from train.monitor import Console
from train.tiny_model import build_tiny


@dataclass(frozen=True, slots=True)
class Prepared:
    """Rows by part ('train', 'rl', 'dev', 'test', 'text'), features, and where the untrained model lies."""

    clips: dict[str, list[Clip]]
    reader: Reader
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
        _require_conversations(recipe, paths, clips)
        everything = [clip for part in clips.values() for clip in part]
        console.done(
            f"{len({clip.video or clip.image for clip in everything if clip.has_media})} clips, {len(everything)} rows"
        )

        console.begin("media")
        base = _base_model(recipe, cache, clips)
        processor = load_processor(base)
        reader, bad = _open_reader(recipe, base, processor, everything, console)
        total = len({media_of(clip) for clip in everything if clip.has_media})
        _report_bad(recipe, bad, total, console)
        console.done(f"{total - len(bad)} clips" + (f", {len(bad)} unusable" if bad else ""))
    index = ContentIndex(cache / "contents.jsonl")
    lost = {sample.media for sample in bad}
    usable = {part: [clip for clip in rows if media_of(clip) not in lost] for part, rows in clips.items()}
    contents = {part: hashlib.sha256(path.read_bytes()).hexdigest() for part, path in paths.items()}
    bad_files = sorted(sample.files for sample in bad)
    weights = _weights_hash(base, index)
    settings = recipe.model.inputs, str(recipe.model.lora), recipe.evidence.model_dump(), recipe.seed
    fingerprint = digest(contents, weights, bad_files, *settings)
    return Prepared(usable, reader, base, fingerprint, len(bad))


def _require_conversations(recipe: Recipe, paths: dict[str, Path], clips: dict[str, list[Clip]]) -> None:
    """Refuse mixtures that draw rows without a conversation; names the first such row of each task and file."""
    problems = []
    for stage in recipe.stages:
        for task, weight in stage.mixture.items():
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
    """What reads rows for the model, and the clips that it cannot read."""
    workers, timeout_s = os.cpu_count() or 1, recipe.data.decode_timeout_s
    cues = Cues(**recipe.evidence.model_dump())

    def show(done: int, count: int) -> None:
        console.show(f"{done}/{count} clips", done / count)

    if not isinstance(processor, AffectGPTProcessor):
        wanted = wanted_by_hub_model(processor, recipe.model.num_frames, recipe.model.fps, recipe.data.reader)
        # A checkpoint's processor remembers how its clips were sampled.
        processor.video_processor.num_frames, processor.video_processor.fps = recipe.model.num_frames, recipe.model.fps
        media = DecodedMedia(wanted, workers, timeout_s)
        bad = undecodable(clips, wanted, workers, timeout_s, show)
        return HubReader(processor, media, recipe.model.inputs, recipe.model.max_pixels, cues), bad
    folder = model_folder(base)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    processor.inputs = list(recipe.model.inputs)
    source: FeatureSource
    if recipe.data.features == "online":
        encoder = ClipEncoder.from_pretrained(folder, _device())
        bad = undecodable(clips, wanted_by(config, processor, recipe.data.reader), workers, timeout_s, show)
        source = OnlineFeatures(encoder, workers, timeout_s, recipe.data.reader)
    else:
        store = FeatureStore(recipe.data.store or cache_of(recipe) / "features")
        source, bad = build_features(
            clips,
            config,
            processor,
            store,
            lambda: ClipEncoder.from_pretrained(folder, _device()),
            timeout_s,
            workers,
            show,
            recipe.data.reader,
        )
    return ClipReader(processor, source, cues=cues), bad


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


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
    """Where the untrained model lies; it is made there if it is not one that the recipe names."""
    settings = recipe.model
    if settings.path is not None:
        return Path(settings.path)
    shape: Any = settings.model_dump(mode="json", exclude={"inputs", "lora", "dtype", "attention", "max_pixels", "fps"})
    texts: Sequence[Clip] = []
    if settings.tiny is not None:
        texts = [*clips["train"], *clips.get("text", [])]
        towers = json.loads((WEIGHTS / "manifest.json").read_text())
        shape = [shape, towers, [(clip.subtitle, clip.messages) for clip in texts]]
    folder = cache / f"base-{digest(shape, recipe.seed)}"
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
                recipe.seed,
                **settings.fusion_settings(),
            )
        else:
            build_tiny(settings, texts, WEIGHTS, recipe.seed, draft, folder)
        draft.rename(folder)
    return folder


def _weights_hash(folder: Path, index: ContentIndex) -> str:
    """Hash of a model folder's weights; of its name for a model of the Hub."""
    return digest(sorted(index.hashes(folder.glob("*.safetensors")).values()) or str(folder))


def _report_bad(recipe: Recipe, bad: Sequence[BadSample], total: int, console: Console) -> None:
    """Name every unusable clip; stop beyond the budget."""
    path = recipe.output / "bad_samples.jsonl"
    path.write_text("".join(json.dumps(sample.to_json()) + "\n" for sample in bad))
    named = [f"{', '.join(sample.files)} (row {sample.rows[0]}): {sample.reason}" for sample in bad]
    if len(bad) > recipe.data.bad_sample_budget * total:
        raise InputError(
            [f"unusable: {text}" for text in named],
            advice=f"{len(bad)} of {total} clips cannot be used, more than data.bad_sample_budget allows "
            f"({recipe.data.bad_sample_budget:.0%}). Listed in {path}. Mend or remove them, or raise the budget.",
        )
    for text in named:
        console.say(f"      unusable: {text}")
