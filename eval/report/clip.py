"""A clip as a page shows it: frames, voice and pitch on one time axis, its picture, and what a player plays."""

from __future__ import annotations

import base64
import io
import os
import wave as wavfile
from pathlib import Path

import av
import cv2
import numpy as np

from affectgpt.media.orientation import orient, orientation_of
from affectgpt.media.source import OPTIONS

NUM_FRAMES = 6
SAMPLE_RATE = 16_000
LONGEST_S = 120.0
"""Seconds of a clip that are shown at most."""
LARGEST_VIDEO = 1 << 20
"""Bytes of the largest video that a page carries; of larger ones it plays the sound."""
PLAYED_S = 20.0
"""Seconds of sound that a page carries of one clip."""
PITCH_HZ = (60.0, 420.0)
_WINDOW, _HOP = int(0.04 * SAMPLE_RATE), int(0.01 * SAMPLE_RATE)
_LEFT, _WIDTH, _VOICE, _PITCH, _GAP = 62, 660, 60, 72, 8


def read_clip(
    media: Path, start: float | None = None, end: float | None = None
) -> tuple[list[np.ndarray], np.ndarray, float]:
    """Read `NUM_FRAMES` frames (H, W, 3) RGB uint8 from the middles of equal spans, the sound (samples,), the seconds.

    A file without pictures has no frames, one without a sound track no samples. At most `LONGEST_S` are read.

    Args:
        media: video or sound.
        start: second at which the clip begins; the beginning of the file by default.
        end: second at which it ends; the end of the file by default.
    """
    first = start or 0.0
    with av.open(os.path.abspath(media), options=OPTIONS) as container:
        length = float(container.duration or 0) / av.time_base
        seconds = min(max(0.0, min(end or length, length) - first), LONGEST_S)
        wanted = [first + (index + 0.5) * seconds / NUM_FRAMES for index in range(NUM_FRAMES)]
        frames: list[np.ndarray] = []
        sound: list[np.ndarray] = []
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        begins, last = None, None
        if first > 1:
            container.seek(int((first - 1) * av.time_base))
        for packet in container.demux([*container.streams.video[:1], *container.streams.audio[:1]]):
            if packet.pts is not None and float(packet.pts * packet.time_base) > first + seconds + 2:
                break
            for frame in packet.decode():
                if not isinstance(frame, av.AudioFrame | av.VideoFrame) or (frame.time or 0.0) > first + seconds:
                    continue
                if isinstance(frame, av.AudioFrame):
                    begins = frame.time or 0.0 if begins is None else begins
                    sound += [part.to_ndarray()[0] for part in resampler.resample(frame)]
                else:
                    last = frame
                    while len(frames) < NUM_FRAMES and (frame.time or 0.0) >= wanted[len(frames)]:
                        frames.append(_upright(frame))
        if last is not None:
            frames += [_upright(last)] * (NUM_FRAMES - len(frames))
    wave = np.concatenate(sound or [np.zeros(0, np.float32)])
    skipped = max(0, round((first - (begins or 0.0)) * SAMPLE_RATE)) if start else 0
    return frames, wave[skipped : skipped + round(seconds * SAMPLE_RATE)] if start or end else wave, seconds


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """Return the pixels of a frame as it is to be shown, (H, W, 3) RGB uint8."""
    return np.ascontiguousarray(orient(frame.to_ndarray(format="rgb24"), orientation_of(frame)))


def pitch_track(wave: np.ndarray) -> np.ndarray:
    """Estimate the pitch in Hz every 10 ms from 40 ms of sound, by autocorrelation; NaN where nothing is voiced."""
    if len(wave) < _WINDOW:
        return np.zeros(0)
    windows = np.lib.stride_tricks.sliding_window_view(wave, _WINDOW)[::_HOP]
    windows = windows - windows.mean(axis=1, keepdims=True)
    spectrum = np.abs(np.fft.rfft(windows, 2 * _WINDOW, axis=1)) ** 2
    similar = np.fft.irfft(spectrum, axis=1)[:, :_WINDOW]
    energy = similar[:, 0].copy()
    # The longer the lag, the fewer samples overlap: without this, low voices would look less periodic.
    similar /= np.maximum(energy, 1e-9)[:, None] * (1 - np.arange(_WINDOW) / _WINDOW)
    shortest, longest = int(SAMPLE_RATE / PITCH_HZ[1]), int(SAMPLE_RATE / PITCH_HZ[0])
    span = similar[:, shortest : longest + 1]
    strength = span.max(axis=1)
    # Multiples of the period fit as well; the first lag that fits nearly as well as the best is the period itself.
    peak = np.zeros(span.shape, bool)
    peak[:, 1:-1] = (span[:, 1:-1] >= span[:, :-2]) & (span[:, 1:-1] >= span[:, 2:])
    good = peak & (span >= 0.88 * strength[:, None])
    pitch = SAMPLE_RATE / (shortest + good.argmax(axis=1))
    voiced = good.any(axis=1) & (strength > 0.5) & (energy > 0.02 * energy.max())
    return np.where(voiced, pitch, np.nan)


def clip_figure(
    video: Path | None, audio: Path | None = None, start: float | None = None, end: float | None = None
) -> tuple[str, np.ndarray]:
    """Draw frames, waveform and pitch as SVG; return it with the sound (samples,) at `SAMPLE_RATE`.

    What a clip does not have takes no room: a sound alone has no frames, a silent video no curves.

    Args:
        video: file of the pictures, if there are any.
        audio: file of the sound, by default the video's own track.
        start: second at which the clip begins.
        end: second at which it ends.

    Raises:
        av.FFmpegError: the file cannot be read.
        ValueError: it holds neither pictures nor sound.
    """
    media = video or audio
    if media is None:
        raise ValueError("neither pictures nor sound")
    frames, wave, seconds = read_clip(media, start, end)
    if audio is not None and video is not None:
        _, wave, _ = read_clip(audio, start, end)
    if not (frames or len(wave)) or seconds <= 0:
        raise ValueError("neither pictures nor sound")
    slot = _WIDTH / NUM_FRAMES
    tallest = max((frame.shape[0] / frame.shape[1] for frame in frames), default=0.0)
    strip = round(slot * min(tallest, 1.4))
    top = strip + _GAP if frames else 0
    parts = [_picture(frame, _LEFT + index * slot, slot, strip) for index, frame in enumerate(frames)]
    if len(wave):
        pitch_top = top + _VOICE + _GAP
        parts += [_panel(top, _VOICE, "voice"), _panel(pitch_top, _PITCH, "pitch")]
        parts += [_pitch_grid(hz, pitch_top) for hz in (100, 200, 300, 400)]
        parts += [_wave(wave, seconds, top + _VOICE / 2), _pitch(pitch_track(wave), seconds, pitch_top)]
        top = pitch_top + _PITCH
    else:
        parts.append(f'<text x="0" y="{top + 12}" class="name">no sound</text>')
    parts.append(_time_axis(seconds, top))
    shown = [*([f"{NUM_FRAMES} frames"] if frames else []), *(["waveform and pitch of the voice"] if len(wave) else [])]
    label = f"{' and '.join(shown)} over {seconds:.1f} seconds"
    size = f'width="{_LEFT + _WIDTH}" viewBox="0 0 {_LEFT + _WIDTH} {top + 20}"'
    return f'<svg class="clip" role="img" aria-label="{label}" {size}>{"".join(parts)}</svg>', wave


def still_figure(image: Path) -> str:
    """Draw a picture as SVG, at most 360 pixels wide and high.

    Raises:
        ValueError: the file is no picture that can be read.
    """
    pixels = cv2.imdecode(np.fromfile(image, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{image}: no picture")
    scale = min(1.0, 360 / max(pixels.shape[:2]))
    width, height = (max(1, round(side * scale)) for side in (pixels.shape[1], pixels.shape[0]))
    drawn = _picture(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), -1, width + 2, height, 720)
    size = f'width="{width}" viewBox="0 0 {width} {height}"'
    return f'<svg class="clip" role="img" aria-label="the picture" {size}>{drawn}</svg>'


def video_source(path: Path) -> str | None:
    """Return a video that browsers play as a data URI; None if it is of another kind or too large for a page."""
    kind = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm"}.get(path.suffix.lower())
    if kind is None or path.stat().st_size > LARGEST_VIDEO:
        return None
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def sound_source(wave: np.ndarray) -> str | None:
    """Return sound (samples,) at `SAMPLE_RATE` as a data URI of a WAV file with its first seconds; None of no sound."""
    if not len(wave):
        return None
    samples = (np.clip(wave[: int(PLAYED_S * SAMPLE_RATE)], -1, 1) * 32767).astype("<i2")
    buffer = io.BytesIO()
    with wavfile.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _picture(frame: np.ndarray, x: float, slot: float, height: int, sharpest: int = 240) -> str:
    shrink = min(1.0, sharpest / frame.shape[1])
    small = cv2.resize(frame, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA) if shrink < 1 else frame
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 84])
    if not done:
        return ""
    data = base64.b64encode(jpeg.tobytes()).decode()
    place = f'x="{x + 1:.1f}" y="0" width="{slot - 2:.1f}" height="{height}" preserveAspectRatio="xMidYMid slice"'
    return f'<image {place} href="data:image/jpeg;base64,{data}"/>'


def _panel(top: float, height: float, name: str) -> str:
    return (
        f'<rect class="panel" x="{_LEFT}" y="{top}" width="{_WIDTH}" height="{height}"/>'
        f'<text x="0" y="{top + height / 2 + 4}" class="name">{name}</text>'
    )


def _pitch_y(hz: float | np.ndarray, top: float) -> np.ndarray:
    low, high = PITCH_HZ
    return top + _PITCH * (1 - (np.clip(hz, low, high) - low) / (high - low))


def _pitch_grid(hz: int, top: float) -> str:
    y = float(_pitch_y(hz, top))
    label = f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{hz}{" Hz" if hz == 400 else ""}</text>'
    return f'<path class="grid" d="M{_LEFT} {y:.1f}h{_WIDTH}"/>{label}'


def _time_axis(seconds: float, y: float) -> str:
    step = next(step for step in (0.5, 1, 2, 5, 10, 30, 60, 300, 3600) if seconds / step <= 12 or step == 3600)
    ticks = [tick for tick in np.arange(0, seconds, step) if tick < 0.985 * seconds]
    places = [_LEFT + _WIDTH * tick / seconds for tick in ticks]
    return "".join(
        f'<text x="{place:.1f}" y="{y + 15}" text-anchor="middle">{tick:g} s</text>'
        for place, tick in zip(places, ticks, strict=True)
    )


def _wave(wave: np.ndarray, seconds: float, middle: float) -> str:
    """Draw the outline of the waveform: lowest and highest sample under every second pixel."""
    columns = _WIDTH // 2
    edges = np.linspace(0, seconds * SAMPLE_RATE, columns + 1).astype(int)
    inside = [(index, wave[edges[index] : edges[index + 1]]) for index in range(columns)]
    kept = [(_LEFT + 2 * index + 1, part.max(), part.min()) for index, part in inside if len(part)]
    if not kept:
        return ""

    def point(x: float, value: float) -> str:
        # Full scale in every figure, so that loud and soft can be compared.
        return f"{x} {middle - _VOICE / 2 * float(np.clip(value, -1, 1)):.1f}"

    outline = [point(x, high) for x, high, _ in kept] + [point(x, low) for x, _, low in reversed(kept)]
    return f'<path class="wave" d="M{"L".join(outline)}Z"/>'


def _pitch(track: np.ndarray, seconds: float, top: float) -> str:
    """Draw a line through every voiced stretch of at least 30 ms; a gap or a leap of over a fifth breaks it."""
    times = (np.arange(len(track)) * _HOP + _WINDOW / 2) / SAMPLE_RATE
    xs, ys = _LEFT + _WIDTH * times / seconds, _pitch_y(track, top)
    drawn: list[str] = []
    stretch: list[str] = []
    for index in range(len(track) + 1):
        ends = index == len(track) or np.isnan(track[index])
        leaps = not ends and stretch and abs(track[index] / track[index - 1] - 1) > 0.2
        if ends or leaps:
            if len(stretch) >= 3:
                drawn.append("M" + "L".join(stretch))
            stretch = []
        if not ends:
            stretch.append(f"{xs[index]:.1f} {ys[index]:.1f}")
    return f'<path class="pitch" d="{"".join(drawn)}"/>' if drawn else ""
