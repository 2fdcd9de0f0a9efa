"""A hundred damaged files through the sandbox: each ends in a result or in words that name it, and in nothing else."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from affectgpt.media.bundle import Decoded, Media, Wanted, decode
from affectgpt.media.decode import MediaError
from affectgpt.media.sandbox import map_sandboxed
from tests.support.limits import PATIENCE_S

FRAMES, RATE = 4, 16_000
HEIGHT, WIDTH, SECONDS = 48, 64, 3


def decode_file(media: Media) -> Decoded:
    """The call that is tested; the sandbox pickles it."""
    streams = ("face",) if media.face else ("frame", "audio")
    return decode(media, Wanted(streams, num_frames=FRAMES, sample_rate=RATE))


@dataclass(frozen=True)
class Damage:
    """One file, what it is taken for, and whether nobody could read it."""

    name: str
    role: str
    data: bytes
    hopeless: bool


def write_film(path: Path, codec: str, sound: str | None, options: dict[str, str] | None = None) -> bytes:
    rng = np.random.default_rng(1)
    with av.open(str(path), "w", options=options or {}) as container:
        picture = container.add_stream(codec, rate=10)
        picture.width, picture.height, picture.pix_fmt, picture.gop_size = WIDTH, HEIGHT, "yuv420p", 10
        track = container.add_stream(sound, rate=48_000, layout="mono") if sound else None
        for k in range(10 * SECONDS):
            pixels = rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 10)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if track:
            add_tone(container, track, 48_000)
    return path.read_bytes()


def write_tone(path: Path, codec: str) -> bytes:
    with av.open(str(path), "w") as container:
        add_tone(container, container.add_stream(codec, rate=RATE, layout="mono"), RATE)
    return path.read_bytes()


def add_tone(container, stream, rate: int) -> None:
    wave = (0.4 * np.sin(np.arange(SECONDS * rate) / 20)).astype(np.float32)
    for start in range(0, len(wave), 960):
        frame = av.AudioFrame.from_ndarray(wave[None, start : start + 960], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """File name -> content of whole files."""
    folder = tmp_path_factory.mktemp("good")
    np.save(folder / "face.npy", np.random.default_rng(2).integers(0, 255, (9, 32, 32, 3), dtype=np.uint8))
    return {
        "fast.mp4": write_film(folder / "fast.mp4", "libx264", "aac", {"movflags": "+faststart"}),
        "plain.mp4": write_film(folder / "plain.mp4", "libx264", "aac"),
        "film.mkv": write_film(folder / "film.mkv", "libx264", "aac"),
        "film.webm": write_film(folder / "film.webm", "libvpx-vp9", "libopus"),
        "mute.mp4": write_film(folder / "mute.mp4", "libx264", None),
        "tone.wav": write_tone(folder / "tone.wav", "pcm_f32le"),
        "tone.m4a": write_tone(folder / "tone.m4a", "aac"),
        "face.npy": (folder / "face.npy").read_bytes(),
    }


def role_of(name: str) -> str:
    return {".npy": "face", ".wav": "audio", ".m4a": "audio"}.get(Path(name).suffix, "video")


def npy(header: str) -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(4096)


def patched(data: bytes, mark: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(mark) + offset
    return data[:at] + value + data[at + len(value) :]


def damage(good: dict[str, bytes]) -> Iterator[Damage]:
    rng = np.random.default_rng(20)
    sound = [name for name in good if name != "mute.mp4"]
    for name in sound:
        data, role = good[name], role_of(name)
        for share in (0.03, 0.3, 0.6, 0.9):
            yield Damage(f"cut_{share}_{name}", role, data[: int(len(data) * share)], True)
        yield Damage(f"zero_head_{name}", role, bytes(64) + data[64:], True)
        yield Damage(f"zero_tail_{name}", role, data[: len(data) // 2] + bytes(len(data) - len(data) // 2), False)
        for flips in (1, 20, 400):
            noisy = np.frombuffer(data, np.uint8).copy()
            noisy[rng.integers(0, len(noisy), flips)] ^= np.uint8(1) << rng.integers(0, 8, flips, dtype=np.uint8)
            yield Damage(f"flip_{flips}_{name}", role, noisy.tobytes(), False)
        edited = np.frombuffer(data, np.uint8).copy()
        edited[rng.integers(0, 600, 12)] = rng.integers(0, 256, 12, dtype=np.uint8)
        yield Damage(f"head_{name}", role, edited.tobytes(), False)
        quarter = len(data) // 4
        swapped = data[:quarter] + data[2 * quarter : 3 * quarter] + data[quarter : 2 * quarter] + data[3 * quarter :]
        yield Damage(f"swap_{name}", role, swapped, False)
    # Streams that are not there, or are something else.
    yield Damage("sound_as_video.mp4", "video", good["tone.m4a"], True)
    yield Damage("wave_as_video.mp4", "video", good["tone.wav"], True)
    yield Damage("crops_as_video.mp4", "video", good["face.npy"], True)
    yield Damage("mute_as_sound.wav", "audio", good["mute.mp4"], True)
    yield Damage("mute_video.mp4", "video", good["mute.mp4"], True)
    yield Damage("film_as_crops.npy", "face", good["fast.mp4"], True)
    yield Damage("two_halves.mp4", "video", good["plain.mp4"][:3000] + good["film.webm"][3000:], True)
    yield Damage("random.webm", "video", rng.bytes(20_000), True)
    yield Damage("encrypted.mp4", "video", good["fast.mp4"][:32] + rng.bytes(20_000), True)
    yield Damage("empty.wav", "audio", b"", True)
    # Sizes that nobody can hold.
    yield Damage(
        "many.npy", "face", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (10**9, 999, 999, 3)}"), True
    )
    wide = "{'descr': '|u1', 'fortran_order': False, 'shape': (9, 99999999999, 99999999999, 3)}"
    yield Damage("wide.npy", "face", npy(wide), True)
    wraps = "{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 1, 3)}"
    yield Damage("wraps.npy", "face", npy(wraps), True)
    yield Damage("deep.npy", "face", npy("(" * 100), True)
    yield Damage("pickle.npy", "face", npy("{'descr': '|O', 'fortran_order': False, 'shape': (9, 9, 9, 3)}"), True)
    yield Damage("slow.wav", "audio", patched(good["tone.wav"], b"fmt ", 12, struct.pack("<I", 1)), True)
    yield Damage("quick.wav", "audio", patched(good["tone.wav"], b"fmt ", 12, struct.pack("<I", 2**32 - 1)), True)
    yield Damage("crowd.wav", "audio", patched(good["tone.wav"], b"fmt ", 10, struct.pack("<H", 65535)), True)
    # Said by the container; the stream itself says otherwise, and is believed.
    yield Damage("huge.mp4", "video", patched(good["plain.mp4"], b"avc1", 28, b"\xff\xff\xff\xff"), False)
    yield Damage("rate.mp4", "video", patched(good["plain.mp4"], b"mdhd", 16, b"\0\0\0\x01"), False)
    yield Damage("stopped.mp4", "video", patched(good["plain.mp4"], b"mdhd", 16, b"\0\0\0\0"), False)
    yield Damage("long.mp4", "video", patched(good["plain.mp4"], b"stts", 12, b"\x7f\xff\xff\xff"), False)
    yield Damage("none.mp4", "video", patched(good["plain.mp4"], b"stsz", 12, bytes(4)), True)
    yield Damage("sizes.mp4", "video", patched(good["plain.mp4"], b"stsz", 16, b"\x7f\xff\xff\xff" * 30), True)


def check(result: Decoded, role: str) -> None:
    """The shapes of a whole file, and numbers."""
    if "frame" in result or "face" in result:
        (pictures,) = [result[name] for name in ("frame", "face") if name in result]
        assert pictures.dtype == np.uint8
        assert pictures.ndim == 4
        assert (len(pictures), pictures.shape[3]) == (FRAMES, 3)
    if "audio" in result:
        assert result["audio"].dtype == np.float32
        assert result["audio"].ndim == 1
        assert result["audio"].size
        assert np.isfinite(result["audio"]).all()
    assert set(result) == {"video": {"frame", "times", "audio"}, "audio": {"audio"}, "face": {"face"}}[role]


def test_a_hundred_damaged_files(good: dict[str, bytes], tmp_path: Path) -> None:
    cases = {case.name: case for case in damage(good)}
    assert len(cases) >= 100
    as_media: dict[str, Callable[[Path], Media]] = {
        "video": lambda path: Media(path, None, None, None, None),
        "audio": lambda path: Media(None, path, None, None, None),
        "face": lambda path: Media(None, None, path, None, None),
    }
    for name, case in cases.items():
        (tmp_path / name).write_bytes(case.data)
    items = [as_media[case.role](tmp_path / name) for name, case in cases.items()]
    outcomes = list(map_sandboxed(decode_file, items, workers=2, timeout_s=PATIENCE_S))
    assert [media for media, _ in outcomes] == items
    wrong = []
    for (media, outcome), case in zip(outcomes, cases.values(), strict=True):
        if isinstance(outcome, MediaError):
            assert str(media.files()[0]) in str(outcome)
            assert "not decoded within" not in str(outcome)
            assert "died" not in str(outcome)
        else:
            check(outcome, case.role)
            if case.hopeless:
                wrong.append(case.name)
    assert not wrong


def test_the_files_were_good(good: dict[str, bytes], tmp_path: Path) -> None:
    for name, data in good.items():
        (tmp_path / name).write_bytes(data)
    assert decode_file(Media(tmp_path / "mute.mp4", tmp_path / "tone.m4a", None, None, None)).keys() == {
        "frame",
        "times",
        "audio",
    }
    for name in ("fast.mp4", "plain.mp4", "film.mkv", "film.webm"):
        check(decode_file(Media(tmp_path / name, None, None, None, None)), "video")
    check(decode_file(Media(None, tmp_path / "tone.wav", None, None, None)), "audio")
    check(decode_file(Media(None, None, tmp_path / "face.npy", None, None)), "face")
