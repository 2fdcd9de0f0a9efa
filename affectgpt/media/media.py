"""Every kind of file that a row may name, in one table. Imports nothing: rows are parsed without a decoder.

A new medium is a line of `MEDIA`, a function that decodes it, and a field of its name in `Clip` and, where models take
it, in `Media`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """Kind of file."""

    suffixes: tuple[str, ...]
    """File name endings in lower case, by which importers tell media apart."""
    streams: tuple[str, ...] = ()
    """Streams that models can take from it: some of 'face', 'frame' and 'audio'; none if only plugins read it."""
    reader: str = ""
    """Function that decodes these streams, as 'module:name'; it is imported when such a file is read, and takes the
    path, the clip's `Media` and the `Wanted` streams that are to come from this file."""
    only: str = ""
    """Description of the files that a row may name, if endings other than `suffixes` are refused."""


MEDIA: dict[str, Medium] = {
    "video": Medium(
        suffixes=(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".gif"),
        streams=("face", "frame", "audio"),
        reader="affectgpt.media.bundle:decode_video",
    ),
    "audio": Medium(
        suffixes=(".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac"),
        streams=("audio",),
        reader="affectgpt.media.bundle:decode_audio",
    ),
    "face": Medium(
        suffixes=(".npy",),
        streams=("face",),
        reader="affectgpt.media.bundle:decode_face",
        only="an .npy file of aligned crops",
    ),
    "image": Medium(
        suffixes=(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"),
        streams=("face", "frame"),
        reader="affectgpt.media.images:decode_image",
    ),
    "signal": Medium(
        suffixes=(".npy", ".npz", ".edf", ".bdf", ".gdf", ".fif", ".fif.gz"),
        only="an .npy, .npz, EDF or FIF file of channels",
    ),
}
"""Media by their field of a row."""

DECODED = tuple(name for name, medium in MEDIA.items() if medium.streams)
"""Media that are decoded for models."""


def is_lfs_pointer(path: Path) -> bool:
    """Tell whether a file is the short text that Git LFS leaves in place of one that was not fetched."""
    if path.stat().st_size > 1024:
        return False
    with path.open("rb") as file:
        return file.read(64).startswith(b"version https://git-lfs.github.com/spec/")


def medium_of(path: PurePath) -> str:
    """Return the medium of a file by its ending, the first one that matches; 'video' if no medium has that ending."""
    name = path.name.lower()
    return next((medium for medium, kind in MEDIA.items() if name.endswith(kind.suffixes)), "video")
