"""Media handed over by a caller: arrays are taken as decoding would give them, files are decoded as is wanted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from affectgpt.inference import media_inputs as given
from affectgpt.inference.media_inputs import read_given
from affectgpt.media.bundle import Media, Wanted, decode
from affectgpt.media.decode import MediaError, read_audio
from affectgpt.media.faces import crop_faces
from affectgpt.problems import InputError
from tests.support.films import copy_streams

ALL = ("face", "frame", "audio")


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (count, 20, 30, 3), np.uint8)


def test_pictures_are_spread_evenly_and_searched_for_faces() -> None:
    frames = pictures(8)
    found = read_given(Wanted(ALL, 4), {"video": frames})
    assert found.keys() == {"frame", "face"}
    assert np.array_equal(found["frame"], frames[[0, 2, 4, 6]])
    assert np.array_equal(found["face"], crop_faces(frames[[0, 2, 4, 6]]).crops)


def test_faces_that_are_given_are_not_looked_for() -> None:
    frames, faces = pictures(4), pictures(6, seed=1)
    found = read_given(Wanted(ALL, 3), {"video": frames, "face": faces})
    assert np.array_equal(found["face"], faces[[0, 2, 4]])
    found = read_given(Wanted(("face",), 3), {"video": frames})
    assert found.keys() == {"face"}


def test_samples_are_resampled_from_the_rate_that_is_told(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, 4410).astype(np.float32)
    wavfile.write(tmp_path / "a.wav", 44_100, wave)
    found = read_given(Wanted(ALL, sample_rate=8_000), {"audio": wave}, 44_100)
    assert found.keys() == {"audio"}
    np.testing.assert_allclose(found["audio"], read_audio(tmp_path / "a.wav", 8_000), atol=1e-6)


def test_files_are_decoded_as_wanted_within_the_time_given(
    tmp_path: Path, write_mp4: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Media, Wanted, int, float]] = []

    def decoding(function: partial, items: list[Media], workers: int, timeout_s: float):  # type: ignore[no-untyped-def,type-arg]
        (media,) = items
        asked.append((media, function.keywords["wanted"], workers, timeout_s))
        return [(media, decode(media, function.keywords["wanted"]))]

    monkeypatch.setattr(given, "map_sandboxed", decoding)
    video, sound = write_mp4(tmp_path / "a.mp4"), write_mp4(tmp_path / "b.mp4", 3)
    np.save(tmp_path / "face.npy", pictures(4))
    media = {"video": str(video), "audio": sound, "face": tmp_path / "face.npy"}
    wanted = Wanted(ALL, 2, 8_000)
    found = read_given(wanted, media, timeout_s=7.0)
    expected = Media(video, sound, tmp_path / "face.npy", None, None)
    assert asked == [(expected, wanted, 1, 7.0)]
    assert np.array_equal(found["face"], pictures(4)[[0, 2]])
    assert np.array_equal(found["audio"], read_audio(sound, 8_000))

    found = read_given(wanted, {"video": video, "face": pictures(2, seed=1)})
    assert asked[1] == (Media(video, None, None, None, None), Wanted(("frame", "audio"), 2, 8_000), 1, 20.0)
    assert np.array_equal(found["face"], pictures(2, seed=1))


def test_a_file_that_does_not_decode_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given, "map_sandboxed", lambda _, items, *rest: [(items[0], MediaError("a.mp4: truncated"))])
    with pytest.raises(InputError, match=r"a\.mp4: truncated"):
        read_given(Wanted(ALL), {"video": "a.mp4"})


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("audio", np.array([0.0, np.nan])),
        ("audio", np.array([np.inf])),
        ("audio", np.zeros(0)),
        ("audio", np.zeros((2, 4))),
        ("audio", np.zeros(4, np.int16)),
        ("video", np.zeros((2, 4, 4, 3))),
        ("video", np.zeros((2, 4, 4, 1), np.uint8)),
        ("face", np.zeros((4, 4, 3), np.uint8)),
        ("face", np.zeros((0, 4, 4, 3), np.uint8)),
    ],
)
def test_arrays_that_are_no_media(name: str, array: np.ndarray) -> None:
    with pytest.raises(InputError, match=rf"{name}: the array: expected"):
        read_given(Wanted(ALL), {name: array})


def test_a_still_is_given_as_a_file_or_as_an_array(tmp_path: Path) -> None:
    Image.fromarray(pictures(1)[0]).save(tmp_path / "a.png")
    found = read_given(Wanted(("face", "frame"), 3), {"image": tmp_path / "a.png"})
    assert np.array_equal(found["frame"], pictures(1))
    assert len(found["face"]) == 1
    found = read_given(Wanted(("face", "frame"), 3), {"image": pictures(1)[0]})
    assert np.array_equal(found["frame"], pictures(1)[[0, 0, 0]])
    with pytest.raises(InputError, match=r"image: expected a picture or a video, got both"):
        read_given(Wanted(("frame",)), {"image": tmp_path / "a.png", "video": pictures(2)})
    with pytest.raises(InputError, match=r"image: the array: expected a picture \(H, W, 3\) uint8, got \(4, 4\)"):
        read_given(Wanted(("frame",)), {"image": np.zeros((4, 4), np.uint8)})


def test_media_that_a_model_does_not_take() -> None:
    with pytest.raises(InputError, match=r"audio: the medium: expected video, face, image, got audio"):
        read_given(Wanted(("face",)), {"audio": np.zeros(4)})
    with pytest.raises(InputError, match=r"none: this model reads text alone"):
        read_given(Wanted(()), {"video": pictures(1)})


def test_a_film_without_a_sound_track_is_seen_and_said_to_be_silent(
    tmp_path: Path, write_mp4: Callable[..., Path], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(given, "_silent", [])
    mute = copy_streams([write_mp4(tmp_path / "loud.mp4")], tmp_path / "mute.mp4", "video")
    for _ in range(2):
        found = read_given(Wanted(("frame", "audio"), 2), {"video": mute})
        assert found.keys() == {"frame", "times"}
    assert caplog.text.count("mute.mp4: no sound track: the answer is from the pictures alone.") == 1
    with pytest.raises(InputError, match=r"mute\.mp4: no audio stream\. "):
        read_given(Wanted(("audio",)), {"video": mute})
    with pytest.raises(InputError, match=r"mute\.mp4: no audio stream\. "):
        read_given(Wanted(("frame", "audio"), 2), {"video": tmp_path / "loud.mp4", "audio": mute})
