"""Reference to a signal file: rows are parsed without the reader of signals, `signals.py`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Recording:
    """File of a signal, and the part of it to read.

    Args:
        path: .npy of (C, N) numbers; .npz with `data` (C, N), `rate` in Hz and `channels` (C,) names; EDF, BDF, GDF or
            FIF.
        rate, channels: of an .npy file, which does not record them; None for other files.
        start, end: seconds; the whole signal when None.
    """

    path: Path
    rate: float | None = None
    channels: tuple[str, ...] | None = None
    start: float | None = None
    end: float | None = None
