"""Measurements of media: lengths, silence, pictures that show nothing, videos without sound."""

from __future__ import annotations

import sys
import wave
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from affectgpt.clip import Clip
from affectgpt.features.sources import media_of
from affectgpt.media.bundle import Media
from affectgpt.media.source import MediaError
from data_recipes.check.measure import MUTE, Measured, measure
from data_recipes.check.media import measure_media
from data_recipes.check.warnings import warnings_of
from data_recipes.synthetic.generate import SAMPLE_RATE, write_video
from tests.support.commands import run
from tests.support.media import write_mute
from tests.support.rows import make_clip

NOISE = np.random.default_rng(0).integers(0, 255, (25, 32, 32, 3), np.uint8)
FACE = np.full((96, 96, 3), (120, 90, 60), np.uint8)
cv2.circle(FACE, (48, 48), 30, (220, 180, 150), -1)
cv2.circle(FACE, (38, 40), 4, (20, 20, 20), -1)
WINK = FACE.copy()
cv2.circle(WINK, (38, 40), 4, (200, 160, 140), -1)
TONE = (0.3 * np.sin(0.1 * np.arange(SAMPLE_RATE))).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, channels: int = 1) -> Path:
    """Write a WAV of 16 bits at 16 kHz, samples (N,) or (N, channels) int16."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def test_lengths_are_those_of_the_part(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", NOISE, TONE)
    whole = measure(Media(tmp_path / "a.mp4"))
    assert whole.video_s == pytest.approx(1.0, abs=0.05)
    assert whole.sound_s == pytest.approx(1.0, abs=0.1)
    assert whole.file_s == pytest.approx(1.0, abs=0.1)
    part = measure(Media(tmp_path / "a.mp4", start=0.25, end=0.75))
    assert part.video_s == pytest.approx(0.5)
    assert part.sound_s == pytest.approx(0.5, abs=0.01)
    beyond = measure(Media(tmp_path / "a.mp4", start=0.5, end=1000.0))
    assert beyond.video_s == pytest.approx(0.5, abs=0.1)
    assert replace(whole, sound_s=None, video_s=None, file_s=None) == Measured(), "it is in order"


@pytest.mark.parametrize(
    ("samples", "silent"),
    [
        (np.zeros(8000), True),
        (np.ones(8000), True),
        (np.resize([1, -1], 8000), True),
        (np.resize([40, -40], 8000), False),
        (np.concatenate([np.zeros(7900), np.full(100, 900)]), False),
    ],
)
def test_silence(samples: np.ndarray, silent: bool, tmp_path: Path) -> None:
    assert measure(Media(audio=write_wav(tmp_path / "a.wav", samples))).is_silent is silent


def test_silence_of_a_video_and_of_both_channels(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", NOISE, np.zeros_like(TONE))
    assert measure(Media(tmp_path / "a.mp4")).is_silent
    assert measure(Media(audio=write_wav(tmp_path / "a.wav", np.zeros((8000, 2)), channels=2))).is_silent


@pytest.mark.parametrize(
    ("frames", "found"),
    [
        (np.zeros_like(NOISE), {"is_one_colour", "is_black"}),
        (np.full_like(NOISE, (0, 0, 255)), {"is_one_colour"}),
        (np.full_like(NOISE, 255), {"is_one_colour"}),
        (np.repeat(FACE[None], 25, axis=0), {"is_still"}),
        (np.stack([FACE if number < 9 else WINK for number in range(25)]), set()),
        (NOISE, set()),
        (np.concatenate([np.zeros_like(NOISE[:20]), NOISE[20:]]), set()),
    ],
)
def test_pictures_that_show_nothing(frames: np.ndarray, found: set[str], tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", frames, TONE)
    measured = measure(Media(tmp_path / "a.mp4"))
    assert {name for name in ("is_one_colour", "is_black", "is_still") if getattr(measured, name)} == found


def test_stills_and_crops_may_be_blank_too(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    Image.fromarray(NOISE[0]).save(tmp_path / "good.png")
    np.save(tmp_path / "crops.npy", np.full((3, 8, 8, 3), 90, np.uint8))
    assert measure(Media(image=tmp_path / "black.png")).is_black
    assert measure(Media(image=tmp_path / "good.png")) == Measured()
    assert measure(Media(face=tmp_path / "crops.npy")).is_one_colour


def test_a_start_behind_the_file_is_refused_with_its_length(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", NOISE, TONE)
    with pytest.raises(MediaError, match=r"between 500 s and 900 s\..* The file ends at 1\.\d\d s$"):
        measure(Media(tmp_path / "a.mp4", start=500, end=900))
    path = write_wav(tmp_path / "a.wav", np.resize([40, -40], 8000))
    with pytest.raises(MediaError, match=r"The file ends at 0\.50 s$"):
        measure(Media(audio=path, start=500))


@pytest.mark.parametrize(
    ("end", "detail"),
    [
        (1000, "end 1000, the file ends at 1.02 s; milliseconds?"),
        (60, "end 60, the file ends at 1.02 s"),
        (2.5, "end 2.5, the file ends at 1.02 s"),
        (1.5, None),
        (1.0, None),
    ],
)
def test_an_end_far_behind_the_file(end: float, detail: str | None) -> None:
    clip = make_clip("a", video=Path("/d/a.mp4"), end=end)
    media = media_of(clip)
    assert media is not None
    warnings = warnings_of([(Path("r"), [clip])], [{media: Measured(video_s=1.0, sound_s=1.0, file_s=1.02)}])
    assert [e.detail for w in warnings for e in w.examples if w.kind == "end_behind_file"] == [detail] * bool(detail)


def test_a_video_without_sound_gets_the_next_step(tmp_path: Path) -> None:
    path = write_mute(tmp_path / "a.mp4")
    said = measure(Media(path, has_sound=False))
    assert (said.sound_s, said.has_no_sound_track) == (None, False)
    assert said.video_s == pytest.approx(1.0, abs=0.05)
    beside = measure(Media(path, audio=write_wav(tmp_path / "a.wav", np.resize([40, -40], 8000))))
    assert beside.sound_s == pytest.approx(0.5)
    damaged = tmp_path / "cut.mp4"
    damaged.write_bytes(path.read_bytes()[:2000])
    rows = [
        make_clip("mute", video=path, line=1),
        make_clip("mute too", video=path, question="?", line=2),
        make_clip("said", video=path, has_sound=False, line=3),
        make_clip("damaged", video=damaged, line=4),
    ]
    problems, measured = measure_media(tmp_path / "r.jsonl", rows, 60, 1)
    by_row = {problem.where: problem for problem in problems}
    if "row 1 (mute)" in by_row:
        assert '"audio": false' in by_row["row 1 (mute)"].fix
        assert "--no-sound" in by_row["row 1 (mute)"].fix
    else:
        (warning,) = [w for w in warnings_of([(Path("r"), rows)], [measured]) if w.kind == "no_sound_track"]
        assert [example.id for example in warning.examples] == ["mute", "mute too"]
    assert "audio" not in by_row["row 4 (damaged)"].fix
    assert media_of(rows[2]) in measured


def test_many_videos_without_sound_are_one_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_recipes.check import media as module

    clips = [make_clip(str(n), video=tmp_path / f"{n}.mp4", line=n) for n in range(50)]

    def refuse(function: Callable[..., object], items: object, *limits: object) -> object:
        return ((item, MediaError(f"{item}: no audio stream", MUTE)) for item in items)

    monkeypatch.setattr(module, "map_sandboxed", refuse)
    (problem,) = measure_media(tmp_path / "r.jsonl", clips, 60, 1)[0]
    assert problem.got.startswith("none in any of the 50 videos, such as ")
    assert len(measure_media(tmp_path / "r.jsonl", clips[:5], 60, 1)[0]) == 5


def test_a_row_that_says_so_is_in_order_for_everybody(tmp_path: Path) -> None:
    """RAVDESS ships such clips (marcogdepinto/emotion-classification-from-audio-files#6)."""
    from affectgpt.plugins.reads import MEDIA

    clip = Clip(id="a", task="clip", video=write_mute(tmp_path / "a.mp4"), has_sound=False)
    assert [name for name, has in MEDIA.items() if has(clip)] == ["video", "face"]


def test_workers_load_no_torch() -> None:
    code = "import sys, data_recipes.check.measure; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert run(sys.executable, "-c", code).code == 0
