"""Surveys of files: which of several streams is read, captures that were joined, and one survey for all cuts."""

from __future__ import annotations

import os
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from affectgpt.media import packets, survey, survey_cache
from affectgpt.media.bundle import Media, Wanted, decode
from affectgpt.media.decode import MediaError, open_media, read_audio, read_frames, read_video
from affectgpt.media.sampling import Uniform
from affectgpt.media.survey_cache import survey_of
from tests.support.films import (
    HEIGHT,
    WIDTH,
    add_pictures,
    add_sound,
    copy_streams,
    number_of,
    numbered,
    tone,
    write_film,
    write_sound,
)

SHARED = Path(os.environ.get("SHARED_DATA", "/nowhere"), "reported", "media")
RATE = 16_000


def still(path: Path, codec: str = "mjpeg") -> Path:
    """Write a film of one picture that is no frame of `write_film`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = WIDTH, HEIGHT
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        frame = av.VideoFrame.from_ndarray(numbered(39), format="rgb24")
        frame.pts, frame.time_base = 0, Fraction(1, 10)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def heard(samples: np.ndarray, rate: int = RATE) -> int:
    """Return the loudest frequency in Hz, to 10 Hz."""
    size = rate // 10
    return 10 * int(np.abs(np.fft.rfft(samples[size : 2 * size])).argmax())


# Which stream is read


@pytest.mark.parametrize("default", [(1,), (), (0,), (0, 1)])
@pytest.mark.parametrize("codec", ["mjpeg", "libx264"])
def test_a_still_before_the_film_is_no_film(tmp_path: Path, default: tuple[int, ...], codec: str) -> None:
    """See zaps166/QMPlay2#841: covers come without the mark of one, with and without the mark of the default."""
    parts = [still(tmp_path / "still.mkv", codec), write_film(tmp_path / "film.mkv", 2.0)]
    path = copy_streams(parts, tmp_path / "both.mkv", default=[*default, 2])
    assert [number_of(frame) for frame in read_frames(path, 4)] == [0, 5, 10, 15]
    assert [number_of(frame) for frame in read_frames(path, 2, 1.0, 2.0)] == [10, 15]
    assert heard(read_audio(path, RATE)) == 440


@pytest.mark.parametrize("name", ["both.mkv", "both.mp4"])
@pytest.mark.parametrize(("default", "expected"), [((1,), 20), ((0,), 0), ((), 0), ((0, 1), 0)])
def test_of_two_films_the_default_one_is_read(
    tmp_path: Path, name: str, default: tuple[int, ...], expected: int
) -> None:
    parts = [write_film(tmp_path / f"{first}.mp4", 1.0, first=first) for first in (0, 20)]
    path = copy_streams(parts, tmp_path / name, "video", default)
    if name == "both.mp4" and not default:
        expected = 0  # the writer marks the first
    assert [number_of(frame) for frame in read_frames(path, 2)] == [expected, expected + 5]


def test_the_default_film_is_read_also_if_it_comes_before_a_still(tmp_path: Path) -> None:
    parts = [write_film(tmp_path / "film.mkv", 1.0), still(tmp_path / "still.mkv")]
    path = copy_streams(parts, tmp_path / "both.mkv", "video", [0])
    assert [number_of(frame) for frame in read_frames(path, 2)] == [0, 5]


def test_a_still_alone_is_a_film_of_one_frame(tmp_path: Path) -> None:
    assert [number_of(frame) for frame in read_frames(still(tmp_path / "still.mkv"), 3)] == [39, 39, 39]


@pytest.mark.parametrize("name", ["both.mka", "both.mkv", "both.m4a"])
@pytest.mark.parametrize(("default", "expected"), [((1,), 900), ((0,), 300), ((2,), 1500), ((1, 2), 900), ((), 300)])
def test_of_several_sounds_the_default_one_is_heard(
    tmp_path: Path, name: str, default: tuple[int, ...], expected: int
) -> None:
    """See SubtitleEdit/subtitleedit#13787: dubbings and commentaries often come first."""
    parts = [write_sound(tmp_path / f"{hertz}.m4a", tone(1.0, RATE, hertz), RATE, "aac") for hertz in (300, 900, 1500)]
    assert heard(read_audio(copy_streams(parts, tmp_path / name, default=default), RATE)) == expected


def test_an_empty_sound_is_not_heard_even_if_it_is_the_default(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "both.mka"), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        tracks[0].disposition, tracks[1].disposition = av.stream.Disposition.default, av.stream.Disposition(0)
        add_sound(container, tracks[1], [(0.0, tone(1.0, RATE, 700))], RATE)
    assert heard(read_audio(tmp_path / "both.mka", RATE)) == 700


def test_which_stream_is_read_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_named_streams", set())
    parts = [write_film(tmp_path / f"{first}.mp4", 1.0, first=first) for first in (0, 20)]
    path = copy_streams(parts, tmp_path / "both.mkv", default=[2, 1])
    other = Path(shutil.copy(path, tmp_path / "other.mkv"))
    for each in (path, other, path):
        read_frames(each, 2)
        read_audio(each, RATE)
    assert survey_of(path).choices() == [
        "2 video streams: stream 2 is read, the default one",
        "2 audio streams: stream 1 is read, the default one",
    ]
    assert [record.message.partition(" Other files")[0] for record in caplog.records] == [
        f"{path}: {sentence}." for sentence in survey_of(path).choices()
    ]
    assert survey_of(parts[0]).choices() == []


# Captures that were joined


def capture(path: Path, seconds: float, first: int, hertz: float, sound: bool = True, begin: float = 0.0) -> Path:
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10, options={"crf": "10", "bf": "0"})
        track = container.add_stream("mp2", rate=48_000, layout="mono") if sound else None
        add_pictures(container, picture, round(10 * seconds), first=first)
        if track is not None:
            add_sound(container, track, [(0.0, tone(seconds, 48_000, hertz))], 48_000)
    if begin:  # the same packets, with later stamps
        moved = path.with_name(f"moved-{path.name}")
        with av.open(str(path)) as read, av.open(str(moved), "w") as write:
            pairs = {stream.index: write.add_stream_from_template(stream) for stream in read.streams}
            for packet in read.demux():
                if packet.dts is not None:
                    shift = round(begin / packet.time_base)
                    packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
                    packet.stream = pairs[packet.stream.index]
                    write.mux(packet)
        return moved
    return path


def joined(paths: list[Path], path: Path) -> Path:
    path.write_bytes(b"".join(part.read_bytes() for part in paths))
    return path


@pytest.mark.parametrize("begins", [(0.0, 0.0), (30.0, 0.0), (200.0, 0.0), (0.0, 0.0, 0.0)])
def test_captures_whose_stamps_begin_anew_are_read_one_after_the_other(
    tmp_path: Path, begins: tuple[float, ...]
) -> None:
    """See seatv/ChitraMaya#6."""
    parts = [
        capture(tmp_path / f"{number}.ts", 1.0, 10 * number, 500 * (number + 1), begin=begin)
        for number, begin in enumerate(begins)
    ]
    path, count = joined(parts, tmp_path / "joined.ts"), 10 * len(parts)
    for _ in range(2):  # the second time from the survey that is known
        frames, times = read_video(path, Uniform(count))
        assert [number_of(frame) for frame in frames] == list(range(count))
        assert np.all(np.diff(times) > 0.05)
        assert times[-1] == pytest.approx(count / 10 - 0.1, abs=0.1 * len(parts))
        sound = read_audio(path, RATE)
        assert len(sound) / RATE == pytest.approx(count / 10, abs=0.15 * len(parts))
        assert [heard(sound[at * RATE :]) for at in range(len(parts))] == [500 * (k + 1) for k in range(len(parts))]
        assert survey_of(path).seconds == pytest.approx(count / 10, abs=0.15 * len(parts))
    begin = float(times[10]) + 0.01
    part, _ = read_video(path, Uniform(3), begin, begin + 0.5)
    assert [number_of(frame) for frame in part] == [11, 12, 14]
    assert heard(read_audio(path, RATE, begin, begin + 0.5)) == 1000


@pytest.mark.parametrize("loud", [0, 1])
def test_joined_captures_of_which_only_one_has_sound_are_refused(tmp_path: Path, loud: int) -> None:
    parts = [capture(tmp_path / f"{k}.ts", 1.0, 10 * k, 500, sound=k == loud) for k in range(2)]
    path = joined(parts, tmp_path / "joined.ts")
    with pytest.raises(MediaError, match=r"joined\.ts: its time stamps begin anew, .* Convert each recording"):
        read_frames(path, 4)


@pytest.mark.parametrize("begin", [0.0, 30.0])
def test_joined_captures_of_which_packets_tell_no_time_are_refused(tmp_path: Path, begin: float) -> None:
    parts = [capture(tmp_path / "0.mpg", 1.0, 0, 500, begin=begin), capture(tmp_path / "1.mpg", 1.0, 10, 500)]
    assert len(read_frames(parts[1], 10)) == 10
    path = joined(parts, tmp_path / "joined.mpg")
    for read in (lambda: read_frames(path, 4), lambda: read_audio(path, RATE)):
        with pytest.raises(MediaError, match=r"joined\.mpg: its time stamps begin anew, .* Convert each recording"):
            read()


def test_a_file_too_large_to_keep_is_joined_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [capture(tmp_path / f"{k}.ts", 1.0, 10 * k, 500) for k in range(2)]
    path = joined(parts, tmp_path / "joined.ts")
    kept = read_frames(path, 20), read_audio(path, RATE)
    monkeypatch.setattr(packets, "KEPT_BYTES", 1000)
    again = Path(shutil.copy(path, tmp_path / "again.ts"))
    assert np.array_equal(read_frames(again, 20), kept[0])
    assert np.array_equal(read_audio(again, RATE), kept[1])


def test_a_capture_that_lost_packets_is_refused(tmp_path: Path) -> None:
    data = capture(tmp_path / "a.ts", 3.0, 0, 500).read_bytes()
    chunks = [data[at : at + 188] for at in range(0, len(data), 188)]
    (tmp_path / "lost.ts").write_bytes(b"".join(chunks[: len(chunks) // 2] + chunks[len(chunks) // 2 + 5 :]))
    with pytest.raises(MediaError, match=r"lost\.ts: truncated or damaged"):
        read_frames(tmp_path / "lost.ts", 4)


# One survey for all cuts


@pytest.fixture
def surveys(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are surveyed from now on."""
    made: list[Path] = []
    real = packets.survey_packets

    def counted(path: Path, container: Any) -> Any:
        made.append(path)
        return real(path, container)

    monkeypatch.setattr(survey_cache, "survey_packets", counted)
    monkeypatch.setattr("affectgpt.media.source.survey_packets", counted)
    return made


CUTS: list[tuple[float | None, float | None]] = [(0.0, 0.5), (0.7, 1.1), (1.5, None), (None, 0.3), (None, None)]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "avi", "webm"])
def test_cuts_of_a_known_film_are_those_of_one_that_is_new(tmp_path: Path, surveys: list[Path], ending: str) -> None:
    path = tmp_path / f"film.{ending}"
    with av.open(str(path), "w") as container:
        codec, coder = {"avi": ("mpeg4", "libmp3lame"), "webm": ("libvpx-vp9", "libopus")}.get(
            ending, ("libx264", "aac")
        )
        picture = container.add_stream(codec, rate=10)
        sound = container.add_stream(coder, rate=48_000, layout="mono")
        add_pictures(container, picture, 20)
        add_sound(container, sound, [(0.0, tone(2.0, 48_000))], 48_000)
    wanted = Wanted(("frame", "audio"), 3)
    known = [decode(Media(path, start=start, end=end), wanted) for start, end in CUTS]
    assert surveys == [path]
    for number, (start, end) in enumerate(CUTS):
        new = Path(shutil.copy(path, tmp_path / f"new{number}.{ending}"))
        fresh = decode(Media(new, start=start, end=end), wanted)
        assert fresh.keys() == known[number].keys()
        assert all(np.array_equal(fresh[name], known[number][name]) for name in fresh)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_cuts_far_into_a_film_are_sought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    """Pictures and sound are those that decoding from the start gives."""
    path = tmp_path / f"film.{ending}"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10)
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        add_pictures(container, picture, 500)
        add_sound(container, sound, [(0.0, tone(50.0, RATE))], RATE)
    read_audio(path, RATE, 0.0, 1.0)

    for start, end in ((31.4, 32.9), (45.0, None), (40.013, 40.5)):
        part, numbers = (
            read_audio(path, RATE, start, end),
            [number_of(frame) for frame in read_frames(path, 3, start, end)],
        )
        monkeypatch.setattr("affectgpt.media.sound._SOUGHT_S", 1e9)
        whole = read_audio(path, RATE)[round(start * RATE) :][: len(part)]
        assert len(part) == (round((end - start) * RATE) if end else len(whole))
        assert np.abs(part - whole).max() < 1e-3
        assert np.abs(read_audio(path, RATE, start, end) - part).max() < 1e-3
        monkeypatch.undo()
        first = int(np.ceil(10 * start))
        count = (int(np.ceil(10 * end)) if end else 500) - first
        assert numbers == [(first + k * count // 3) % 40 for k in range(3)]


def test_a_film_that_changes_is_surveyed_anew(tmp_path: Path, surveys: list[Path]) -> None:
    path = write_film(tmp_path / "film.mp4", 1.0)
    assert survey_of(path).seconds == pytest.approx(1.0, abs=0.1)
    assert [number_of(frame) for frame in read_frames(path, 2)] == [0, 5]
    write_film(path, 2.0, first=20)
    assert [number_of(frame) for frame in read_frames(path, 2)] == [20, 30]
    assert survey_of(path).seconds == pytest.approx(2.0, abs=0.1)
    assert surveys == [path, path]
    path.unlink()
    with pytest.raises(MediaError, match="nothing there"):
        read_frames(path, 2)


def test_a_film_that_is_damaged_stays_so(tmp_path: Path, surveys: list[Path]) -> None:
    whole = write_film(tmp_path / "whole.mp4", 2.0, movflags="+faststart").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: len(whole) // 2])
    for _ in range(3):
        with pytest.raises(MediaError, match=r"cut\.mp4: truncated or damaged"):
            read_frames(path, 2)
    assert surveys == [path]


def test_surveys_of_a_few_files_are_kept(tmp_path: Path, surveys: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey_cache, "_KEPT_SURVEYS", 2)
    source = write_sound(tmp_path / "a.wav", tone(0.2, RATE), RATE)
    paths = [Path(shutil.copy(source, tmp_path / f"{number}.wav")) for number in range(3)]
    for path in (*paths, paths[2], paths[1], paths[0]):
        read_audio(path, RATE)
    assert surveys == [*paths, paths[0]]


# Names and lengths


@pytest.mark.parametrize(
    "name",
    ["a b.mp4", "a%d#?.mp4", 'it\'s "a",b.mp4', "file:a.mp4", "né\U0001f600.mp4", "-a.mp4", "A.MP4", "a|b;.mp4", "a"],
)
def test_films_of_any_name_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """See m-bain/whisperX#496 and shashikg/WhisperS2T#42."""
    shutil.copy(write_film(tmp_path / "film.mp4", 1.0), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    for path in (Path(name), tmp_path / name):
        assert [number_of(frame) for frame in read_frames(path, 2)] == [0, 5]
        assert heard(read_audio(path, RATE)) == 440


@pytest.mark.parametrize(("rate", "codec"), [(8_000, "pcm_mulaw"), (16_000, "pcm_s16le"), (96_000, "pcm_s24le")])
@pytest.mark.parametrize("samples", [80, 1600])
def test_sounds_of_a_few_samples_are_read(tmp_path: Path, samples: int, rate: int, codec: str) -> None:
    """See ZebangCheng/Emotion-LLaMA#62."""
    path = write_sound(tmp_path / "a.wav", np.full(samples * rate // 8_000, 0.5, np.float32), rate, codec)
    assert read_audio(path, RATE).shape == (2 * samples,)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_films_of_a_few_frames_are_read(tmp_path: Path, count: int) -> None:
    path = write_film(tmp_path / "film.mkv", count / 10)
    assert [number_of(frame) for frame in read_frames(path, 4)] == [min(k, count - 1) for k in range(4)] or count > 3
    assert len(read_audio(path, RATE)) > 0


# What is missing


def test_a_film_without_sound_says_what_to_do(tmp_path: Path) -> None:
    path = copy_streams([write_film(tmp_path / "film.mp4")], tmp_path / "mute.mp4", "video")
    with pytest.raises(survey.NoSoundError, match=r'mute\.mp4: no audio stream\. .* write "audio": false on its row'):
        read_audio(path, RATE)
    assert len(read_frames(path, 2)) == 2
    assert survey_of(path).seconds == pytest.approx(2.0, abs=0.1)
    with pytest.raises(MediaError, match=r"a\.wav: no video stream\. .* name it as the audio of its row"):
        read_frames(write_sound(tmp_path / "a.wav", tone(0.2, RATE), RATE), 2)


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"<html>" * 99, b"version https://git-lfs.github.com/spec/v1\n"])
def test_every_error_names_the_file_and_the_next_step(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad"
    path.write_bytes(content)
    for medium in ("video", "audio", "face", "image"):
        with pytest.raises(MediaError) as caught:
            decode(Media(**{medium: path}), Wanted(("face", "frame", "audio")))  # type: ignore[arg-type]
        what, _, step = str(caught.value).partition(". ")
        assert what.startswith(str(path))
        assert step.split()[0] in {"Copy", "Convert", "Fetch", "Save", "It"}, step


@pytest.mark.parametrize(
    ("content", "step"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Fetch it with: git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a web page, not the file itself: download it again"),
        (b"<html><body>404</body></html>", "a web page, not the file itself: download it again"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(500), "a picture: name it as the image of its row"),
        (b"\x89PNG\r\n\x1a\n" + bytes(500), "a picture: name it as the image of its row"),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "Copy or download it again, or convert it"),
    ],
)
def test_what_is_no_film_is_told_what_it_is(tmp_path: Path, content: bytes, step: str) -> None:
    """See CheyneyComputerScience/CREMA-D#8 and declare-lab/MELD#39."""
    (tmp_path / "a.mp4").write_bytes(content)
    for read in (lambda: read_frames(tmp_path / "a.mp4", 2), lambda: read_audio(tmp_path / "a.mp4", RATE)):
        with pytest.raises(MediaError, match=r"a\.mp4: (no video or audio file that can be read|a pointer)") as caught:
            read()
        assert step in str(caught.value)


@pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA holds no films of reports")
def test_films_of_reports() -> None:
    """See zaps166/QMPlay2#841, SubtitleEdit/subtitleedit#13787 and declare-lab/MELD#39."""
    frames = read_frames(SHARED / "coverfirst.mkv", 4)
    assert all(not np.array_equal(frames[0], frame) for frame in frames[1:])
    for name in ("twotracks.mkv", "twotracks.mp4"):
        assert heard(read_audio(SHARED / name, RATE)) < 1000
    for name in ("html.mp4", "empty.mp4", "cover.jpg"):
        with pytest.raises(MediaError, match=name):
            read_frames(SHARED / name, 2)


@pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA holds no films of reports")
@pytest.mark.parametrize(
    ("name", "codec_frames"),
    [
        (name, None)
        for name in ("vp9.webm", "av1.mkv", "hevc10.mp4", "old.wmv", "iemocap.avi", "cremad.flv", "offset10.ts")
    ]
    + [
        (name, None)
        for name in ("copycut.mp4", "copycut.mkv", "latevideo.mp4", "vfr.mp4", "odd161x119.mp4", "gray.mp4")
    ],
)
def test_films_that_are_odd_and_right(name: str, codec_frames: None) -> None:
    """See dmlc/decord#91, pytorch/vision#1221 and vllm-project/vllm#48608: frames are those of a plain loop."""
    path = SHARED / name
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        origin = (container.start_time or 0) / av.time_base
    every = np.stack([frame.to_ndarray(format="rgb24") for frame in frames])
    found, times = read_video(path, Uniform(len(every)))
    assert np.array_equal(found, every)
    assert np.allclose(times, [frame.time - origin for frame in frames], atol=1e-3)
    with open_media(path) as media:
        assert media.survey.seconds >= times[-1]


@pytest.mark.parametrize(("name", "codec"), [("a.mkv", "pcm_s16le"), ("a.webm", "libopus"), ("a.mka", "aac")])
def test_a_file_of_matroska_whose_stamps_begin_late_is_whole(tmp_path: Path, name: str, codec: str) -> None:
    """Its header counts the seconds from 0, not from the first stamp."""
    with av.open(str(tmp_path / name), "w") as container:
        add_sound(
            container, container.add_stream(codec, rate=48_000, layout="mono"), [(1.5, tone(1.0, 48_000))], 48_000
        )
    assert abs(len(read_audio(tmp_path / name, 16_000)) / 16_000 - 1.0) < 0.05
