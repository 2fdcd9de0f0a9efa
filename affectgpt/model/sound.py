"""Audio as an audio tower takes it: cut into windows, each with its share of audio that is not padding.

Shapes: W windows, S samples of a window, M mel bands, T spectrogram frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

LONGEST_S = 30.0
"""Longest window in seconds for a tower that takes samples."""
SHORTEST_S = 0.1
"""Shortest audio in seconds that the convolutions of wav2vec 2.0 can process; shorter audio is padded to it."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Windows of a clip's audio.

    Args:
        inputs: 'input_features' (W, M, T) or 'input_values' (W, S).
        shares: share of each window that is audio and not padding.
    """

    inputs: dict[str, Tensor]
    shares: list[float]


def cut_windows(wave: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut audio into consecutive windows of at most `size` samples, as equal in length as possible."""
    count = max(1, -(-len(wave) // size))
    return np.array_split(wave, count)


def spread_windows(wave: np.ndarray, size: int, count: int) -> list[np.ndarray]:
    """Take `count` windows of `size` samples spread evenly from start to end; they overlap if the audio is short.

    Audio shorter than a window is padded with silence to one, as AffectGPT does.
    """
    wave = np.pad(wave, (0, max(0, size - len(wave))))
    starts = np.linspace(0, len(wave) - size, count).astype(int)
    return [wave[start : start + size] for start in starts]


def prepare_sound(
    wave: np.ndarray, extractor: Any, sampling: str = "spans", num_windows: int = 8, window_s: float = 2.0
) -> Sound:
    """Prepare audio as the tower of `extractor` takes it.

    Samples are normalised over all windows of a clip together, which preserves their relative loudness; the published
    pipeline does the same at batch size 1.

    Args:
        wave: (samples,) float32 at the extractor's rate.
        extractor: a feature extractor of transformers, of spectrograms (Whisper) or of samples (wav2vec 2.0 and kin).
        sampling, num_windows, window_s: see `AffectGPTConfig`.
    """
    rate = extractor.sampling_rate
    if sampling == "windows":
        windows = spread_windows(wave, round(window_s * rate), num_windows)
        # Audio shorter than a window was padded; the tower hears the silence, as in the paper.
    else:
        longest = getattr(extractor, "n_samples", round(LONGEST_S * rate))
        windows = cut_windows(wave, longest)
    if hasattr(extractor, "n_samples"):  # a spectrogram of fixed length, padded
        mel = extractor(windows, sampling_rate=rate, return_tensors="pt")["input_features"]
        return Sound({"input_features": mel}, [len(window) / extractor.n_samples for window in windows])
    size = max(max(map(len, windows)), round(SHORTEST_S * rate))
    padded = np.stack([np.pad(window, (0, size - len(window))) for window in windows])
    values = extractor(padded.ravel(), sampling_rate=rate, return_tensors="pt")["input_values"]
    return Sound({"input_values": torch.as_tensor(values).reshape(padded.shape)}, [len(w) / size for w in windows])
