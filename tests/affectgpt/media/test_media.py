"""The table of media: each is a field of a row, what is decoded is a field of `Media` and has a reader."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

import pytest

from affectgpt.clip import Clip
from affectgpt.media.bundle import Media
from affectgpt.media.media import DECODED, MEDIA, medium_of
from affectgpt.model.configuration import STREAMS


def test_every_medium_is_a_field_of_rows_and_what_is_decoded_one_of_media_with_a_reader() -> None:
    assert set(MEDIA) <= {item.name for item in fields(Clip)}
    assert DECODED == ("video", "audio", "face", "image")
    assert set(DECODED) <= {item.name for item in fields(Media)}
    for name, medium in MEDIA.items():
        assert bool(medium.streams) == bool(medium.reader) == (name in DECODED)
        assert set(medium.streams) <= set(STREAMS)
        assert not medium.reader or callable(resolve_name(medium.reader))


@pytest.mark.parametrize(
    ("file", "medium"),
    [
        ("a.mp4", "video"),
        ("a.gif", "video"),
        ("a.WAV", "audio"),
        ("a.JPeG", "image"),
        ("a.png", "image"),
        ("a.npy", "face"),
        ("a.npz", "signal"),
        ("a.fif.gz", "signal"),
        ("a.gz", "video"),
        ("mp3", "video"),
    ],
)
def test_a_file_is_taken_for_what_its_ending_says(file: str, medium: str) -> None:
    assert medium_of(Path("folder.wav", file)) == medium


def test_rows_are_parsed_without_a_decoder() -> None:
    code = "import sys, affectgpt.clip; print({'av', 'cv2', 'PIL', 'mne', 'torch'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
