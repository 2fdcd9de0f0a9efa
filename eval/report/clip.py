"""Figure of a clip: frames, voice and pitch under each other on one time axis."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import av
import cv2
import numpy as np

from affectgpt.media.orientation import orient, orientation_of
from affectgpt.media.source import OPTIONS

NUM_FRAMES = 6
SAMPLE_RATE = 16_000
PITCH_HZ = (60.0, 420.0)
_WINDOW, _HOP = int(0.04 * SAMPLE_RATE), int(0.01 * SAMPLE_RATE)
_LEFT, _WIDTH, _VOICE, _PITCH, _GAP = 62, 660, 60, 72, 8


def read_clip(video: Path) -> tuple[list[np.ndarray], np.ndarray, float]:
    """Read `NUM_FRAMES` frames (H, W, 3) RGB uint8 from the middles of equal spans, the sound (samples,), the seconds.

    A clip without a sound track has no samples.
    """
    with av.open(os.path.abspath(video), options=OPTIONS) as container:
        seconds = float(container.duration or 0) / av.time_base
        wanted = [(index + 0.5) * seconds / NUM_FRAMES for index in range(NUM_FRAMES)]
        frames: list[np.ndarray] = []
        sound: list[np.ndarray] = []
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=SAMPLE_RATE)
        last = None
        for packet in container.demux(video=0, **({"audio": 0} if container.streams.audio else {})):
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    sound += [part.to_ndarray()[0] for part in resampler.resample(frame)]
                elif isinstance(frame, av.VideoFrame):
                    last = frame
                    while len(frames) < NUM_FRAMES and (frame.time or 0.0) >= wanted[len(frames)]:
                        frames.append(_upright(frame))
        if last is not None:
            frames += [_upright(last)] * (NUM_FRAMES - len(frames))
    return frames, np.concatenate(sound or [np.zeros(0, np.float32)]), seconds


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


def clip_figure(video: Path) -> str:
    """Draw the figure as SVG. Raises PyAV's errors if it cannot read the file."""
    frames, wave, seconds = read_clip(video)
    slot = _WIDTH / NUM_FRAMES
    tallest = max((frame.shape[0] / frame.shape[1] for frame in frames), default=0.0)
    strip = round(slot * min(tallest, 1.4))
    voice_top = strip + _GAP
    pitch_top = voice_top + _VOICE + _GAP
    height = pitch_top + _PITCH + 20
    parts = [
        *(_picture(frame, _LEFT + index * slot, slot, strip) for index, frame in enumerate(frames)),
        _panel(voice_top, _VOICE, "voice"),
        _panel(pitch_top, _PITCH, "pitch"),
        *(_pitch_grid(hz, pitch_top) for hz in (100, 200, 300, 400)),
        _time_axis(seconds, pitch_top + _PITCH),
    ]
    if len(wave):
        parts += [_wave(wave, seconds, voice_top + _VOICE / 2), _pitch(pitch_track(wave), seconds, pitch_top)]
    else:
        parts.append(f'<text x="{_LEFT + _WIDTH / 2}" y="{voice_top + 30}" text-anchor="middle">no sound</text>')
    label = f"{NUM_FRAMES} frames of the clip, its waveform and the pitch of the voice over {seconds:.1f} seconds"
    size = f'width="{_LEFT + _WIDTH}" viewBox="0 0 {_LEFT + _WIDTH} {height}"'
    return f'<svg class="clip" role="img" aria-label="{label}" {size}>{"".join(parts)}</svg>'


def _picture(frame: np.ndarray, x: float, slot: float, height: int) -> str:
    shrink = min(1.0, 240 / frame.shape[1])
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
