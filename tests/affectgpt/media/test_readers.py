"""Every reader, and every short cut, gives the frames that decoding one after the other gives."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from affectgpt.media import decode, packets, survey
from affectgpt.media.decode import MediaError, open_media, read_audio, read_frames, read_video
from affectgpt.media.readers import fetch, reader_versions
from affectgpt.media.sampling import Fps, Times, Uniform, even_indices
from tests.support.films import copy_streams, number_of, write_film

HEIGHT, WIDTH, COUNT, RATE = 48, 80, 40, 10
INSTALLED = reader_versions()
READERS = [
    "auto",
    "pyav",
    *(
        pytest.param(name, marks=pytest.mark.skipif(name not in INSTALLED, reason=f"{name} cannot be loaded"))
        for name in ("decord", "torchcodec")
    ),
]
X264 = {"x264-params": "keyint=12:bframes=3:b-adapt=0:scenecut=0"}


def write(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    stamps: list[int] | None = None,
    audio: bool = False,
) -> Path:
    """A texture that moves, with a spot that does not repeat."""
    texture = np.random.default_rng(0).integers(0, 255, (HEIGHT // 4, WIDTH // 2, 3), dtype=np.uint8)
    texture = texture.repeat(4, axis=0).repeat(4, axis=1)
    with av.open(str(path), "w") as container:
        picture = container.add_stream(codec, rate=RATE, options=options or {})
        picture.width, picture.height, picture.pix_fmt, picture.gop_size = WIDTH, HEIGHT, "yuv420p", 12
        sound = container.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48_000) if audio else None
        for k, stamp in enumerate(stamps or range(COUNT)):
            pixels = texture[:, k : k + WIDTH].copy()
            pixels[10:30, 10:40] = 6 * k
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = stamp, Fraction(1, RATE)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if sound:
            wave = np.sin(np.arange(COUNT * 4800) / 30, dtype=np.float32)
            for start in range(0, len(wave), 960):
                block = av.AudioFrame.from_ndarray(wave[None, start : start + 960], format="fltp", layout="mono")
                block.sample_rate, block.pts, block.time_base = 48_000, start, Fraction(1, 48_000)
                container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def cut_by_stream_copy(path: Path) -> Path:
    """Frames 20 and on, behind an edit list that hides those from the key frame before; the header counts all."""
    whole = write(path.with_name("whole.mp4"), options=X264)
    with av.open(str(whole)) as read, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None and packet.pts * packet.time_base >= Fraction(12, RATE):
                shift = int(2 / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, stream
                out.mux(packet)
    return path


def rotated(path: Path, degrees: int) -> Path:
    matrix = {
        90: (0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30),
        180: (-(1 << 16), 0, 0, 0, -(1 << 16), 0, WIDTH << 16, HEIGHT << 16, 1 << 30),
    }[degrees]
    data = bytearray(write(path, options=X264).read_bytes())
    struct.pack_into(">9i", data, data.find(b"tkhd") + 44, *matrix)
    path.write_bytes(data)
    return path


FILES: dict[str, Callable[[Path], Path]] = {
    "b_frames.mp4": lambda path: write(path, options=X264, audio=True),
    "all_refer.mp4": lambda path: write(path, options={"x264-params": "bframes=0:keyint=250"}),
    "open_gop.mkv": lambda path: write(path, options={"x264-params": "open-gop=1:bframes=5:keyint=12:b-adapt=0"}),
    "refresh.mp4": lambda path: write(path, options={"x264-params": "intra-refresh=1:keyint=12"}),
    "interlaced.mp4": lambda path: write(path, options={"x264-params": "interlaced=1:bframes=3:keyint=12"}),
    "hevc.mp4": lambda path: write(path, "libx265", {"x265-params": "log-level=none:keyint=12"}),
    "vp9.webm": lambda path: write(path, "libvpx-vp9", {"deadline": "good", "cpu-used": "5"}, audio=True),
    "hidden_references.webm": lambda path: write(path, "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
    "a.avi": lambda path: write(path, "mpeg4"),
    "a.ts": lambda path: write(path, options=X264, audio=True),
    "uneven.mp4": lambda path: write(path, options=X264, stamps=[*range(10), *range(10, 50, 4)]),
    "late.mp4": lambda path: write(path, options=X264, stamps=list(range(7, 30)), audio=True),
    "one.mp4": lambda path: write(path, stamps=[0]),
    "cut.mp4": cut_by_stream_copy,
    "quarter.mp4": lambda path: rotated(path, 90),
    "half.mp4": lambda path: rotated(path, 180),
}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("films")

    def get(name: str) -> Path:
        return folder / name if (folder / name).exists() else FILES[name](folder / name)

    return get


def one_after_the_other(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """All frames, (n, H, W, 3), and their times, (n,), with nothing of ours."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        origin = (container.start_time or 0) / av.time_base
        pixels = [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in frames]
        return np.stack(pixels), np.array([frame.time - origin for frame in frames])


# Readers


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", FILES)
def test_all_readers_give_the_same_frames(film: Callable[[str], Path], name: str, reader: Any) -> None:
    path = film(name)
    every, times = one_after_the_other(path)
    for num_frames in (1, 4, len(every), len(every) + 3):
        expected = even_indices(len(every), num_frames)
        frames, seconds = read_video(path, Uniform(num_frames), reader=reader)
        assert np.array_equal(frames, every[expected])
        assert np.allclose(seconds, times[expected], atol=1e-6)
    moments = times[[-1, 0, len(times) // 2]]
    frames, _ = read_video(path, Times(tuple(moments + 1e-4)), reader=reader)
    assert np.array_equal(frames, every[[-1, 0, len(times) // 2]])
    middle = float(times[len(times) // 2]) - 1e-4
    inside = np.flatnonzero((times >= middle) & (times < middle + 1))
    frames, _ = read_video(path, Uniform(3), middle, middle + 1, reader=reader)
    assert np.array_equal(frames, every[inside[even_indices(len(inside), 3)]])


def test_a_header_that_counts_hidden_frames(film: Callable[[str], Path]) -> None:
    with av.open(str(film("cut.mp4"))) as container:
        said = container.streams.video[0].frames
    assert said > len(one_after_the_other(film("cut.mp4"))[0])


def test_by_rate_and_by_time(film: Callable[[str], Path]) -> None:
    every, times = one_after_the_other(film("uneven.mp4"))
    frames, seconds = read_video(film("uneven.mp4"), Fps(2, 100), 0.0, 2.2)
    assert np.allclose(seconds, [0, 0.5, 1.0, 1.4, 1.8])
    assert np.array_equal(frames, every[np.searchsorted(times, seconds - 1e-6)])
    _, seconds = read_video(film("uneven.mp4"), Fps(2, 100), 1.0, 2.2)
    assert np.allclose(seconds, [1.0, 1.4, 1.8])
    _, seconds = read_video(film("uneven.mp4"), Times((1.39, 1.41, 0.0)))
    assert np.allclose(seconds, [1.0, 1.4, 0.0])
    with pytest.raises(MediaError, match=r"uneven\.mp4: no frame at 99 s, the part that is read is from 0 s to 5 s"):
        read_video(film("uneven.mp4"), Times((0.0, 99.0)))


@pytest.mark.parametrize("fault", ["raises", "counts", "times"])
def test_a_reader_that_disagrees_is_not_believed(
    film: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    class Video:
        def __init__(self, path: str, num_threads: int) -> None:
            if fault == "raises":
                raise RuntimeError("unknown stream")

        def __len__(self) -> int:
            return COUNT + (fault == "counts")

        def get_frame_timestamp(self, wanted: list[int]) -> np.ndarray:
            return np.array([[k / RATE * (1.1 if fault == "times" else 1), 0] for k in wanted])

        def next(self) -> Any:
            return SimpleNamespace(asnumpy=lambda: np.zeros((HEIGHT, WIDTH, 3), np.uint8))

    monkeypatch.setitem(sys.modules, "decord", SimpleNamespace(VideoReader=Video))
    path = film("b_frames.mp4")
    assert fetch("decord", path, [0, 10], np.arange(COUNT) / RATE) is None
    assert np.array_equal(read_video(path, Uniform(4), reader="decord")[0], read_frames(path, 4))


def test_of_several_films_no_other_reader_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Path] = []
    monkeypatch.setitem(sys.modules, "decord", SimpleNamespace())
    monkeypatch.setattr(decode, "fetch", lambda reader, path, wanted, times: asked.append(path))
    parts = [write_film(tmp_path / f"{first}.mp4", 1.0, first=first) for first in (0, 20)]
    both = copy_streams(parts, tmp_path / "both.mp4", "video", [1])
    assert [number_of(frame) for frame in read_video(both, Uniform(2), reader="decord")[0]] == [20, 25]
    assert asked == []
    assert [number_of(frame) for frame in read_video(parts[0], Uniform(2), reader="decord")[0]] == [0, 5]
    assert asked == [parts[0]]


@pytest.mark.parametrize("reader", ["decord", "torchcodec"])
def test_a_reader_that_is_not_installed(
    film: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, reader: Any
) -> None:
    monkeypatch.setitem(sys.modules, reader, None)
    assert reader not in reader_versions()
    with pytest.raises(ValueError, match=rf"reader '{reader}' cannot be loaded .*: pip install .*{reader}") as caught:
        read_video(film("one.mp4"), Uniform(1), reader=reader)
    assert not isinstance(caught.value, MediaError)


def test_a_reader_that_does_not_exist(film: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match="expected one of auto, pyav, decord, torchcodec, got 'cv2'"):
        read_video(film("one.mp4"), Uniform(1), reader="cv2")  # type: ignore[arg-type]


def test_decoding_loads_no_torch() -> None:
    code = "import sys, affectgpt.media.bundle, affectgpt.media.readers; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# Short cuts


@pytest.mark.parametrize(
    ("name", "picked"),
    [
        *((name, True) for name in ("b_frames.mp4", "open_gop.mkv", "hevc.mp4", "vp9.webm", "cut.mp4", "late.mp4")),
        *((name, False) for name in ("refresh.mp4", "hidden_references.webm", "a.avi", "a.ts")),
    ],
)
def test_frames_are_picked_where_their_packets_are_known(
    film: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, name: str, picked: bool
) -> None:
    swept: list[object] = []
    sweep = decode._sweep
    monkeypatch.setattr(decode, "_sweep", lambda *args: swept.append(args) or sweep(*args))  # type: ignore[func-returns-value]
    read_frames(film(name), 4)
    assert (not swept) == picked


def test_any_frames_can_be_picked(film: Callable[[str], Path]) -> None:
    rng = np.random.default_rng(0)
    for name in ("b_frames.mp4", "open_gop.mkv", "hevc.mp4"):
        every, times = one_after_the_other(film(name))
        for count in (1, 2, 3, 8):
            chosen = rng.integers(0, len(every), count)
            frames, seconds = read_video(film(name), Times(tuple(times[chosen] + 1e-4)))
            assert np.array_equal(frames, every[chosen])
            assert np.allclose(seconds, times[chosen])


@pytest.mark.parametrize("name", ["b_frames.mp4", "vp9.webm", "a.ts", "cut.mp4"])
def test_a_file_too_large_to_keep(
    film: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    path = film(name)

    def read() -> list[np.ndarray]:
        pictures = [read_frames(path, 4), read_frames(path, 3, 1.25, 1.85)]
        return pictures if name == "cut.mp4" else [*pictures, read_audio(path, 16_000)]

    kept = read()
    monkeypatch.setattr(packets, "KEPT_BYTES", 1000)
    path = shutil.copy(path, tmp_path)  # of which no survey is known
    assert all(np.array_equal(one, other) for one, other in zip(kept, read(), strict=True))


def test_pictures_and_sound_from_one_reading(
    film: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = film("b_frames.mp4")
    frames, part, sound = read_frames(path, 4), read_frames(path, 2, 1.0, 2.0), read_audio(path, 16_000)
    path = shutil.copy(path, tmp_path)  # of which no survey is known
    opened: list[str] = []
    real = av.open
    monkeypatch.setattr(av, "open", lambda *args, **kwargs: opened.append(args[0]) or real(*args, **kwargs))
    with open_media(path) as media:
        for _ in range(2):  # the decoders start anew
            assert np.array_equal(read_frames(media, 4), frames)
            assert np.array_equal(read_audio(media, 16_000), sound)
            assert np.array_equal(read_video(media, Uniform(2), 1.0, 2.0)[0], part)
    assert len(opened) == 2  # a decoder of sound cannot start anew, only a new one can


def test_frames_larger_than_anyone_films(film: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "MAX_PIXELS", 1000)
    with pytest.raises(MediaError, match=r"frames of 80 x 48, expected at most 1000 pixels"):
        read_frames(film("one.mp4"), 1)
