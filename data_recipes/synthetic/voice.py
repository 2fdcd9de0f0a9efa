"""Voice synthesis: turns a scene into a waveform of syllables, not words, with the melody and manner of the voice.

It is additive: harmonics of a moving pitch, each as loud as the formants of the syllable's vowel let through, plus
breath. `world.VOICE_ASPECTS` sets pitch, loudness, tempo, tremor and laughter.
"""

from __future__ import annotations

import numpy as np

from data_recipes.synthetic.face import FPS
from data_recipes.synthetic.world import Scene

SAMPLE_RATE = 16_000
_HOP = 160
_NUM_HARMONICS = 28
_VOWELS = np.array(  # formants in Hz: a, e, i, o, u
    [[730, 1090, 2440], [530, 1840, 2480], [270, 2290, 3010], [570, 840, 2410], [300, 870, 2240]], float
)
_PITCH = {"level": 1.0, "high": 1.35, "low": 0.76}
_MELODY = {"level": 0.03, "high": 0.16, "low": 0.08}
_LOUDNESS = {"normal": 0.085, "loud": 0.21, "soft": 0.032}
_SYLLABLES_PER_S = {"steady": 4.2, "fast": 6.3, "slow": 2.6}


def speak(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Synthesise the voice of a scene: (samples,) float32 in [-1, 1] at SAMPLE_RATE."""
    actor, values = scene.actor, scene.attributes
    num_frames = int(scene.seconds * SAMPLE_RATE / _HOP)
    times = np.arange(num_frames) * _HOP / SAMPLE_RATE
    strength = 0.6 + 0.4 * scene.intensity

    rate = _SYLLABLES_PER_S[values["tempo"]] * rng.uniform(0.93, 1.07)
    laugh_until = rng.uniform(0.8, 1.1) if values["laughter"] == "laughing" else 0.0
    envelope, vowels = _syllables(rng, times, rate, laugh_until)
    breath = np.full(num_frames, actor.breath)

    pitch = actor.voice_hz * _PITCH[values["pitch"]] ** strength * np.ones(num_frames)
    # A level voice drifts a little, a high one rises and swings, a low one falls.
    contour = np.sin(2 * np.pi * rng.uniform(0.5, 0.9) * times + rng.uniform(0, 2 * np.pi))
    slope = {"level": 0.0, "high": 0.12, "low": -0.12}[values["pitch"]]
    pitch *= 1 + _MELODY[values["pitch"]] * contour + slope * (times / times[-1] - 0.5)
    if values["tremor"] == "trembling":
        shake = np.sin(2 * np.pi * rng.uniform(5.5, 7.0) * times)
        pitch *= 1 + 0.07 * strength * shake
        envelope = envelope * (1 - 0.45 * strength * (0.5 + 0.5 * shake))
    laughing = times < laugh_until
    if laughing.any():
        # "Ha-ha": five bursts a second, each falling in pitch, with breath between.
        burst = (times * 5.2) % 1.0
        envelope = np.where(laughing, np.where(burst < 0.5, np.sin(np.pi * burst / 0.5), 0.0), envelope)
        pitch = np.where(laughing, pitch * (1.35 - 0.35 * burst), pitch)
        breath = np.where(laughing, 0.22 * (burst >= 0.4), breath)
        vowels = np.where(laughing[:, None], _VOWELS[0], vowels)

    wave = _harmonics(pitch, envelope, vowels * actor.tract, loud=values["loudness"] == "loud")
    noise = rng.standard_normal(len(wave)).astype(np.float32)
    wave = wave / (np.abs(wave).max() + 1e-9) + noise * np.repeat(breath, _HOP)
    level = _LOUDNESS[values["loudness"]] * rng.uniform(0.88, 1.12)
    wave = wave / (np.sqrt(np.mean(wave**2)) + 1e-9) * level
    wave += 0.0015 * rng.standard_normal(len(wave))
    return np.clip(wave, -1, 1).astype(np.float32)


def _syllables(rng: np.random.Generator, times: np.ndarray, rate: float, start: float) -> tuple[np.ndarray, np.ndarray]:
    """Return loudness (frames,) and formants (frames, 3) of syllables from `start` seconds on, with one pause."""
    envelope = np.zeros(len(times))
    vowels = np.tile(_VOWELS[0], (len(times), 1))
    clock, pause = start + 0.08, rng.uniform(0.35, 0.65) * times[-1]
    while clock < times[-1] - 0.1:
        length = rng.uniform(0.85, 1.15) / rate
        inside = (times >= clock) & (times < clock + 0.82 * length)
        envelope[inside] = rng.uniform(0.7, 1.0) * np.sin(np.pi * (times[inside] - clock) / (0.82 * length)) ** 0.6
        vowels[inside] = _VOWELS[rng.integers(len(_VOWELS))]
        clock += length
        if clock > pause:
            clock, pause = clock + 0.15, np.inf
    return envelope, vowels


def _harmonics(pitch: np.ndarray, envelope: np.ndarray, formants: np.ndarray, loud: bool) -> np.ndarray:
    """Sum harmonics, (frames * _HOP,): pitch in Hz (frames,), loudness (frames,), formants in Hz (frames, 3)."""
    smooth = np.ones(5) / 5
    formants = np.stack([np.convolve(track, smooth, mode="same") for track in formants.T], axis=1)
    numbers = np.arange(1, _NUM_HARMONICS + 1)
    frequency = numbers[:, None] * pitch  # (harmonics, frames)
    gains = np.zeros_like(frequency)
    for index, width in enumerate((110.0, 160.0, 240.0)):
        gains += np.exp(-0.5 * ((frequency - formants[:, index]) / width) ** 2) / (1 + 0.6 * index)
    # A raised voice is brighter: its higher harmonics fall off less.
    gains = (gains + 0.05) * envelope / numbers[:, None] ** (0.25 if loud else 0.6)
    gains[frequency > SAMPLE_RATE / 2 - 400] = 0.0
    phase = 2 * np.pi * np.cumsum(np.repeat(pitch, _HOP)) / SAMPLE_RATE
    frame = np.arange(len(phase)) / _HOP - 0.5
    wave = np.zeros(len(phase), np.float32)
    grid = np.arange(len(pitch))
    for number, gain in zip(numbers, gains, strict=True):
        wave += np.interp(frame, grid, gain).astype(np.float32) * np.sin(number * phase).astype(np.float32)
    return wave


def loudness_per_frame(wave: np.ndarray, num_frames: int) -> np.ndarray:
    """Measure the loudness of the voice at each video frame, (num_frames,), 0 to 1."""
    size = SAMPLE_RATE // FPS
    padded = np.zeros(num_frames * size, np.float32)
    padded[: min(len(wave), len(padded))] = wave[: len(padded)]
    level = np.sqrt((padded.reshape(num_frames, size) ** 2).mean(axis=1))
    return np.asarray(level / (level.max() + 1e-9))
