"""Generates the clips and rows of the synthetic data set. The same settings give the same labels and pixels.

OUT/
  clips/<split>/<name>.mp4      H.264 video and AAC voice
  clips/<split>/<name>.npy      (NUM_CROPS, CROP_SIZE, CROP_SIZE, 3) uint8, aligned face crops
  train.jsonl  rl.jsonl  dev.jsonl  test.jsonl  text.jsonl
  manifest.json                 settings and counts, written last: its presence means complete
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from affectgpt.clip import Clip, write_clips
from affectgpt.media.sandbox import WorkerContext, die_with_parent
from affectgpt.problems import InputError
from data_recipes.synthetic.dialogues import dialogue_rows
from data_recipes.synthetic.face import FPS, animate
from data_recipes.synthetic.lines import lines_for
from data_recipes.synthetic.rows import rows_of_clip, text_rows
from data_recipes.synthetic.voice import SAMPLE_RATE, loudness_per_frame, speak
from data_recipes.synthetic.world import (
    EMOTIONS,
    Annotation,
    Scene,
    annotate,
    annotate_automatically,
    draw_actor,
    draw_scene,
    stream,
)

FORMAT = 1
"""Version of the data, raised when the same settings would give other data."""

NOTE = (
    "Synthetic data: the people are drawn by a program and their voices are synthesised; no real person is in them. "
    "The scores say nothing about how well real people would be understood."
)
"""Note that readers of any figure on this data must see first; it stands in the manifest."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings that determine the data set.

    Clips are spread evenly over emotions and over the actors of their split. `rl_clips` come from training actors and
    keep their gold labels whatever `label_noise` is, like the human-labelled clips of AffectGPT-R1.
    """

    clips: int = 400
    rl_clips: int = 96
    dev_clips: int = 72
    test_clips: int = 144
    text_rows: int = 400
    dialogues: int = 0
    test_dialogues: int = 0
    train_actors: int = 32
    dev_actors: int = 6
    test_actors: int = 12
    label_noise: float = 0.0
    seed: int = 0
    first_actor: int = 0

    def __post_init__(self) -> None:
        counts = (
            *("clips", "rl_clips", "dev_clips", "test_clips", "text_rows", "dialogues", "test_dialogues"),
            *("seed", "first_actor"),
        )
        wrong = [f"{name} must be 0 or more, got {getattr(self, name)}" for name in counts if getattr(self, name) < 0]
        actors = ("train_actors", "dev_actors", "test_actors")
        wrong += [f"{name} must be 1 or more, got {getattr(self, name)}" for name in actors if getattr(self, name) < 1]
        if self.clips < 1:
            wrong.append("clips must be 1 or more, got 0")
        if not 0 <= self.label_noise <= 1:
            wrong.append(f"label_noise must be between 0 and 1, got {self.label_noise}")
        if wrong:
            raise InputError(wrong)


@dataclass(frozen=True, slots=True)
class Shot:
    """Clip to be rendered: its name, its file without suffix, its scene, and its annotation."""

    name: str
    part: str
    stem: str
    scene: Scene
    written: Annotation


def plan_shots(settings: Settings) -> list[Shot]:
    """Draw every clip of the data set without rendering it."""
    shots = []
    first = settings.first_actor
    casts = {
        "train": range(first, first + settings.train_actors),
        "dev": range(first + settings.train_actors, first + settings.train_actors + settings.dev_actors),
    }
    casts["rl"] = casts["train"]
    casts["test"] = range(casts["dev"].stop, casts["dev"].stop + settings.test_actors)
    counts = {
        "train": settings.clips,
        "rl": settings.rl_clips,
        "dev": settings.dev_clips,
        "test": settings.test_clips,
    }
    emotions = list(EMOTIONS)
    for part, count in counts.items():
        lines = lines_for("train" if part == "rl" else part)
        actors = [draw_actor(settings.seed, index) for index in casts[part]]
        order = stream(settings.seed, part, "order")
        # Emotions and actors are equally frequent; how they are combined is shuffled.
        feel = order.permutation(np.arange(count) % len(emotions))
        who = order.permutation(np.arange(count) % len(actors))
        for index in range(count):
            rng = stream(settings.seed, part, index)
            scene = draw_scene(rng, actors[who[index]], emotions[feel[index]], lines)
            written = annotate(scene)
            if part == "train":
                noise = stream(settings.seed, part, index, "noise")
                written = annotate_automatically(noise, written, settings.label_noise)
            name = f"{part}-{index:05d}"
            shots.append(Shot(name, part, f"clips/{part}/{name}", scene, written))
    return shots


def write_video(path: Path, frames: np.ndarray, wave: np.ndarray) -> None:
    """Write an MP4: H.264 from (F, H, W, 3) uint8 frames at FPS, AAC from (samples,) float32 at SAMPLE_RATE."""
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuv420p"
        # x264's macroblock tree reads uninitialised memory: with it, the same frames occasionally give other files.
        video.options = {"preset": "veryfast", "crf": "20", "threads": "1", "mbtree": "0"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode(None))
        for start in range(0, len(wave), 1024):
            block = av.AudioFrame.from_ndarray(wave[None, start : start + 1024], format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def film(shot: Shot, seed: int, folder: Path) -> None:
    """Render one clip into `folder`. Files appear under their names only when complete."""
    rng = stream(seed, shot.part, shot.name, "film")
    wave = speak(shot.scene, rng)
    num_frames = int(shot.scene.seconds * FPS)
    frames, crops = animate(shot.scene, loudness_per_frame(wave, num_frames), rng)
    stem = folder / shot.stem
    stem.parent.mkdir(parents=True, exist_ok=True)
    draft = stem.with_suffix(f".{os.getpid()}.part")
    write_video(draft, frames, wave)
    os.replace(draft, stem.with_suffix(".mp4"))
    with draft.open("wb") as file:
        np.save(file, crops)
    os.replace(draft, stem.with_suffix(".npy"))


def _film_many(shots: list[Shot], seed: int, folder: Path) -> int:
    cv2.setNumThreads(1)
    for shot in shots:
        film(shot, seed, folder)
    return len(shots)


def generate(settings: Settings, out: Path, workers: int | None = None, progress: Progress | None = None) -> Path:
    """Generate the data set in `out`; if its manifest has the same settings, it is already there.

    Args:
        workers: number of rendering processes; one per CPU by default.
        progress: callback with (clips done, clips in all).

    Returns:
        `out`.

    Raises:
        InputError: `out` holds something else or cannot be replaced, or `workers` is below 1.
    """
    if workers is not None and workers < 1:
        raise InputError(f"workers must be 1 or more, got {workers}")
    wanted = {"format": FORMAT, "settings": asdict(settings)}
    manifest = _read_manifest(out / "manifest.json")
    if manifest:
        if {key: manifest.get(key) for key in wanted} == wanted:
            return out
        raise InputError(
            f"{out} holds synthetic data with other settings: {manifest.get('settings')}. "
            f"Requested: {wanted['settings']}. Choose another --out, or delete that folder."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty and holds no synthetic data set. Choose another --out.")
    if out.resolve() == Path.cwd():
        raise InputError(f"{out} is the current folder, which cannot be replaced. Choose another --out.")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        shots = plan_shots(settings)
        _film_all(shots, settings.seed, draft, workers or os.cpu_count() or 1, progress)
        parts = {part: list(_rows(shots, part, draft)) for part in ("train", "rl", "dev", "test")}
        parts["train"] += dialogue_rows(settings.seed, "train", settings.dialogues)
        parts["test"] += dialogue_rows(settings.seed, "test", settings.test_dialogues)
        parts["text"] = list(text_rows(settings.seed, settings.text_rows))
        for part, clips in parts.items():
            write_clips(draft / f"{part}.jsonl", clips)
        counts = {part: len(clips) for part, clips in parts.items()}
        (draft / "manifest.json").write_text(json.dumps({**wanted, "rows": counts, "note": NOTE}, indent=2) + "\n")
        draft.chmod(0o755)
        if out.exists():
            out.rmdir()
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return out


def note_of(folder: Path) -> str | None:
    """Return what the manifest in a folder of row files says of them; of synthetic data of any version, `NOTE`."""
    manifest = _read_manifest(folder / "manifest.json")
    if manifest is None:
        return None
    note = manifest.get("note", NOTE)
    return note if isinstance(note, str) else None


def _read_manifest(path: Path) -> dict[str, Any] | None:
    """Read a manifest of this project; None if there is none."""
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and "settings" in manifest else None


def _film_all(shots: list[Shot], seed: int, folder: Path, workers: int, progress: Progress | None) -> None:
    batches = [shots[start : start + 8] for start in range(0, len(shots), 8)]
    done = 0
    with ProcessPoolExecutor(workers, WorkerContext(), die_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(_film_many, batch, seed, folder) for batch in batches]):
                done += future.result()
                if progress:
                    progress(done, len(shots))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # else leaving the pool would render all the others first
            raise


def _rows(shots: list[Shot], part: str, folder: Path) -> Iterator[Clip]:
    folder = folder.absolute()
    for shot in shots:
        if shot.part == part:
            stem = folder / shot.stem
            video, face = stem.with_suffix(".mp4"), stem.with_suffix(".npy")
            yield from rows_of_clip(shot.name, shot.scene, shot.written, video, face)
