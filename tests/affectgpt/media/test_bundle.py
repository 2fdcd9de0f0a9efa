"""The media of a clip: of each file the part that the row names, and of each stream what the model wants."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affectgpt.media import bundle
from affectgpt.media.bundle import Media, Wanted, decode
from affectgpt.media.decode import MediaError, read_audio, read_video
from affectgpt.media.faces import crop_faces
from affectgpt.media.sampling import Fps, Uniform

PART = (0.2, 0.44)


@pytest.fixture
def video(write_mp4: Callable[..., Path], tmp_path: Path) -> Path:
    return write_mp4(tmp_path / "a.mp4")


@pytest.fixture
def other(write_mp4: Callable[..., Path], tmp_path: Path) -> Path:
    return write_mp4(tmp_path / "other.mp4", seed=3)


@pytest.mark.parametrize("part", [PART, (None, None)])
def test_pictures_and_sound_are_of_the_part_that_is_named(video: Path, part: tuple[float | None, float | None]) -> None:
    found = decode(Media(video, None, None, *part), Wanted(("face", "frame", "audio"), 4, 8_000))
    frames, times = read_video(video, Uniform(4), *part)
    assert np.array_equal(found["frame"], frames)
    assert np.array_equal(found["times"], times)
    assert np.array_equal(found["face"], crop_faces(frames).crops)
    assert np.array_equal(found["audio"], read_audio(video, 8_000, *part))
    assert found.keys() == {"frame", "times", "face", "audio"}


def test_sound_of_its_own_takes_the_place_of_the_videos(video: Path, other: Path) -> None:
    found = decode(Media(video, other, None, *PART), Wanted(("audio",), sample_rate=8_000))
    assert found.keys() == {"audio"}
    assert np.array_equal(found["audio"], read_audio(other, 8_000, *PART))
    assert not np.array_equal(found["audio"], read_audio(video, 8_000, *PART))


def test_face_crops_that_a_row_has_are_not_looked_for(video: Path, tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 255, (6, 9, 9, 3), np.uint8)
    np.save(tmp_path / "face.npy", crops)
    media = Media(video, None, tmp_path / "face.npy", None, None)
    for streams in (("face",), ("face", "frame")):
        found = decode(media, Wanted(streams, 3))
        assert np.array_equal(found["face"], crops[[0, 2, 4]])
        assert ("frame" in found) == ("frame" in streams)


def test_frames_are_sampled_and_fetched_as_wanted(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Wanted(("frame",), 5).sampling == Uniform(5)
    assert Wanted(("frame",), 5, fps=10).sampling == Fps(10, 5)
    asked: list[object] = []
    read = bundle.read_video
    monkeypatch.setattr(bundle, "read_video", lambda *args: asked.append(args[-1]) or read(*args[:-1]))
    found = decode(Media(video, None, None, None, None), Wanted(("frame",), 99, fps=10, reader="decord"))
    assert asked == ["decord"]
    assert np.allclose(found["times"], np.arange(6) / 10, atol=0.021)


def test_a_file_that_nothing_is_wanted_of_is_not_opened(video: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    media = Media(tmp_path / "bad.mp4", video, None, None, None)
    assert decode(media, Wanted(("audio",))).keys() == {"audio"}
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        decode(media, Wanted(("frame", "audio")))


def test_a_video_that_is_said_to_have_no_sound_is_not_listened_to(video: Path, other: Path) -> None:
    silent = Media(video, has_sound=False)
    assert [silent.has(stream) for stream in ("face", "frame", "audio")] == [True, True, False]
    assert decode(silent, Wanted(("frame", "audio"), 2)).keys() == {"frame", "times"}
    assert decode(Media(audio=video, has_sound=False), Wanted(("audio",))).keys() == {"audio"}


def test_the_file_that_has_least_besides_goes_first(video: Path, tmp_path: Path) -> None:
    face, sound, still = tmp_path / "face.npy", tmp_path / "a.wav", tmp_path / "a.png"
    whole = Media(video, sound, face)
    assert [whole.source(stream) for stream in ("face", "frame", "audio")] == ["face", "video", "audio"]
    pictured = Media(audio=sound, face=face, image=still)
    assert [pictured.source(stream) for stream in ("face", "frame", "audio")] == ["face", "image", "audio"]
    assert pictured.files() == [sound, face, still]


def test_what_a_clip_lacks_is_absent(video: Path) -> None:
    media = Media(None, video, None, None, None)
    assert [media.has(stream) for stream in ("face", "frame", "audio")] == [False, False, True]
    assert decode(media, Wanted(("face", "frame", "audio"))).keys() == {"audio"}
    media = Media(video, None, None, None, None)
    assert all(media.has(stream) for stream in ("face", "frame", "audio"))
