"""Small films and sounds with what tests look for: numbered frames, tones, gaps, and headers that are mended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

HEIGHT, WIDTH, STEP = 48, 64, 6
"""Size of a frame, and the grey levels between one frame and the next."""


def numbered(index: int) -> np.ndarray:
    """Draw frame `index` of 40, (HEIGHT, WIDTH, 3): its grey tells the number; no turn or mirror leaves it as it is."""
    pixels = np.full((HEIGHT, WIDTH, 3), STEP * (index % 40), np.uint8)
    pixels[:12, :24] = 255
    pixels[:12, 24:40] = (200, 0, 0)
    return pixels


def number_of(frame: np.ndarray) -> int:
    """Read the number of a frame that is upright."""
    return round(float(frame[HEIGHT * 3 // 4 :].mean()) / STEP)


def tone(seconds: float, rate: int, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    """Make a sine, (samples,) float32."""
    return (level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def add_pictures(container: Any, stream: Any, count: int, rate: int = 10, first: int = 0) -> None:
    """Encode frames `first`, ... of a stream of pictures, the first of them at 0 s."""
    stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 12
    for index in range(count):
        frame = av.VideoFrame.from_ndarray(numbered(first + index), format="rgb24")
        frame.pts, frame.time_base = index, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def add_sound(container: Any, stream: Any, parts: Iterable[tuple[float, np.ndarray]], rate: int) -> None:
    """Encode parts of sound, each (channels, samples) or (samples,), at their seconds."""
    for start, wave in parts:
        wave = np.atleast_2d(wave)
        size = stream.codec_context.frame_size or 1024
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(wave)]
        for at in range(0, wave.shape[1], size):
            block = np.ascontiguousarray(wave[:, at : at + size], np.float32)
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate) + at, Fraction(1, rate)
            container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_film(path: Path, seconds: float = 2.0, rate: int = 10, first: int = 0, **options: str) -> Path:
    """Write a film of numbered frames, and a tone as long."""
    with av.open(str(path), "w", options=options) as container:
        picture = container.add_stream("libx264", rate=rate, options={"crf": "10", "bf": "0"})
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        add_pictures(container, picture, round(seconds * rate), rate, first)
        add_sound(container, sound, [(0.0, tone(seconds, 48_000))], 48_000)
    return path


def write_sound(path: Path, wave: np.ndarray, rate: int, codec: str = "pcm_s16le", **options: str) -> Path:
    """Write (channels, samples) or (samples,) as a file of sound alone."""
    wave = np.atleast_2d(wave)
    layout = {1: "mono", 2: "stereo", 6: "5.1"}[len(wave)]
    with av.open(str(path), "w", options=options) as container:
        add_sound(container, container.add_stream(codec, rate=rate, layout=layout), [(0.0, wave)], rate)
    return path


def copy_streams(
    sources: Sequence[Path], path: Path, kinds: str = "video audio", default: Sequence[int] | None = None
) -> Path:
    """Copy the streams of files into one, packets as they are.

    Args:
        default: numbers of the streams to mark as default; as in the files when None.
    """
    with av.open(str(path), "w") as out:
        read = [av.open(str(source)) for source in sources]
        pairs = [(file, stream) for file in read for stream in file.streams if stream.type in kinds]
        made = [out.add_stream_from_template(stream) for _, stream in pairs]
        for number, stream in enumerate(made):
            if default is not None:
                stream.disposition = av.stream.Disposition.default if number in default else av.stream.Disposition(0)
        packets = [
            (packet, made[number]) for number, (file, stream) in enumerate(pairs) for packet in _packets(file, stream)
        ]
        for packet, stream in sorted(packets, key=lambda pair: float(pair[0].dts * pair[0].time_base)):
            packet.stream = stream
            out.mux(packet)
        for file in read:
            file.close()
    return path


def _packets(file: Any, stream: Any) -> list[Any]:
    file.seek(0)
    return [packet for packet in file.demux(stream) if packet.dts is not None]
