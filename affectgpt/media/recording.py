"""What names a signal: rows are parsed without a reader of signals, which `signals.py` is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Recording:
    """A file that holds a signal, and the part of it that counts.

    Args:
        path: .npy of (C, N) numbers; .npz with `data` (C, N), `rate` in Hz and `channels` (C,) names; EDF, BDF, GDF or
            FIF.
        rate, channels: of an .npy, which does not tell them; of another file None.
        start, end: seconds; the whole when None.
    """

    path: Path
    rate: float | None = None
    channels: tuple[str, ...] | None = None
    start: float | None = None
    end: float | None = None
