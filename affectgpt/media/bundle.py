"""The media of one clip, apart from any row, and how they are decoded together. Imports no torch: workers load this."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from affectgpt.media.decode import read_audio, read_face, read_frames


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


def decode(media: Media, num_frames: int, sample_rate: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Decode what there is: pictures (num_frames, H, W, 3) uint8, of the face where it has crops, and sound (samples,).

    Raises:
        MediaError: a file cannot be used.
    """
    pictures = None
    if media.face is not None:
        pictures = read_face(media.face, num_frames)
    elif media.video is not None:
        pictures = read_frames(media.video, num_frames, media.start, media.end)
    source = media.audio or media.video
    sound = read_audio(source, sample_rate, media.start, media.end) if source is not None else None
    return pictures, sound
