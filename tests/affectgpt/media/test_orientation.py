"""Films of cameras that are held sideways, upside down, or that mirror: frames are those that FFmpeg shows."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from affectgpt.media.bundle import Media, Wanted, decode
from affectgpt.media.decode import read_frames, read_video
from affectgpt.media.faces import crop_faces
from affectgpt.media.sampling import Fps, Times
from tests.support.films import HEIGHT, WIDTH, write_film

SHARED = Path(os.environ.get("SHARED_DATA", "/nowhere"), "reported", "media")

View = Callable[[np.ndarray], np.ndarray]
VIEWS: dict[tuple[int, int, int, int], View] = {
    (1, 0, 0, 1): lambda f: f,
    (-1, 0, 0, 1): lambda f: f[:, :, ::-1],
    (1, 0, 0, -1): lambda f: f[:, ::-1],
    (-1, 0, 0, -1): lambda f: f[:, ::-1, ::-1],
    (0, 1, 1, 0): lambda f: f.swapaxes(1, 2),
    (0, 1, -1, 0): lambda f: np.rot90(f, -1, axes=(1, 2)),
    (0, -1, 1, 0): lambda f: np.rot90(f, 1, axes=(1, 2)),
    (0, -1, -1, 0): lambda f: f[:, ::-1, ::-1].swapaxes(1, 2),
}
"""Matrix (a, b, c, d) -> what FFmpeg makes of (F, H, W, 3) stored pixels: a pixel at (x, y) comes to (ax+cy, bx+dy)."""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_film(tmp_path_factory.mktemp("films") / "stored.mp4", movflags="+faststart")


def with_matrix(stored: Path, path: Path, matrix: tuple[int, int, int, int], scale: float = 1.0) -> Path:
    """Copy a film with another display matrix, which moves the picture back to where it is seen."""
    a, b, c, d = (round(value * scale * (1 << 16)) for value in matrix)
    left = (WIDTH if a < 0 else 0) + (HEIGHT if c < 0 else 0)
    top = (WIDTH if b < 0 else 0) + (HEIGHT if d < 0 else 0)
    data = bytearray(stored.read_bytes())
    struct.pack_into(">9i", data, data.find(b"tkhd") + 44, a, b, 0, c, d, 0, left << 16, top << 16, 1 << 30)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("matrix", VIEWS)
def test_all_eight_orientations_are_shown_as_ffmpeg_shows_them(
    stored: Path, tmp_path: Path, matrix: tuple[int, int, int, int]
) -> None:
    path, view = with_matrix(stored, tmp_path / "film.mp4", matrix), VIEWS[matrix]
    assert np.array_equal(read_frames(path, 5), view(read_frames(stored, 5)))
    assert np.array_equal(read_frames(path, 3, 0.5, 1.5), view(read_frames(stored, 3, 0.5, 1.5)))
    for sampling in (Fps(2, 9), Times((1.9, 0.0, 0.75))):
        assert np.array_equal(read_video(path, sampling)[0], view(read_video(stored, sampling)[0]))
    for streams in (("face",), ("face", "frame")):
        found = decode(Media(path, start=0.5), Wanted(streams, 3))
        frames = view(read_frames(stored, 3, 0.5))
        assert np.array_equal(found["face"], crop_faces(np.ascontiguousarray(frames)).crops)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_scale_does_not_count(stored: Path, tmp_path: Path, scale: float) -> None:
    path = with_matrix(stored, tmp_path / "film.mp4", (0, 1, 1, 0), scale)
    assert np.array_equal(read_frames(path, 2), read_frames(stored, 2).swapaxes(1, 2))


def test_a_matrix_of_zeros_changes_nothing(stored: Path, tmp_path: Path) -> None:
    path = with_matrix(stored, tmp_path / "film.mp4", (0, 0, 0, 0))
    assert np.array_equal(read_frames(path, 2), read_frames(stored, 2))


def test_a_mirrored_film_is_mirrored_where_frames_are_swept(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_matrix(stored, tmp_path / "film.mp4", (-1, 0, 0, 1))
    picked = read_frames(path, 4, 0.3, 1.7)
    monkeypatch.setattr("affectgpt.media.decode._pick", lambda *args: None)
    assert np.array_equal(read_frames(path, 4, 0.3, 1.7), picked)
    assert np.array_equal(picked, read_frames(stored, 4, 0.3, 1.7)[:, :, ::-1])


@pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA holds no films of reports")
@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("hflip.mp4", (-1, 0, 0, 1)),
        ("vflip.mp4", (1, 0, 0, -1)),
        ("rot90f.mp4", (0, 1, 1, 0)),
        ("rot270f.mp4", (0, -1, -1, 0)),
        ("rot90.mp4", (0, -1, 1, 0)),
        ("rot180.mp4", (-1, 0, 0, -1)),
    ],
)
def test_films_of_cameras_that_mirror(name: str, matrix: tuple[int, int, int, int]) -> None:
    """See FFMS/ffms2#317 and ZoneMinder/zoneminder#4915."""
    with av.open(str(SHARED / name)) as container:
        frames = list(container.decode(video=0))
    every = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    expected = VIEWS[matrix](every[[k * len(every) // 5 for k in range(5)]])
    assert np.array_equal(read_frames(SHARED / name, 5), expected)
