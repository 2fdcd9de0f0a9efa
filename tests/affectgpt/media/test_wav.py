"""WAV files whose length was left open are read to their end; those that are cut short are refused."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from affectgpt.media.decode import MediaError, read_audio
from affectgpt.media.survey_cache import survey_of
from affectgpt.media.wav import wav_with_its_length
from tests.support.films import tone, write_sound

SHARED = Path(os.environ.get("SHARED_DATA", "/nowhere"), "reported", "media")
RATE = 8_000
OPEN = [
    (0x7FFFF024, 0x7FFFF000),
    (0x80000024, 0x80000000),
    (0x7FFFFFFF, 0x7FFFFFFF),
    (0xFFFFFFFF, 0xFFFFFFFF),
    (0, 0),
    (36, 0),
    (0xFFFFFFFF, 0),
    (0x7FFF0024, 0x7FFF0000),
    (0xFFFFFFFF, 0xFFFFFFDB),
    (0x7FFFFFFE, 0x7FFFFFDA),
    (0, 0xFFFFFFFF),
    (37, 1),
    (38, 2),
]
"""Sizes of the whole and of the sound that writers to pipes leave: SoX, arecord, speech services, FFmpeg and others."""


@pytest.fixture
def pcm(tmp_path: Path) -> Path:
    return write_sound(tmp_path / "whole.wav", tone(2.0, RATE), RATE, fflags="+bitexact")


def with_sizes(source: Path, path: Path, whole: int, sound: int, keep: int | None = None) -> Path:
    """Copy a WAV with other sizes in its header, and only its first `keep` bytes."""
    data = bytearray(source.read_bytes())
    struct.pack_into("<I", data, 4, whole)
    struct.pack_into("<I", data, data.find(b"data") + 4, sound)
    path.write_bytes(data[:keep])
    return path


@pytest.mark.parametrize(("whole", "sound"), OPEN)
def test_sound_of_a_length_left_open_reaches_to_the_end(pcm: Path, tmp_path: Path, whole: int, sound: int) -> None:
    path = with_sizes(pcm, tmp_path / "pipe.wav", whole, sound)
    assert np.array_equal(read_audio(path, RATE), read_audio(pcm, RATE))
    assert np.array_equal(read_audio(path, RATE, 0.5, 1.25), read_audio(pcm, RATE, 0.5, 1.25))
    assert survey_of(path).seconds == 2.0
    assert len(read_audio(path, RATE, 1.5)) == RATE // 2


@pytest.mark.parametrize("codec", ["pcm_s24le", "pcm_f32le", "pcm_u8", "adpcm_ima_wav", "pcm_mulaw"])
def test_sound_of_other_codecs_too(tmp_path: Path, codec: str) -> None:
    whole = write_sound(tmp_path / "whole.wav", np.stack([tone(1.0, RATE)] * 2), RATE, codec)
    path = with_sizes(whole, tmp_path / "pipe.wav", 0x7FFFF024, 0x7FFFF000)
    assert len(read_audio(path, RATE)) >= RATE
    assert np.array_equal(read_audio(path, RATE)[:RATE], read_audio(whole, RATE)[:RATE])


@pytest.mark.parametrize(("sizes", "sound"), [((0, 0), 0xFFFFFFFF), ((2**64 - 1, 2**64 - 1), 0xFFFFFFFF), ((0, 0), 0)])
@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
def test_sound_of_the_large_formats(pcm: Path, tmp_path: Path, name: bytes, sizes: tuple[int, int], sound: int) -> None:
    data = pcm.read_bytes()
    begin = data.find(b"data") + 8
    large = b"ds64" + struct.pack("<IQQQI", 28, *sizes, sizes[1], 0)
    head = name + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + large + data[12 : begin - 4] + struct.pack("<I", sound)
    (tmp_path / "pipe.wav").write_bytes(head + data[begin:])
    assert np.array_equal(read_audio(tmp_path / "pipe.wav", RATE), read_audio(pcm, RATE))


def test_a_large_file_that_tells_its_length_is_believed(tmp_path: Path) -> None:
    whole = write_sound(tmp_path / "whole.wav", tone(2.0, RATE), RATE, rf64="always")
    assert whole.read_bytes().startswith(b"RF64")
    assert wav_with_its_length(whole) is None
    assert len(read_audio(whole, RATE)) == 2 * RATE
    (tmp_path / "cut.wav").write_bytes(whole.read_bytes()[:9000])
    with pytest.raises(MediaError, match=r"cut\.wav: truncated or damaged"):
        read_audio(tmp_path / "cut.wav", RATE)


@pytest.mark.parametrize("sound", [0, 24, 2**63 - 1, 2**64 - 1, 24 + 0x7FFFF000])
def test_sound_of_wave64(tmp_path: Path, sound: int) -> None:
    whole = write_sound(tmp_path / "whole.w64", tone(2.0, RATE), RATE)
    data = bytearray(whole.read_bytes())
    struct.pack_into("<Q", data, 16, 0 if sound < 2**32 else sound)
    struct.pack_into("<Q", data, data.find(b"data\xf3\xac\xd3\x11") + 16, sound)
    (tmp_path / "pipe.w64").write_bytes(data)
    assert np.array_equal(read_audio(tmp_path / "pipe.w64", RATE), read_audio(whole, RATE))


@pytest.mark.parametrize("whole", [32036, 0, 0xFFFFFFFF, 0x7FFFF024])
def test_a_file_cut_short_of_a_length_that_was_measured_is_refused(pcm: Path, tmp_path: Path, whole: int) -> None:
    path = with_sizes(pcm, tmp_path / "cut.wav", whole, 32000, keep=16_000)
    with pytest.raises(MediaError, match=r"cut\.wav: truncated or damaged: .* Copy or download it again\."):
        read_audio(path, RATE)


def test_a_whole_file_with_an_open_size_of_the_whole_is_read(pcm: Path, tmp_path: Path) -> None:
    for whole in (0, 0xFFFFFFFF, 0x80000024):
        path = with_sizes(pcm, tmp_path / f"{whole}.wav", whole, 32000)
        assert np.array_equal(read_audio(path, RATE), read_audio(pcm, RATE))


def test_what_follows_the_sound_is_no_sound(pcm: Path, tmp_path: Path) -> None:
    tail = b"LIST" + struct.pack("<I", 4) + b"INFO"
    data = bytearray(pcm.read_bytes() + tail)
    struct.pack_into("<I", data, 4, len(data) - 8)
    (tmp_path / "tail.wav").write_bytes(data)
    assert len(read_audio(tmp_path / "tail.wav", RATE)) == 2 * RATE


def test_a_recording_of_nothing_is_refused(pcm: Path, tmp_path: Path) -> None:
    header = pcm.read_bytes()[: pcm.read_bytes().find(b"data") + 8]
    for whole, sound in OPEN:
        path = with_sizes(pcm, tmp_path / "empty.wav", whole, sound, keep=len(header))
        with pytest.raises(MediaError, match=r"empty\.wav: (no audio sample decodes|no video or audio file)"):
            read_audio(path, RATE)


def test_files_that_are_whole_are_not_touched(pcm: Path, tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "short.wav").write_bytes(b"RIFF")
    loop = b"RIFF\xff\xff\xff\xff" + b"WAVE" + b"junk\0\0\0\0" * 50
    (tmp_path / "loop.wav").write_bytes(loop)
    for path in (pcm, *(tmp_path / name for name in ("noise.wav", "short.wav", "loop.wav"))):
        assert wav_with_its_length(path) is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="SHARED_DATA holds no sounds of reports")
@pytest.mark.parametrize("name", ["sox_pipe.wav", "arecord.wav", "elevenlabs.wav", "zeros.wav", "ones.wav"])
def test_sounds_that_were_written_to_a_pipe(name: str) -> None:
    """See kaldi-asr/kaldi#1567, speaches-ai/speaches#493 and pollinations/pollinations#11457."""
    assert np.array_equal(read_audio(SHARED / name, 16_000), read_audio(SHARED / "fine.wav", 16_000))
