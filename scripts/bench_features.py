"""Times reading features from the store beside computing them, and the cost of the store when they are first computed.

python scripts/bench_features.py [--quick]

pipeline_paper_encoders  clips a second: read from the store; decoded and encoded by towers of the size of CLIP ViT-L/14
                         and HuBERT-large (8 frames, 8 windows of 2 s), with weights drawn at random
first_epoch_overhead     seconds to fill a store; the same without the store's own work (hashing the media, writing,
                         flushing to the disk), with the small towers that we ship, for which its share is largest
store_read_28KiB         clips a second, 8 x 768 and 8 x 1024 in half precision; from a safetensors file for each clip
epoch_demo_model         seconds of a supervised epoch of the demo's model: features stored; computed in every batch
memory_drift_5000        by how many MB the process grows over 5000 reads

All of it runs in one process, in alternating rounds. What is read was written just before, so that it comes from memory
and not from the disk.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
from _bench import alternate, compare, report
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    HubertConfig,
    Qwen3Config,
    Wav2Vec2FeatureExtractor,
)

from affectgpt.clip import Clip, read_clips
from affectgpt.features.sources import OnlineFeatures, StoredFeatures, build_features, fill_store, find_missing
from affectgpt.features.store import FeatureStore
from affectgpt.inputs.reader import ClipReader
from affectgpt.model.clip_encoder import ClipEncoder, weights_hash
from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.loading import load_model
from affectgpt.model.processing import AffectGPTProcessor
from data_recipes.synthetic.generate import Settings, generate
from data_recipes.synthetic.towers import WEIGHTS
from train.recipe_file import load_recipe
from train.stages.dataset import StageDataset, SupervisedCollator
from train.tiny_model import build_tiny, train_tokenizer

TIMEOUT_S = 300.0
WORKERS = os.cpu_count() or 1
BATCH = 24


def film(folder: Path, clips: int) -> list[Clip]:
    """Generate rows of the demo's training data: several about each of that many clips."""
    generate(Settings(clips=clips, rl_clips=1, dev_clips=1, test_clips=1, text_rows=1), folder)
    return read_clips(folder / "train.jsonl")


def one_row_each(rows: Sequence[Clip], clips: int) -> list[Clip]:
    """Select the first row about each of the first clips."""
    return list({row.video: row for row in reversed(rows) if row.video}.values())[:clips]


def paper_encoder() -> ClipEncoder:
    """Build untrained towers of the size of the paper's."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=768,
    )
    audio = HubertConfig(
        hidden_size=1024,
        num_hidden_layers=24,
        num_attention_heads=16,
        intermediate_size=4096,
        conv_bias=True,
        do_stable_layer_norm=True,
        feat_extract_norm="layer",
    )
    towers: dict[str, Any] = {
        "vision": CLIPVisionModelWithProjection(vision),
        "audio": AutoModel.from_config(audio, trust_remote_code=False),
    }
    config = AffectGPTConfig(
        text_config=Qwen3Config(),
        vision_config=vision,
        audio_config=audio,
        num_frames=8,
        num_audio_windows=8,
        audio_sampling="windows",
        audio_window_s=2.0,
        audio_layers=[-4, -3, -2, -1],
        sources={name: {"hash": weights_hash(tower)} for name, tower in towers.items()},
    )
    processor = AffectGPTProcessor(CLIPImageProcessorPil(), Wav2Vec2FeatureExtractor(), train_tokenizer(["?"], 260))
    return ClipEncoder(config, processor, {name: tower.eval() for name, tower in towers.items()})


def stored_and_online(
    encoder: ClipEncoder, rows: Sequence[Clip], folder: Path
) -> tuple[StoredFeatures, OnlineFeatures]:
    """Build both sources of the features of rows."""
    store = FeatureStore(folder)
    stored, bad = build_features(rows, encoder.config, encoder.processor, store, lambda: encoder, TIMEOUT_S, WORKERS)
    assert not bad
    return stored, OnlineFeatures(encoder, WORKERS, TIMEOUT_S)


def time_pipeline(rows: Sequence[Clip], folder: Path, rounds: int) -> dict[str, Any]:
    """Measure clips a second with the paper's towers. Filling the store has warmed up all but the second sandbox."""
    stored, online = stored_and_online(paper_encoder(), rows, folder)
    online.media.of(rows)
    seconds = [(seconds_of(stored.of, rows), seconds_of(online.of, rows)) for _ in range(rounds)]
    online.media.close()
    rates = [len(rows) / median(values) for values in zip(*seconds, strict=True)]
    return compare("pipeline_paper_encoders", "clips/s", *rates, more_is_better=True)


def seconds_of(work: Callable[..., object], *args: object) -> float:
    """Time a call in seconds."""
    began = time.perf_counter()
    work(*args)
    return time.perf_counter() - began


def time_filling(encoder: ClipEncoder, rows: Sequence[Clip], folder: Path, rounds: int) -> dict[str, Any]:
    """Measure the seconds to fill a store, and how many of them are not the store's; medians by their share."""
    measured = []
    for number in range(rounds):
        spent = 0.0

        def timed(work: Callable[..., Any], *args: Any) -> Any:
            nonlocal spent
            began = time.perf_counter()
            result = work(*args)
            spent += time.perf_counter() - began
            return result

        store = FeatureStore(folder / str(number))
        for name in ("put", "describe", "close"):
            setattr(store, name, partial(timed, getattr(store, name)))
        began = time.perf_counter()
        missing = timed(find_missing, rows, encoder.config, encoder.processor, store)
        fill_store(missing, encoder, store, TIMEOUT_S, WORKERS)
        store.close()
        whole = time.perf_counter() - began
        measured.append((whole, whole - spent))
    measured.sort(key=lambda pair: pair[1] / pair[0])
    return compare("first_epoch_overhead", "s", *measured[len(measured) // 2])


def time_reading(folder: Path, rounds: int, clips: int) -> dict[str, Any]:
    """Measure clips a second from a store and from files."""
    features = {"face_features": torch.randn(8, 768).half(), "audio_features": torch.randn(8, 1024).half()}
    keys = [f"{number:064x}" for number in range(clips)]
    folder.mkdir()
    with FeatureStore(folder / "store") as store:
        for key in keys:
            store.put(key, features)
            save_file(features, folder / f"{key}.safetensors")

    def read_store() -> None:
        for key in keys:
            store.get(key)

    def read_files() -> None:
        for key in keys:
            load_file(folder / f"{key}.safetensors")

    seconds = alternate(read_store, {"files": read_files}, rounds)
    rates = [clips / seconds[name] for name in ("ours", "files")]
    return compare("store_read_28KiB", "clips/s", *rates, more_is_better=True)


def measure_drift(folder: Path, reads: int = 5000) -> dict[str, Any]:
    """Measure in MB how much the process grows while it reads the store that `time_reading` left."""
    store = FeatureStore(folder / "store")
    keys = store.keys()
    process = psutil.Process()
    for number in range(reads + 100):
        if number == 100:
            before = process.memory_info().rss
        store.get(keys[number % len(keys)])
    return compare(f"memory_drift_{reads}", "MB", (process.memory_info().rss - before) / 2**20)


def time_epoch(base: Path, encoder: ClipEncoder, rows: Sequence[Clip], folder: Path, rounds: int) -> dict[str, Any]:
    """Time an epoch over rows in seconds: read, forward, backward, step."""
    model = load_model(base, dtype="float32").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    stored, online = stored_and_online(encoder, rows, folder)

    def epoch(source: StoredFeatures | OnlineFeatures) -> None:
        reader = ClipReader(encoder.processor, source, ("video", "audio", "text"))
        data, collator = StageDataset(rows, [[index] for index in range(len(rows))], reader), SupervisedCollator(reader)
        for start in range(0, len(rows), BATCH):
            batch = collator(data.__getitems__(range(start, min(start + BATCH, len(rows)))))
            model(**batch).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    seconds = alternate(lambda: epoch(stored), {"online": lambda: epoch(online)}, rounds)
    online.media.close()
    return compare("epoch_demo_model", "s", seconds["ours"], seconds["online"])


def main() -> None:
    """Generate clips, run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="run fewer rounds and clips: within a minute")
    quick = parser.parse_args().quick
    rounds, clips = (1, 8) if quick else (5, 96)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = film(folder / "clips", clips)
        reading = time_reading(folder / "reading", rounds, clips=1000)
        drift = measure_drift(folder / "reading")
        recipe, base = load_recipe("demo"), folder / "base"
        build_tiny(recipe.model, rows, WEIGHTS, 0, base, base)
        small = ClipEncoder.from_pretrained(base)
        filling = time_filling(small, one_row_each(rows, clips), folder / "filling", rounds)
        epoch = time_epoch(base, small, one_row_each(rows, clips), folder / "epoch", rounds)
        few = one_row_each(rows, 1 if quick else 4)
        pipeline = time_pipeline(few, folder / "paper", 1 if quick else 3)
    report([pipeline, filling, reading, epoch, drift], rounds, ["torch", "transformers", "safetensors", "av", "numpy"])


if __name__ == "__main__":
    main()
