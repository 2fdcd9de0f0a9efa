"""Decoding: the right frames and samples of good files, and words for every kind of bad one."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from affectgpt.media.decode import MediaError, even_indices, read_audio, read_face, read_frames

HEIGHT, WIDTH = 48, 64
STEP = 6


def write_video(
    path: Path,
    num_frames: int = 40,
    rate: int = 10,
    codec: str = "libx264",
    stamps: list[int] | None = None,
    audio: str | None = "aac",
    options: dict[str, str] | None = None,
) -> Path:
    """Frame k has the grey level STEP * k in its lower half and noise above; the sound is a sine as long."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options=options or {}) as container:
        picture = container.add_stream(codec, rate=rate)
        picture.width, picture.height, picture.pix_fmt, picture.gop_size = WIDTH, HEIGHT, "yuv420p", 12
        picture.bit_rate = 2_000_000
        sound = container.add_stream(audio, rate=48000, layout="mono") if audio else None
        for index in range(num_frames):
            pixels = np.full((HEIGHT, WIDTH, 3), STEP * index, np.uint8)
            pixels[: HEIGHT // 2] = rng.integers(0, 255, (HEIGHT // 2, WIDTH, 3))
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (stamps[index] if stamps else index), Fraction(1, rate)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if sound:
            add_sound(container, sound, sine(num_frames / rate, 48000)[None], 48000, "mono")
    return path


def add_sound(container, stream, wave: np.ndarray, rate: int, layout: str) -> None:
    for start in range(0, wave.shape[1], 1024):
        block = np.ascontiguousarray(wave[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def sine(seconds: float, rate: int, hertz: float = 440) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def write_sound(path: Path, wave: np.ndarray, rate: int, codec: str = "pcm_f32le") -> Path:
    """`wave` is (channels, samples)."""
    layout = "stereo" if len(wave) == 2 else "mono"
    with av.open(str(path), "w") as container:
        add_sound(container, container.add_stream(codec, rate=rate, layout=layout), wave, rate, layout)
    return path


def levels(frames: np.ndarray) -> list[int]:
    """Which frame each one is, read from its grey."""
    return [round(float(frame[HEIGHT * 3 // 4 :].mean()) / STEP) for frame in frames]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(scope="module")
def clip(folder: Path) -> Path:
    return write_video(folder / "clip.mp4", options={"movflags": "+faststart"})


# Frames


def test_indices_are_spread_evenly_and_the_last_is_repeated() -> None:
    assert even_indices(10, 4) == [0, 2, 5, 7]
    assert even_indices(4, 4) == [0, 1, 2, 3]
    assert even_indices(3, 5) == [0, 1, 2, 2, 2]
    assert even_indices(0, 5) == []
    with pytest.raises(ValueError, match="num_frames must be 1 or more"):
        even_indices(5, 0)


def test_frames_of_a_whole_video(clip: Path) -> None:
    frames = read_frames(clip, 8)
    assert frames.shape == (8, HEIGHT, WIDTH, 3)
    assert frames.dtype == np.uint8
    assert levels(frames) == [0, 5, 10, 15, 20, 25, 30, 35]


def test_frames_are_rgb(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "red.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        red = np.broadcast_to(np.array([255, 0, 0], np.uint8), (HEIGHT, WIDTH, 3))
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(red), format="rgb24")))
        container.mux(stream.encode(None))
    pixel = read_frames(tmp_path / "red.mp4", 1)[0, 20, 20]
    assert pixel[0] > 240
    assert max(pixel[1:]) < 15


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1.0, 2.0, [10, 12, 15, 17]), (3.0, None, [30, 32, 35, 37]), (None, 0.2, [0, 1, 1, 1]), (2.5, 2.6, [25] * 4)],
)
def test_frames_of_a_part(clip: Path, start: float | None, end: float | None, expected: list[int]) -> None:
    assert levels(read_frames(clip, 4, start, end)) == expected


@pytest.mark.parametrize(
    ("name", "codec", "audio"),
    [("a.mkv", "libx264", "aac"), ("a.avi", "mpeg4", None), ("a.ts", "libx264", "aac"), ("a.webm", "libvpx-vp9", None)],
)
def test_other_containers(tmp_path: Path, name: str, codec: str, audio: str | None) -> None:
    path = write_video(tmp_path / name, codec=codec, audio=audio)
    assert levels(read_frames(path, 4)) == [0, 10, 20, 30]
    assert levels(read_frames(path, 4, 1.95, 2.35)) == [20, 21, 22, 23]


def test_a_part_ends_before_the_frame_at_its_end_where_frames_are_swept(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", codec="mpeg4", audio=None)
    assert levels(read_frames(path, 12, 2.0, 3.0)) == [*range(20, 30), 29, 29]
    assert levels(read_frames(path, 4, 3.9)) == [39] * 4


def test_variable_frame_rate(tmp_path: Path) -> None:
    stamps = [*range(10), *range(10, 50, 4)]
    path = write_video(tmp_path / "vfr.mp4", 20, stamps=stamps, audio=None)
    assert levels(read_frames(path, 4)) == [0, 5, 10, 15]
    assert levels(read_frames(path, 2, 1.0, 2.0)) == [10, 11]  # frames 10, 11, 12 at 1.0, 1.4 and 1.8 s


def test_fewer_frames_than_asked(tmp_path: Path) -> None:
    path = write_video(tmp_path / "one.mp4", 1)
    assert levels(read_frames(path, 4)) == [0, 0, 0, 0]


def test_rotation_is_applied(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    matrix = data.find(b"tkhd") + 44
    struct.pack_into(">9i", data, matrix, 0, 1 << 16, 0, -(1 << 16), 0, 0, HEIGHT << 16, 0, 1 << 30)
    (tmp_path / "phone.mp4").write_bytes(data)
    upright = read_frames(tmp_path / "phone.mp4", 4)
    assert upright.shape == (4, WIDTH, HEIGHT, 3)
    assert np.array_equal(upright, np.rot90(read_frames(clip, 4), k=-1, axes=(1, 2)))


def test_frames_before_an_edit_are_skipped(tmp_path: Path) -> None:
    source = write_video(tmp_path / "source.mp4", audio=None)
    with av.open(str(source)) as read, av.open(str(tmp_path / "cut.mp4"), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None and packet.pts * packet.time_base >= Fraction(12, 10):
                packet.pts -= int(2 / packet.time_base)
                packet.dts -= int(2 / packet.time_base)
                packet.stream = stream
                write.mux(packet)
    with av.open(str(tmp_path / "cut.mp4")) as read:
        assert read.streams.video[0].frames > 20  # what the header says
        shown = levels(np.stack([frame.to_ndarray(format="rgb24") for frame in read.decode(video=0)]))
    assert len(shown) <= 20
    assert shown[0] >= 20
    assert levels(read_frames(tmp_path / "cut.mp4", 4)) == [shown[k * len(shown) // 4] for k in range(4)]


def test_frames_that_change_their_size_get_that_of_the_first(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "both.webm"), "w") as write:
        stream = None
        for part, (width, height) in enumerate([(WIDTH, HEIGHT), (2 * WIDTH, 2 * HEIGHT)]):
            frames = np.full((5, height, width, 3), 40 * (part + 1), np.uint8)
            with av.open(str(tmp_path / f"{part}.webm"), "w") as one:
                picture = one.add_stream("libvpx", rate=10)
                picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
                for pixels in frames:
                    one.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
                one.mux(picture.encode(None))
            with av.open(str(tmp_path / f"{part}.webm")) as read:
                stream = stream or write.add_stream_from_template(read.streams.video[0])
                for packet in read.demux(video=0):
                    if packet.dts is not None:
                        shift = int(part * Fraction(5, 10) / packet.time_base)
                        packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
                        write.mux(packet)
    found = read_frames(tmp_path / "both.webm", 10)
    assert found.shape == (10, HEIGHT, WIDTH, 3)
    assert [round(float(frame.mean()) / 40) for frame in found] == [1] * 5 + [2] * 5


def test_of_several_tracks_the_first_is_read(tmp_path: Path) -> None:
    waves = [sine(1.0, 8000), np.zeros(8000, np.float32)]
    with av.open(str(tmp_path / "two.mka"), "w") as container:
        tracks = [container.add_stream("pcm_f32le", rate=8000, layout="mono") for _ in waves]
        for track, wave in zip(tracks, waves, strict=True):
            add_sound(container, track, wave[None], 8000, "mono")
    assert np.allclose(read_audio(tmp_path / "two.mka", 8000), waves[0], atol=1e-6)


def test_a_wrong_extension_does_not_matter(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "really_mp4.avi").write_bytes(clip.read_bytes())
    assert levels(read_frames(tmp_path / "really_mp4.avi", 2)) == [0, 20]


# Sound


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (44100, 1), (48000, 2)])
def test_sound_is_resampled_to_mono(tmp_path: Path, rate: int, channels: int) -> None:
    path = write_sound(tmp_path / "a.wav", np.repeat(sine(1.0, rate)[None], channels, axis=0), rate)
    samples = read_audio(path, 16000)
    assert samples.shape == (16000,)
    assert samples.dtype == np.float32
    assert np.abs(samples - sine(1.0, 16000))[200:-200].max() < 0.01


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = sine(1.0, 16000)
    path = write_sound(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)]), 16000)
    assert np.allclose(read_audio(path, 16000), left / 2, atol=1e-6)


def test_sound_of_a_video(clip: Path) -> None:
    samples = read_audio(clip, 16000)
    assert abs(len(samples) - 64000) < 500
    assert abs(float(np.sqrt((samples**2).mean())) - 0.5 / np.sqrt(2)) < 0.02


def test_sound_of_a_part(tmp_path: Path) -> None:
    ramp = np.linspace(0, 0.9, 3 * 8000, dtype=np.float32)
    path = write_sound(tmp_path / "ramp.wav", ramp[None], 8000)
    part = read_audio(path, 16000, 1.0, 1.5)
    assert part.shape == (8000,)
    assert np.abs(part - np.linspace(0.3, 0.45, 8000)).max() < 1e-3
    assert read_audio(path, 16000, 2.5).shape == (8000,)
    assert read_audio(path, 16000, None, 0.25).shape == (4000,)


def test_a_part_sounds_as_it_does_in_the_whole(tmp_path: Path) -> None:
    """Also at its edges, where a resampler that starts or ends there would fade."""
    path = write_sound(tmp_path / "a.wav", sine(3.0, 8000)[None], 8000)
    start, end = 8 * 1024 / 8000, 12 * 1024 / 8000  # where blocks of the file begin
    part, whole = read_audio(path, 16000, start, end), read_audio(path, 16000)
    assert np.abs(part - whole[round(start * 16000) : round(end * 16000)]).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "codec", "rate"),
    [
        ("a.m4a", "aac", 44100),
        ("a.mp3", "libmp3lame", 44100),
        ("a.ogg", "libopus", 48000),
        ("a.flac", "flac", 8000),
        ("a.mka", "pcm_s16le", 8000),
        ("a.webm", "libopus", 48000),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_other_formats(tmp_path: Path, name: str, codec: str, rate: int, channels: int) -> None:
    path = write_sound(tmp_path / name, np.repeat(sine(2.0, rate)[None], channels, axis=0), rate, codec)
    samples = read_audio(path, 16000)
    assert abs(len(samples) - 32000) < 1700  # coders add silence before and after
    assert abs(float(np.sqrt((samples[2000:-2000] ** 2).mean())) - 0.5 / np.sqrt(2)) < 0.02
    with pytest.raises(MediaError, match="no video stream"):
        read_frames(path, 4)


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.mp3", sine(1.0, 44100)[None], 44100, "libmp3lame").read_bytes()
    _, picture = cv2.imencode(".png", np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    cover = b"\0image/png\0\x03\0" + picture.tobytes()
    frame = b"APIC" + struct.pack(">IH", len(cover), 0) + cover
    size = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    (tmp_path / "cover.mp3").write_bytes(b"ID3\x03\0\0" + size + frame + sound[sound.find(b"\xff\xfb") :])
    with av.open(str(tmp_path / "cover.mp3")) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video"]
    with pytest.raises(MediaError, match=r"cover\.mp3: no video stream"):
        read_frames(tmp_path / "cover.mp3", 4)
    assert abs(len(read_audio(tmp_path / "cover.mp3", 16000)) - 16000) < 1700


def test_a_wav_written_to_a_pipe_is_whole(tmp_path: Path) -> None:
    data = bytearray(write_sound(tmp_path / "a.wav", sine(1.0, 8000)[None], 8000, "pcm_s16le").read_bytes())
    size = data.find(b"data") + 4
    data[4:8] = data[size : size + 4] = b"\xff" * 4
    (tmp_path / "pipe.wav").write_bytes(data)
    assert read_audio(tmp_path / "pipe.wav", 8000).shape == (8000,)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(tmp_path: Path, value: float) -> None:
    wave = sine(0.5, 16000)
    wave[100] = value
    path = write_sound(tmp_path / "a.wav", wave[None], 16000)
    with pytest.raises(MediaError, match="NaN or infinite"):
        read_audio(path, 16000)


# Files that cannot be used


@pytest.mark.parametrize(("name", "codec"), [("a.wav", "pcm_s16le"), ("a.m4a", "aac"), ("a.flac", "flac")])
def test_sound_without_a_sample(tmp_path: Path, name: str, codec: str) -> None:
    with av.open(str(tmp_path / name), "w") as container:
        container.add_stream(codec, rate=16000, layout="mono")
        container.start_encoding()
    with pytest.raises(MediaError, match=rf"{name}: (no audio sample decodes|no video or audio file|no audio stream)"):
        read_audio(tmp_path / name, 16000)


@pytest.mark.parametrize("rate", [1, 2**31])
def test_sound_at_an_absurd_rate(tmp_path: Path, rate: int) -> None:
    data = bytearray(write_sound(tmp_path / "a.wav", sine(1.0, 8000)[None], 8000).read_bytes())
    struct.pack_into("<I", data, data.find(b"fmt ") + 12, rate)
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(MediaError, match=r"a\.wav"):
        read_audio(tmp_path / "a.wav", 16000)


def test_bytes_as_of_an_encrypted_file(clip: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).bytes(clip.stat().st_size)
    (tmp_path / "noise.mp4").write_bytes(noise)
    (tmp_path / "body.mp4").write_bytes(clip.read_bytes()[:64] + noise[64:])
    for name in ("noise.mp4", "body.mp4"):
        with pytest.raises(MediaError, match=name):
            read_frames(tmp_path / name, 4)
        with pytest.raises(MediaError, match=name):
            read_audio(tmp_path / name, 16000)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("name", ["fast.mp4", "plain.mp4", "a.mkv", "a.avi"])
def test_truncated_videos(folder: Path, tmp_path: Path, name: str, share: float) -> None:
    whole = folder / name
    if not whole.exists():
        codec = "mpeg4" if name == "a.avi" else "libx264"
        write_video(whole, codec=codec, options={"movflags": "+faststart"} if name == "fast.mp4" else None)
    data = whole.read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    for read in (lambda: read_frames(path, 4), lambda: read_audio(path, 16000), lambda: read_frames(path, 4, 0.0, 0.5)):
        with pytest.raises(MediaError, match=r"truncated|no video or audio file") as caught:
            read()
        assert str(path) in str(caught.value)


def test_a_truncated_file_tells_the_seconds(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(MediaError, match=r"[12]\.\d\d s decode of the 4\.0\d s promised"):
        read_frames(tmp_path / "a.mp4", 4)


@pytest.mark.parametrize("size", [4096 * 3, 9000])
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_truncated_sound(tmp_path: Path, size: int, codec: str) -> None:
    data = write_sound(tmp_path / "a.wav", sine(2.0, 8000)[None], 8000, codec).read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: data.find(b"data") + 8 + size])
    with pytest.raises(MediaError, match=r"s decode of the [12]\.\d\d s promised"):
        read_audio(tmp_path / "cut.wav", 8000)


def test_packets_that_are_damaged(clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    half = len(data) // 2
    data[half:] = bytes(len(data) - half)
    (tmp_path / "zeros.mp4").write_bytes(data)
    with pytest.raises(MediaError, match="truncated or damaged"):
        read_frames(tmp_path / "zeros.mp4", 4)
    with pytest.raises(MediaError, match="truncated or damaged"):  # where nothing damaged would be decoded, too
        read_frames(tmp_path / "zeros.mp4", 2, 0.0, 0.5)


def test_a_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    data = bytearray(write_video(tmp_path / "a.mkv", audio=None).read_bytes())
    duration = data.find(b"\x44\x89\x88") + 3  # Segment > Info > Duration, a float of 8 bytes, in ms
    assert struct.unpack_from(">d", data, duration) == (pytest.approx(4000, abs=100),)
    struct.pack_into(">d", data, duration, 12000.0)
    (tmp_path / "long.mkv").write_bytes(data)
    with pytest.raises(MediaError, match=r"4\.\d\d s decode of the 12\.00 s promised"):
        read_frames(tmp_path / "long.mkv", 4)
    struct.pack_into(">d", data, duration, 4400.0)  # too little to tell from rounding
    (tmp_path / "long.mkv").write_bytes(data)
    assert levels(read_frames(tmp_path / "long.mkv", 4)) == [0, 10, 20, 30]


@pytest.mark.parametrize(("rate", "promised_ms"), [(10, 4450.0), (4, 10900.0)])
def test_what_a_header_may_overstate(tmp_path: Path, rate: int, promised_ms: float) -> None:
    """Up to half a second in a short file, a tenth in a long one."""
    data = bytearray(write_video(tmp_path / "a.mkv", rate=rate, audio=None).read_bytes())
    struct.pack_into(">d", data, data.find(b"\x44\x89\x88") + 3, promised_ms)
    (tmp_path / "long.mkv").write_bytes(data)
    assert levels(read_frames(tmp_path / "long.mkv", 4)) == [0, 10, 20, 30]


def test_a_name_with_a_colon_is_no_protocol(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "take:2.mp4").write_bytes(clip.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert levels(read_frames("take:2.mp4", 2)) == [0, 20]


def test_a_decoder_that_stops_early(tmp_path: Path) -> None:
    # Whole packets, but those of the second half hold noise.
    source = write_video(tmp_path / "a.mkv", codec="libvpx-vp9", audio=None)
    with av.open(str(source)) as read, av.open(str(tmp_path / "b.mkv"), "w") as write:
        stream = write.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is None:
                continue
            damaged = av.Packet(b"\xff" * 40 if packet.pts * packet.time_base > 2 else bytes(packet))
            damaged.pts, damaged.dts, damaged.time_base = packet.pts, packet.dts, packet.time_base
            damaged.is_keyframe, damaged.stream = packet.is_keyframe, stream
            write.mux(damaged)
    with pytest.raises(MediaError, match=r"[12]\.\d\d s decode of the [34]\.\d\d s promised"):
        read_frames(tmp_path / "b.mkv", 4)


def test_files_that_are_no_media(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video\n" * 500)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
    (tmp_path / "pointer.mp4").write_text(pointer)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nclip.ts\n#EXT-X-ENDLIST\n")
    words = {
        "empty.mp4": "is empty",
        "text.mp4": "no video or audio file",
        "list.mp4": "no video or audio file",
        "pointer.mp4": r"a pointer of Git LFS, not the file itself; fetch it with: git lfs pull",
        "missing.mp4": "nothing there",
        "": "a folder",
    }
    for name, word in words.items():
        with pytest.raises(MediaError, match=word):
            read_frames(tmp_path / name, 4)
        with pytest.raises(MediaError, match=word):
            read_audio(tmp_path / name, 16000)


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.ts")
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:4,\nclip.ts\n#EXT-X-ENDLIST\n"
    (tmp_path / "list.m3u8").write_text(playlist)
    with av.open(str(tmp_path / "list.m3u8")) as container:
        assert container.format.name == "hls"
    with pytest.raises(MediaError):
        read_frames(tmp_path / "list.m3u8", 4)


def test_missing_streams_and_empty_parts(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no audio stream"):
        read_audio(write_video(tmp_path / "mute.mp4", 5, audio=None), 16000)
    with pytest.raises(MediaError, match="no video stream"):
        read_frames(write_sound(tmp_path / "a.wav", sine(0.2, 8000)[None], 8000), 4)
    with pytest.raises(MediaError, match="no video frame between 9 s and the end"):
        read_frames(clip, 4, 9.0)
    with pytest.raises(MediaError, match="no audio sample between 9 s and 10 s"):
        read_audio(clip, 16000, 9.0, 10.0)


def test_nothing_is_printed(clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(MediaError):
        read_frames(tmp_path / "a.mp4", 4)
    assert capfd.readouterr() == ("", "")


# Face crops


def test_face_crops(tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 255, (10, 4, 5, 3), dtype=np.uint8)
    np.save(tmp_path / "face.npy", crops)
    assert np.array_equal(read_face(tmp_path / "face.npy", 4), crops[[0, 2, 5, 7]])
    assert np.array_equal(read_face(tmp_path / "face.npy", 12), crops[[*range(10), 9, 9]])


def test_face_files_that_cannot_be_used(tmp_path: Path) -> None:
    np.save(tmp_path / "float.npy", np.zeros((2, 4, 4, 3), np.float32))
    np.save(tmp_path / "grey.npy", np.zeros((2, 4, 4), np.uint8))
    np.save(tmp_path / "none.npy", np.zeros((0, 4, 4, 3), np.uint8))
    np.save(tmp_path / "pickle.npy", np.array([{"a": 1}], dtype=object))
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4294967296, 4294967296, 1, 3)}".ljust(117) + b"\n"
    (tmp_path / "absurd.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(99))
    np.savez(tmp_path / "archive.npz", crops=np.zeros((2, 4, 4, 3), np.uint8))
    np.save(tmp_path / "whole.npy", np.zeros((2, 4, 4, 3), np.uint8))
    whole = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-1])
    (tmp_path / "header.npy").write_bytes(whole[:20])
    (tmp_path / "empty.npy").touch()
    words = {
        "float.npy": "uint8 face crops, got .* float32",
        "grey.npy": r"uint8 face crops, got \(2, 4, 4\)",
        "none.npy": "no face crop",
        "pickle.npy": "not a whole .npy",
        "archive.npz": "not a whole .npy",
        "cut.npy": "not a whole .npy",
        "absurd.npy": "not a whole .npy",
        "header.npy": "not a whole .npy",
        "empty.npy": "is empty",
        "missing.npy": "nothing there",
    }
    for name, word in words.items():
        with pytest.raises(MediaError, match=word):
            read_face(tmp_path / name, 4)
