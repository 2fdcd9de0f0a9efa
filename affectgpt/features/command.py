"""The commands `affectgpt features ...`: compute the features of frozen towers, check them, count them, prune them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoConfig

from affectgpt.clip import Clip, read_clips
from affectgpt.features.prune import prune
from affectgpt.features.shard import list_shards
from affectgpt.features.sources import BadSample, fill_store, find_missing, require_settings
from affectgpt.features.store import FeatureStore
from affectgpt.media_root import add_media_root
from affectgpt.model.clip_encoder import ClipEncoder, encoding_settings, fingerprint
from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.loading import load_processor, model_folder, require_model
from affectgpt.model.processing import AffectGPTProcessor
from affectgpt.problems import InputError, Problem
from affectgpt.progress import Progress

_BUILD_NOTES = """
Stored features are kept: after an interruption, the same command computes the missing ones. Clips that cannot be used
are listed with their rows; the exit code is 2 if none could be used, else 0 (always 0 for one process of several).

Several processes, on one machine or on many that share the store's folder, each do their share independently:
  torchrun --nproc-per-node 4 -m affectgpt features build ROWS --model DIR --store DIR
  deepspeed --no_local_rank --module affectgpt features build ROWS --model DIR --store DIR
"""


class Model(NamedTuple):
    """Saved model without its weights: its folder, and the settings that its features depend on."""

    folder: Path
    config: AffectGPTConfig
    processor: AffectGPTProcessor

    @property
    def settings(self) -> dict[str, Any]:
        """Settings that its features depend on, besides the clips."""
        return encoding_settings(self.config, self.processor)


def open_model(folder: Path) -> Model:
    """Open the model in a folder; for a LoRA adapter, its base model.

    Raises:
        InputError: there is no model, or it takes no features.
    """
    folder = Path(model_folder(folder))
    require_model(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    if not isinstance(config, AffectGPTConfig):
        raise InputError(
            f"{folder}: expected an AffectGPT model, got a {config.model_type}. Its encoders are part of it and their "
            "features are not stored: train it without building any."
        )
    return Model(folder, config, load_processor(folder))


def build_main(argv: list[str]) -> int:
    """Compute the features of all clips that are not in the store yet."""
    options = _parse_build(argv)
    share = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = _pick_device(options.device)
    files = _read_rows(options.rows, options.media_root)
    model = open_model(options.model)
    began = time.monotonic()
    with FeatureStore(options.store) as store:
        clips = [clip for clips in files.values() for clip in clips]
        missing = find_missing(clips, model.config, model.processor, store, share)
        bad = list(missing.unreadable)
        if missing.media:
            encoder = ClipEncoder.from_pretrained(model.folder, device)
            bad += fill_store(missing, encoder, store, options.timeout, options.workers, Progress("clips"))
    total, found = len(missing.rows), len(missing.keys) - len(missing.media)
    report = {
        "clips": total,
        "found": found,
        "built": total - found - len(bad),
        "bad": len(bad),
        "seconds": round(time.monotonic() - began, 3),
        "store": str(options.store),
    }
    for problem in _located(bad, files):
        print(problem, file=sys.stderr)
    if options.bad_samples is not None:
        path = options.bad_samples
        path = path.with_stem(f"{path.stem}.{share[0]}") if share[1] > 1 else path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(sample.to_json()) + "\n" for sample in bad), encoding="utf-8")
    counts = f"{report['found']} found, {report['built']} computed, {report['bad']} unusable"
    whose = f"Process {share[0]} of {share[1]}: " if share[1] > 1 else ""
    print(f"{whose}{total} clips in {report['seconds']:.0f} s: {counts}.", file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    # A launcher would stop the other processes too, which may find better clips in their shares.
    return 2 if bad and len(bad) == total and share[1] == 1 else 0


def verify_main(argv: list[str]) -> int:
    """Read a whole store and list its damage; with a model and rows, count the clips whose features it holds."""
    parser = argparse.ArgumentParser(prog="affectgpt features verify", description=verify_main.__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the features")
    parser.add_argument("rows", nargs="*", type=Path, metavar="ROWS", help="row files (JSONL) to look up")
    parser.add_argument("--model", type=Path, metavar="DIR", help="model whose features of the rows to look up")
    _add_common(parser)
    options = parser.parse_intermixed_args(argv)
    if bool(options.rows) != bool(options.model):
        raise InputError(Problem("features verify", "its use", "--model and ROWS together", "only one of them"))
    store = _open_store(options.store)
    damages = store.verify()
    for damage in damages:
        whose = f" (key {damage.key})" if damage.key else ""
        print(f"{damage.shard}: offset {damage.offset}: {damage.what}{whose}", file=sys.stderr)
    stats = store.stats()
    report: dict[str, Any] = {
        "entries": stats["entries"],
        "shards": stats["shards"],
        "damage": [
            {"shard": str(item.shard), "offset": item.offset, "key": item.key, "what": item.what} for item in damages
        ],
    }
    print(f"{options.store}: {stats['entries']} entries, {len(damages)} damaged regions.", file=sys.stderr)
    if options.model:
        model = open_model(options.model)
        require_settings(store, model.settings)
        clips = [clip for clips in _read_rows(options.rows, options.media_root).values() for clip in clips]
        keys = find_missing(clips, model.config, model.processor, store).keys.values()
        found = sum(store.get(key) is not None for key in keys)
        report |= {"clips": len(keys), "found": found, "missing": len(keys) - found}
        print(f"{len(keys)} clips of the rows: {found} stored, {len(keys) - found} missing.", file=sys.stderr)
    if options.json:
        print(json.dumps(report))
    is_whole = all(damage.is_tail for damage in damages)
    if not is_whole:
        print(f"Remove the damage with: affectgpt features prune {shlex.quote(str(store.folder))}", file=sys.stderr)
    return 0 if is_whole else 2


def stats_main(argv: list[str]) -> int:
    """Describe a store: entries, bytes, damage, and the towers and settings behind its features."""
    parser = argparse.ArgumentParser(prog="affectgpt features stats", description=stats_main.__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the features")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    store = _open_store(options.store)
    stats, described = store.stats(), store.descriptions()
    if options.json:
        settings = [
            {"fingerprint": known, "entries": count, "settings": described.get(known)}
            for known, count in stats["fingerprints"].items()
        ]
        counts = {name: value for name, value in stats.items() if name != "fingerprints"}
        print(json.dumps({"store": str(options.store), **counts, "settings": settings}))
        return 0
    print(f"{options.store}: {stats['entries']} entries, {stats['bytes'] / 1e6:.1f} MB in {stats['shards']} shards")
    print(
        f"unused: {stats['damaged_bytes']} bytes damaged, {stats['torn_bytes']} cut off, "
        f"{stats['duplicates']} duplicates"
    )
    for known, count in stats["fingerprints"].items():
        print(f"{count} with settings {known[:12] or 'unknown'}: {in_words(described.get(known, {}))}")
    return 0


def prune_main(argv: list[str]) -> int:
    """Remove damage and duplicates from a store, and features that none of the named models and rows uses."""
    parser = argparse.ArgumentParser(prog="affectgpt features prune", description=prune_main.__doc__)
    parser.add_argument("store", type=Path, metavar="STORE", help="folder of the features")
    models = "keep only the features of these models (default: all settings)"
    parser.add_argument("--keep-model", type=Path, nargs="+", default=[], metavar="DIR", help=models)
    rows = "with --keep-model: keep only the clips of these row files (JSONL)"
    parser.add_argument("--keep-rows", type=Path, nargs="+", default=[], metavar="ROWS", help=rows)
    parser.add_argument("--dry-run", action="store_true", help="report what would be removed, and remove nothing")
    _add_common(parser)
    options = parser.parse_args(argv)
    if options.keep_rows and not options.keep_model:
        fix = "The features of a clip depend on the model."
        raise InputError(Problem("--keep-rows", "its use", "--keep-model with it", "none", fix))
    store = _open_store(options.store)
    opened = [open_model(folder) for folder in options.keep_model]
    fingerprints = {fingerprint(model.settings) for model in opened}
    if fingerprints and not fingerprints & store.stats()["fingerprints"].keys():
        raise InputError(
            f"{options.store}: expected features of {', '.join(map(str, options.keep_model))}, got only those of "
            f"other settings, and would remove all. Compare with 'affectgpt features stats {options.store}', or remove "
            "the folder."
        )
    keys = None
    if options.keep_rows:
        clips = [clip for clips in _read_rows(options.keep_rows, options.media_root).values() for clip in clips]
        looked_up = [find_missing(clips, model.config, model.processor, store) for model in opened]
        keys = {key for found in looked_up for key in found.keys.values()}
    done = prune(store, keys, fingerprints or None, dry_run=options.dry_run)
    would = "would be " if options.dry_run else ""
    left = f"; {done['shards_left_alone']} shards in use left alone" if done["shards_left_alone"] else ""
    print(
        f"{done['kept']} entries kept; {would}removed: {done['removed']} entries, {done['duplicates']} duplicates, "
        f"{done['damaged_bytes']} damaged bytes; {done['freed_bytes'] / 1e6:.1f} MB {would}freed{left}.",
        file=sys.stderr,
    )
    if options.json:
        print(json.dumps({"store": str(options.store), "dry_run": options.dry_run, **done}))
    return 0


def in_words(settings: dict[str, Any]) -> str:
    """Describe the settings of an encoder in one line."""
    parts = []
    for name in ("vision", "audio"):
        if (part := settings.get(name)) is None:
            continue
        layers = f"layers {' '.join(map(str, part['layers']))}" if part["layers"] else "its own output"
        if name == "vision":
            of = f"{part['num_frames']} frames of {' and '.join(s for s in settings['streams'] if s != 'audio')}"
        elif part["sampling"] == "windows":
            of = f"{part['num_windows']} windows of {part['window_s']:g} s"
        else:
            of = f"{part['num_windows']} spans"
        weights = f" {part['weights'][:8]}" if part["weights"] else ""
        parts.append(f"{name} {part['model_type']}{weights}, {layers}, {of}")
    return "; ".join(parts) or "not described"


def _parse_build(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="affectgpt features build",
        description=f"{build_main.__doc__}\n{_BUILD_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="+", type=Path, metavar="ROWS", help="row files (JSONL)")
    parser.add_argument(
        "--model", required=True, type=Path, metavar="DIR", help="saved model whose towers compute the features"
    )
    parser.add_argument("--store", required=True, type=Path, metavar="DIR", help="folder of the features")
    beside = int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("LOCAL_SIZE") or 1)
    workers = max(1, (os.cpu_count() or 1) // beside)
    parser.add_argument(
        "--workers", type=int, default=workers, metavar="N", help=f"number of decoding processes ({workers})"
    )
    parser.add_argument("--timeout", type=float, default=20.0, metavar="S", help="most seconds to decode one clip (20)")
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="device that runs the towers (auto)"
    )
    listed = (
        "file that lists unusable clips, one JSON object a line; each of several processes adds its number to the name"
    )
    parser.add_argument("--bad-samples", type=Path, metavar="FILE", help=listed)
    parser.add_argument(
        "--local_rank", help=argparse.SUPPRESS
    )  # set by launchers, which also set it in the environment
    _add_common(parser)
    options = parser.parse_intermixed_args(argv)
    problems = []
    if options.workers < 1:
        problems.append(Problem("--workers", "its value", "1 or more", str(options.workers)))
    if options.timeout <= 0:
        problems.append(Problem("--timeout", "its value", "more than 0 seconds", f"{options.timeout:g}"))
    if options.device == "cuda" and not torch.cuda.is_available():
        problems.append(Problem("--device", "its value", "cpu or auto, since there is no GPU", "cuda"))
    if problems:
        raise InputError(problems)
    return options


def _add_common(parser: argparse.ArgumentParser) -> None:
    add_media_root(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _pick_device(choice: str) -> str:
    if choice == "cpu" or not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def _read_rows(paths: Sequence[Path], media_root: Path | None) -> dict[Path, list[Clip]]:
    return {path: read_clips(path, media_root) for path in paths}


def _open_store(folder: Path) -> FeatureStore:
    if not list_shards(folder):
        fix = "Make one with: affectgpt features build ROWS --model DIR --store DIR"
        raise InputError(Problem(str(folder), "the store", "a folder of features", "none there", fix))
    return FeatureStore(folder)


def _located(bad: Sequence[BadSample], files: dict[Path, list[Clip]]) -> list[Problem]:
    """Make a problem for each clip that cannot be used, located at the first of its rows."""
    rows = {clip.id: f"row {clip.line} ({clip.id})" for clips in files.values() for clip in clips}
    file = {clip.id: path for path, clips in files.items() for clip in clips}
    problems = []
    for sample in bad:
        first, *others = sample.rows
        where = rows[first] + (f" and {len(others)} more" if others else "")
        problems.append(Problem(str(file[first]), where, "media that decode", sample.reason))
    return problems
