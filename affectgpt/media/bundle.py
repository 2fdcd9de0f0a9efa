"""The media of one clip, apart from any row, and their joint decoding. Imports no torch: workers load this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from pkgutil import resolve_name
from typing import TypeAlias

import numpy as np

from affectgpt.media.decode import read_audio, read_face, read_video
from affectgpt.media.faces import crop_faces
from affectgpt.media.media import DECODED, MEDIA
from affectgpt.media.readers import FrameReader
from affectgpt.media.sampling import Fps, Sampling, Uniform
from affectgpt.media.source import open_media

Decoded = dict[str, np.ndarray]
"""'face' and 'frame' (F, H, W, 3) uint8, 'times' (F,) of the frames in seconds, 'audio' (samples,) float32; what a clip
lacks is absent."""


@dataclass(frozen=True, slots=True)
class Media:
    """Files and span of a clip; rows about the same clip have equal media, and share what is computed from them."""

    video: Path | None = None
    audio: Path | None = None
    face: Path | None = None
    start: float | None = None
    end: float | None = None
    image: Path | None = None
    has_sound: bool = True
    """False where the row declares that the video has no sound."""

    def files(self) -> list[Path]:
        """Return the files that the clip is read from."""
        return [path for name in DECODED if (path := self.file(name)) is not None]

    def file(self, medium: str) -> Path | None:
        """Return the file of a medium, if there is one."""
        path: Path | None = getattr(self, medium)
        return path

    def source(self, stream: str) -> str | None:
        """Return the medium that 'face', 'frame' or 'audio' is decoded from.

        Of the media that have the stream, it is the one with the fewest streams: a file of its own precedes the video.
        """
        mute = () if self.has_sound or stream != "audio" else ("video",)
        having = [name for name in DECODED if name not in mute and stream in MEDIA[name].streams and self.file(name)]
        return min(having, key=lambda name: len(MEDIA[name].streams), default=None)

    def has(self, stream: str) -> bool:
        """Tell whether the clip can be decoded as 'face', 'frame' or 'audio'."""
        return self.source(stream) is not None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Streams and sampling to decode of every clip.

    Args:
        streams: some of 'face', 'frame' and 'audio'.
        num_frames: number of frames of a clip, spread evenly over it; with `fps`, the most frames.
        sample_rate: samples of sound per second.
        fps: frames per second instead of a fixed number.
        reader: library that fetches frames, see `readers.py`.
    """

    streams: tuple[str, ...]
    num_frames: int = 8
    sample_rate: int = 16_000
    fps: float | None = None
    reader: FrameReader = "auto"

    @property
    def sampling(self) -> Sampling:
        """Sampling of a video's frames."""
        return Uniform(self.num_frames) if self.fps is None else Fps(self.fps, self.num_frames)


Reading: TypeAlias = Callable[[Path, Media, Wanted], Decoded]
"""Reader of a medium, see `Medium.reader`."""


def decode(media: Media, wanted: Wanted) -> Decoded:
    """Decode the wanted streams that a clip has.

    Faces are the precomputed crops if a clip has them, else they are detected in its frames.

    Raises:
        MediaError: a file cannot be used.
    """
    streams: dict[str, list[str]] = {}
    for stream in wanted.streams:
        if (source := media.source(stream)) is not None:
            streams.setdefault(source, []).append(stream)
    decoded: Decoded = {}
    for name, of_it in streams.items():
        reader: Reading = resolve_name(MEDIA[name].reader)
        path = media.file(name)
        assert path is not None
        decoded |= reader(path, media, replace(wanted, streams=tuple(of_it)))
    return decoded


def decode_video(path: Path, media: Media, wanted: Wanted) -> Decoded:
    """Decode the frames and the sound of a video, each only if wanted."""
    decoded: Decoded = {}
    with open_media(path) as video:
        if {"face", "frame"} & {*wanted.streams}:
            frames, times = read_video(video, wanted.sampling, media.start, media.end, wanted.reader)
            if "frame" in wanted.streams:
                decoded |= {"frame": frames, "times": times}
            if "face" in wanted.streams:
                decoded["face"] = crop_faces(frames).crops
        if "audio" in wanted.streams:
            decoded["audio"] = read_audio(video, wanted.sample_rate, media.start, media.end)
    return decoded


def decode_audio(path: Path, media: Media, wanted: Wanted) -> Decoded:
    """Decode the sound of a file."""
    return {"audio": read_audio(path, wanted.sample_rate, media.start, media.end)}


def decode_face(path: Path, media: Media, wanted: Wanted) -> Decoded:
    """Read precomputed crops, of the whole file."""
    return {"face": read_face(path, wanted.num_frames)}
