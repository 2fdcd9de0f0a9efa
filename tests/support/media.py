"""Media that tests write in code."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def write_mute(path: Path) -> Path:
    """Write a video of one second of noise, without a track of sound, and return its path."""
    frames = np.random.default_rng(0).integers(0, 255, (25, 32, 32, 3), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path
