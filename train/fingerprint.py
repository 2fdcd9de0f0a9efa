"""Fingerprints of what something was made from, and random streams that follow from a seed and a name."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np


def fingerprint(*parts: Any) -> str:
    """Hash any JSON values to 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def stream_of(seed: int, name: str) -> np.random.Generator:
    """Make the random stream of one use of a recipe's seed; each use has a name and a stream of its own."""
    return np.random.default_rng([seed, int(fingerprint(name), 16) % 2**32])
