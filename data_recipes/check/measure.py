"""Measurements of one clip: lengths, silence, pictures of nothing. Imports no torch: decoding workers load this."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np

from affectgpt.media.bundle import Decoded, Media, Wanted, decode
from affectgpt.media.source import MediaError, NoSoundError, open_media

_RATE = 16_000
_SILENT = 2**-14
"""Peak below which sound counts as silent: two steps of 16 bits."""
_FLAT, _STILL, _BLACK = 4, 12, 16
"""Largest difference of values of 8 bits that lossy encoders leave within a picture of one colour and between the tiles
of equal pictures; brightest value of a black picture."""
_TILES = 16
"""Tiles of a picture, along each side, whose mean colours are compared."""
MUTE = "no sound"
"""Second argument of the error of a video that only lacks sound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Measurements of a clip. Seconds are those of the part in [start, end)."""

    sound_s: float | None = None
    """Length of its sound; None where it has none."""
    video_s: float | None = None
    """Length of its video; None where it has none."""
    file_s: float | None = None
    """Length of the whole of the video or sound that it is cut from; None where there is neither."""
    has_no_sound_track: bool = False
    """Whether the row expects the video to have sound, which it has not."""
    is_silent: bool = False
    is_black: bool = False
    is_one_colour: bool = False
    """Whether no picture shows anything, black or not."""
    is_still: bool = False
    """Whether the frames of a video are all the same."""


MeasuredMedia: TypeAlias = dict[Media, Measured]


def measure(media: Media) -> Measured:
    """Decode a clip as training would, and measure it.

    Raises:
        MediaError: it cannot be decoded; of a video that only lacks sound, with `MUTE` as second argument.
    """
    # Faces are looked for in pictures that decode anyhow: only crops of their own can be damaged.
    wanted = Wanted(("frame", "audio", *(["face"] if media.face is not None else [])), sample_rate=_RATE)
    try:
        decoded = decode(media, wanted)
    except MediaError as error:
        if media.source("audio") == "video" and isinstance(error, NoSoundError):
            decode(replace(media, has_sound=False), wanted)
            raise MediaError(str(error), MUTE) from error
        length = _file_seconds(media)
        if media.start is not None and length is not None and media.start >= length:
            raise MediaError(f"{str(error).removesuffix('.')}. The file ends at {length:.2f} s") from error
        raise
    length = _file_seconds(media)
    sound = decoded.get("audio")
    video_s = None
    if media.video is not None and length is not None:
        video_s = max(0.0, min(length, length if media.end is None else media.end) - (media.start or 0.0))
    return Measured(
        sound_s=None if sound is None else len(sound) / _RATE,
        video_s=video_s,
        file_s=length,
        has_no_sound_track=sound is None and media.has("audio"),
        is_silent=sound is not None and float(np.abs(sound).max()) < _SILENT,
        **_pictures(decoded, media),
    )


def _pictures(decoded: Decoded, media: Media) -> dict[str, bool]:
    pictures = decoded.get("frame", decoded.get("face"))
    if pictures is None:
        return {}
    flat = (pictures.max(axis=(1, 2)).astype(int) - pictures.min(axis=(1, 2)) <= _FLAT).all()
    moves = media.video is not None and len(set(decoded.get("times", np.zeros(1)).tolist())) > 1
    still = moves and not flat and _never_changes(pictures)
    return {
        "is_one_colour": bool(flat),
        "is_black": bool(flat and pictures.max() <= _BLACK),
        "is_still": still,
    }


def _never_changes(pictures: np.ndarray) -> bool:
    """Tell whether (F, H, W, 3) uint8 pictures are equal but for what an encoder changes."""
    tiles = [cv2.resize(picture, (_TILES, _TILES), interpolation=cv2.INTER_AREA).astype(int) for picture in pictures]
    return max(int(np.abs(picture - tiles[0]).max()) for picture in tiles) <= _STILL


def _file_seconds(media: Media) -> float | None:
    """Return the end of the longer of a clip's video and sound; None if it has neither that can be opened."""
    lengths = []
    for name in ("video", "audio"):
        path = media.file(name)
        if path is not None:
            status = os.stat(path)
            lengths.append(_seconds(path, name, status.st_mtime_ns, status.st_size))
    known = [length for length in lengths if length is not None]
    return max(known, default=None)


@lru_cache(maxsize=64)
def _seconds(path: Path, name: str, modified: int, size: int) -> float | None:
    """Return the length of a file; many clips may be cut from one, and it is read whole for it."""
    try:
        with open_media(path) as file:
            return file.track("video" if name == "video" else "audio").seconds
    except MediaError:
        return None
