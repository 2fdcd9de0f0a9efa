"""Sound stands at its time: gaps are silence, cuts end where they should, and opposite channels are not lost."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from affectgpt.media.bundle import Media, Wanted, decode
from affectgpt.media.decode import MediaError, read_audio
from tests.support.films import add_pictures, add_sound, tone, write_sound

SHARED = Path(os.environ.get("SHARED_DATA", "/nowhere"), "reported", "media")
RATE = 16_000
BLOCK = 1024 / RATE
"""Seconds of the longest block of a coder at `RATE`."""


def film(
    path: Path, parts: list[tuple[float, np.ndarray]], codec: str, rate: int = RATE, pictures: float = 6.0
) -> Path:
    """Write pictures of some seconds, and parts of sound at their seconds."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10)
        layout = "stereo" if parts[0][1].ndim == 2 else "mono"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        add_pictures(container, picture, round(10 * pictures))
        add_sound(container, sound, parts, rate)
    return path


def silent(samples: np.ndarray, rate: int = RATE) -> list[bool]:
    """Tell for each tenth of a second whether it is silent in its middle."""
    size = rate // 10
    tenths = [samples[at + size // 4 : at + 3 * size // 4] for at in range(0, len(samples) - size + 1, size)]
    return [float(np.abs(tenth).max()) < 0.02 for tenth in tenths]


def with_async(path: Path) -> np.ndarray:
    """Read the sound as FFmpeg's `aresample=async=1` lays it out, from the first sample on."""
    with av.open(str(path)) as container:
        graph = av.filter.Graph()
        stream = container.streams.audio[0]
        source = graph.add_abuffer(template=stream)
        resample, form, sink = (
            graph.add("aresample", "async=1"),
            graph.add("aformat", "sample_fmts=flt"),
            graph.add("abuffersink"),
        )
        for one, other in ((source, resample), (resample, form), (form, sink)):
            one.link_to(other)
        graph.configure()
        blocks = []

        def drain() -> None:
            while True:
                try:
                    blocks.append(sink.pull().to_ndarray()[0])
                except (av.BlockingIOError, av.EOFError):
                    return

        for frame in container.decode(stream):
            source.push(frame)
            drain()
        source.push(None)
        drain()
    return np.concatenate(blocks)


GAPS = {
    "one": [(0.0, 2.0), (4.0, 6.0)],
    "several": [(0.0, 1.0), (2.0, 2.5), (3.5, 4.0), (5.0, 6.0)],
    "early": [(0.0, 0.5), (3.0, 6.0)],
    "late": [(0.0, 4.5), (5.5, 6.0)],
    "short": [(0.0, 2.0), (2.3, 6.0)],
}


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.webm", "libopus"), ("a.mkv", "pcm_s16le"), ("a.mkv", "aac"), ("a.mp4", "aac"), ("a.ts", "aac")],
)
@pytest.mark.parametrize("kind", GAPS)
def test_a_gap_is_silence_and_what_follows_stands_at_its_time(tmp_path: Path, name: str, codec: str, kind: str) -> None:
    if name == "a.mp4" and kind == "short":
        pytest.skip("the writer stretches a block of AAC over a gap this short")
    rate = 48_000 if codec == "libopus" else RATE
    parts = [(start, tone(end - start, rate)) for start, end in GAPS[kind]]
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libvpx" if name == "a.webm" else "libx264", rate=10)
        sound = container.add_stream(codec, rate=rate, layout="mono")
        add_pictures(container, picture, 60)
        # A coder fills a gap of its input itself: it is made anew after each.
        for start, wave in parts:
            coder = av.CodecContext.create(codec, "w")
            coder.sample_rate, coder.layout, coder.format = (
                rate,
                "mono",
                "s16" if "opus" in codec or "pcm" in codec else "fltp",
            )
            coder.time_base = Fraction(1, rate)
            coder.open()
            sound_blocks(container, sound, coder, start, wave, rate)
    found = read_audio(path, RATE)
    expected = [all(not start <= tenth / 10 + 0.05 < end for start, end in GAPS[kind]) for tenth in range(60)]
    assert near(silent(found), expected)
    for begin, end in ((1.0, 5.0), (0.2, 3.7), (2.1, 5.6)):
        part = read_audio(path, RATE, begin, end)
        assert len(part) == round((end - begin) * RATE)
        assert near(silent(part), expected[round(10 * begin) : round(10 * end)])
        assert np.abs(part - found[round(begin * RATE) :][: len(part)]).max() < 0.05 or codec != "pcm_s16le"


def sound_blocks(container, sound, coder, start: float, wave: np.ndarray, rate: int) -> None:  # type: ignore[no-untyped-def]
    """Encode a part of sound with a coder of its own into a stream."""
    size = coder.frame_size or 1024
    coded = []
    for at in range(0, len(wave), size):
        block = np.ascontiguousarray(wave[None, at : at + size])
        block = block if coder.format.name == "fltp" else (block * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(block, format=coder.format.name, layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate) + at, Fraction(1, rate)
        coded += coder.encode(frame)
    for packet in [*coded, *coder.encode(None)]:
        packet.stream, packet.time_base = sound, Fraction(1, rate)
        if packet.pts is not None and packet.pts >= 0:
            container.mux(packet)


def near(found: list[bool], expected: list[bool]) -> bool:
    """Tell whether two rows of tenths agree, but for a tenth beside each change: blocks of coders are that long."""
    edges = {k + beside for k in range(1, len(expected)) if expected[k] != expected[k - 1] for beside in (-1, 0)}
    length = min(len(found), len(expected))
    return abs(len(found) - len(expected)) <= 1 and all(
        found[k] == expected[k] for k in range(length) if k not in edges
    )


@pytest.mark.parametrize("kind", GAPS)
def test_gaps_are_filled_as_ffmpeg_fills_them(tmp_path: Path, kind: str) -> None:
    parts = [(start, tone(end - start, RATE)) for start, end in GAPS[kind]]
    path = film(tmp_path / "a.mkv", parts, "pcm_s16le")
    found, expected = read_audio(path, RATE), with_async(path)
    assert abs(len(found) - len(expected)) <= BLOCK * RATE
    length = min(len(found), len(expected))
    assert near(silent(found[:length]), silent(expected[:length]))
    assert np.abs(found[:length] - expected[:length]).max() < 2e-3


def test_a_cut_inside_a_gap_is_silence(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [(0.0, tone(1.0, RATE)), (5.0, tone(1.0, RATE))], "pcm_s16le")
    part = read_audio(path, RATE, 2.0, 3.5)
    assert part.shape == (24_000,)
    assert not part.any()
    assert len(read_audio(path, RATE, 4.5, 5.5)) == RATE
    assert silent(read_audio(path, RATE, 0.5, 4.0)) == [False] * 5 + [True] * 30
    with pytest.raises(MediaError, match=r"no audio sample between 6\.5 s and 7 s\. Mend start and end"):
        read_audio(path, RATE, 6.5, 7.0)


@pytest.mark.parametrize(("start", "end"), [(None, None), (0.0, 3.0), (0.5, 4.0), (1.5, None)])
def test_sound_that_begins_late_is_silent_before(tmp_path: Path, start: float | None, end: float | None) -> None:
    path = film(tmp_path / "a.mkv", [(2.0, tone(4.0, RATE))], "pcm_s16le")
    found = read_audio(path, RATE, start, end)
    begin, stop = round(10 * (start or 0)), round(10 * (end or 6.0))
    assert len(found) == (stop - begin) * RATE // 10
    assert near(silent(found), [tenth < 20 for tenth in range(begin, stop)])
    whole = read_audio(path, RATE, 0.0, 1.0)
    assert whole.shape == (RATE,)
    assert not whole.any()


def test_sound_ends_where_it_ends(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [(0.0, tone(2.0, RATE))], "pcm_s16le")
    assert len(read_audio(path, RATE)) == 2 * RATE
    assert len(read_audio(path, RATE, 1.0, 5.0)) == RATE


def test_sound_that_overlaps_itself_is_heard_once(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for start in (0.0, 1.0, 1.5, 2.5):  # the third begins half a second before the second ends
            wave = (32767 * tone(1.0, RATE)).astype(np.int16)
            packet = av.Packet(wave.tobytes())
            packet.pts = packet.dts = round(start * 1000)
            packet.time_base, packet.duration, packet.stream = Fraction(1, 1000), 1000, sound
            container.mux(packet)
    assert abs(len(read_audio(path, RATE)) - 3.5 * RATE) < BLOCK * RATE
    assert not any(silent(read_audio(path, RATE)))


@pytest.mark.parametrize("jitter_ms", [1, 7, 30])
def test_stamps_that_jitter_make_no_gap(tmp_path: Path, jitter_ms: int) -> None:
    rng = np.random.default_rng(0)
    wave = (32767 * tone(4.0, RATE)).astype(np.int16)
    for name, jitter in (("even.mkv", 0), ("uneven.mkv", jitter_ms)):
        with av.open(str(tmp_path / name), "w") as container:
            sound = container.add_stream("pcm_s16le", rate=RATE, layout="mono")
            for number, at in enumerate(range(0, len(wave), 1600)):
                packet = av.Packet(wave[at : at + 1600].tobytes())
                packet.pts = packet.dts = 100 * number + (int(rng.integers(0, jitter + 1)) if number else 0)
                packet.time_base, packet.stream = Fraction(1, 1000), sound
                container.mux(packet)
    assert np.array_equal(read_audio(tmp_path / "even.mkv", RATE), read_audio(tmp_path / "uneven.mkv", RATE))


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.wav", "pcm_s16le", 8_000),
        ("a.m4a", "aac", 8_000),
        ("a.mka", "aac", 8_000),
        ("a.aac", "aac", 8_000),
        ("a.mp3", "libmp3lame", 8_000),
        ("a.ogg", "libopus", 8_000),
        ("a.webm", "libopus", 48_000),
        ("a.flac", "flac", 44_100),
        ("a.ts", "mp2", 48_000),
        ("a.mka", "ac3", 48_000),
    ],
)
def test_what_coders_add_at_the_start_is_no_gap(tmp_path: Path, name: str, codec: str, rate: int) -> None:
    path = write_sound(tmp_path / name, tone(3.0, rate), rate, codec)
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE)
        frames = [*container.decode(audio=0), None]
        expected = np.concatenate([block.to_ndarray()[0] for frame in frames for block in resampler.resample(frame)])
    assert np.array_equal(read_audio(path, RATE), expected)


# Channels


@pytest.mark.parametrize("level", [1.0, 0.9])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_opposite_channels_do_not_cancel_each_other(tmp_path: Path, level: float, offset: float) -> None:
    wave = tone(2.0, RATE, level=0.3)
    path = write_sound(tmp_path / "a.wav", np.stack([wave, -level * wave]) + np.float32(offset), RATE, "pcm_f32le")
    assert np.allclose(read_audio(path, RATE), wave + offset, atol=1e-6)
    assert np.allclose(read_audio(path, RATE, 0.5, 1.0), wave[8000:16000] + offset, atol=1e-6)
    path = write_sound(tmp_path / "b.wav", np.stack([-level * wave, wave]), RATE, "pcm_f32le")
    assert np.allclose(np.abs(read_audio(path, RATE)), np.abs(wave), atol=1e-6)


def test_opposite_channels_of_a_film_and_of_six(tmp_path: Path) -> None:
    wave = tone(2.0, 48_000, level=0.3)
    path = film(tmp_path / "a.mp4", [(0.0, np.stack([wave, -wave]))], "aac", 48_000, pictures=2.0)
    found = decode(Media(path), Wanted(("frame", "audio"), 2))["audio"]
    assert 0.25 < np.abs(found).max() < 0.4
    six = np.zeros((6, len(wave)), np.float32)
    six[0], six[1] = wave, -wave
    assert np.abs(read_audio(write_sound(tmp_path / "b.flac", six, 48_000, "flac"), RATE)).max() > 0.29


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (2.0, 4.0), (3.5, 4.0)])
def test_channels_that_are_opposite_in_a_part_alone_do_not_cancel_there(
    tmp_path: Path, start: float, end: float
) -> None:
    wave = tone(4.0, RATE, level=0.3)
    other = wave.copy()
    other[round(start * RATE) : round(end * RATE)] *= -1
    path = write_sound(tmp_path / "a.wav", np.stack([wave, other]), RATE, "pcm_f32le")
    assert np.allclose(read_audio(path, RATE), wave, atol=1e-6)
    part = wave[round(start * RATE) : round(end * RATE)]
    assert np.allclose(read_audio(path, RATE, start, end), part, atol=1e-6)


def test_a_quiet_part_does_not_count(tmp_path: Path) -> None:
    """Coders leave opposite channels in what is nearly silent."""
    left, right = tone(2.0, RATE), tone(2.0, RATE, 700.0)
    left[RATE:], right[RATE:] = 1e-3 * left[RATE:], -1e-3 * left[RATE:]
    both = np.stack([left, right])
    path = write_sound(tmp_path / "a.wav", both, RATE, "pcm_f32le")
    assert np.array_equal(read_audio(path, RATE), both.mean(axis=0))


@pytest.mark.parametrize("kind", ["one", "unequal", "noise", "partly", "silence", "constant"])
def test_channels_that_do_not_cancel_are_averaged_as_ever(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    left, right = tone(1.0, RATE), tone(1.0, RATE, 700.0)
    both = {
        "one": np.stack([left, np.zeros_like(left)]),
        "unequal": np.stack([left, -0.5 * left]),
        "noise": rng.normal(0, 0.1, (2, RATE)),
        "partly": np.stack([left + right, left - right]) / 2,
        "silence": np.zeros((2, RATE)),
        "constant": np.stack([np.full(RATE, 0.5), np.full(RATE, -0.5)]),
    }[kind].astype(np.float32)
    path = write_sound(tmp_path / "a.wav", both, RATE, "pcm_f32le")
    assert np.array_equal(read_audio(path, RATE), both.mean(axis=0))


def test_one_channel_of_six_is_a_sixth_as_ever(tmp_path: Path) -> None:
    six = np.zeros((6, RATE), np.float32)
    six[2] = tone(1.0, RATE)
    path = write_sound(tmp_path / "a.flac", six, RATE, "flac")
    assert np.allclose(read_audio(path, RATE), six[2] / 6, atol=1e-4)


# Reports


@pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA holds no sounds of reports")
def test_sounds_of_reports() -> None:
    """See seatv/ChitraMaya#6, m-bain/whisperX#750 and pytorch/vision#1221."""
    assert len(read_audio(SHARED / "gap.webm", RATE, 1.0, 5.0)) == 4 * RATE
    assert np.abs(read_audio(SHARED / "invert.wav", RATE)).max() == pytest.approx(0.3, abs=1e-3)
    late = read_audio(SHARED / "lateaudio.mp4", RATE)
    assert silent(late[: round(0.9 * RATE)]) == [True] * 9
    assert not silent(late)[12]


@pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA holds no sounds of reports")
@pytest.mark.parametrize(
    "name", ["short10ms.wav", "short1ms.wav", "tel8k.wav", "51.m4a", "voice_cover.m4a", "UPPER.MP4", "silence.wav"]
)
def test_sounds_that_are_odd_and_right(name: str) -> None:
    """See ZebangCheng/Emotion-LLaMA#62 and amule-org/amule#1075."""
    assert len(read_audio(SHARED / name, RATE)) > 0
