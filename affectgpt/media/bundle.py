"""The media of one clip, apart from any row, and how they are decoded together. Imports no torch: workers load this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectgpt.media.decode import open_media, read_audio, read_face, read_video
from affectgpt.media.faces import crop_faces
from affectgpt.media.readers import FrameReader
from affectgpt.media.sampling import Fps, Sampling, Uniform
from affectgpt.media.source import MediaFile

Decoded = dict[str, np.ndarray]
"""'face' and 'frame' (F, H, W, 3) uint8, 'times' (F,) of the frames in seconds, 'audio' (samples,) float32; what a clip
lacks is absent."""


@dataclass(frozen=True, slots=True)
class Media:
    """Files and span of a clip; rows about the same clip have equal media, and share what is computed from it."""

    video: Path | None
    audio: Path | None
    face: Path | None
    start: float | None
    end: float | None

    def files(self) -> list[Path]:
        """The files it is read from."""
        return [path for path in (self.video, self.audio, self.face) if path is not None]

    def has(self, stream: str) -> bool:
        """Whether it can be decoded as 'face', 'frame' or 'audio'."""
        return {
            "face": self.face is not None or self.video is not None,
            "frame": self.video is not None,
            "audio": self.audio is not None or self.video is not None,
        }[stream]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is decoded of every clip.

    Args:
        streams: some of 'face', 'frame' and 'audio'.
        num_frames: pictures of a clip, spread evenly over it; with `fps`, the most that there may be.
        sample_rate: samples of sound per second.
        fps: pictures per second instead of a fixed number.
        reader: what fetches frames, see `readers.py`.
    """

    streams: tuple[str, ...]
    num_frames: int = 8
    sample_rate: int = 16_000
    fps: float | None = None
    reader: FrameReader = "auto"

    @property
    def sampling(self) -> Sampling:
        """Which frames of a video."""
        return Uniform(self.num_frames) if self.fps is None else Fps(self.fps, self.num_frames)


def decode(media: Media, wanted: Wanted) -> Decoded:
    """Decode what is wanted and what there is.

    Faces are the precomputed crops where a clip has them, else they are looked for in its frames.

    Raises:
        MediaError: a file cannot be used.
    """
    decoded: Decoded = {}
    streams = [stream for stream in wanted.streams if media.has(stream)]
    if media.face is not None and "face" in streams:
        decoded["face"] = read_face(media.face, wanted.num_frames)
    pictures = [stream for stream in streams if stream != "audio" and stream not in decoded]
    if media.video is not None and (pictures or ("audio" in streams and media.audio is None)):
        with open_media(media.video) as video:
            if pictures:
                decoded |= _read_pictures(video, media, wanted, pictures)
            if "audio" in streams and media.audio is None:
                decoded["audio"] = read_audio(video, wanted.sample_rate, media.start, media.end)
    if media.audio is not None and "audio" in streams:
        decoded["audio"] = read_audio(media.audio, wanted.sample_rate, media.start, media.end)
    return decoded


def _read_pictures(video: MediaFile, media: Media, wanted: Wanted, streams: list[str]) -> Decoded:
    frames, times = read_video(video, wanted.sampling, media.start, media.end, wanted.reader)
    found: Decoded = {}
    if "frame" in streams:
        found |= {"frame": frames, "times": times}
    if "face" in streams:
        found["face"] = crop_faces(frames).crops
    return found
