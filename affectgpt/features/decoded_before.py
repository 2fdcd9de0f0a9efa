"""Journal of clips that decoded whole, so that a run that starts again does not decode every clip to find the bad ones.

A clip is recognised by what was wanted of it, its span, and path, size and time of modification of its files. Only
successes are kept: a clip that failed is tried again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from affectgpt.media.bundle import Media, Wanted

FORMAT = 1
"""Number to raise when files that decode whole may be read otherwise than before."""


class DecodedBefore:
    """Journal of the clips that decoded, for one way of reading them.

    Args:
        path: the journal, a digest a line; lines that were cut short match no clip.
        wanted: streams and sampling that are decoded.
    """

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path = path
        self._wanted = json.dumps([FORMAT, asdict(wanted)], sort_keys=True)
        self._known = set(path.read_text(encoding="ascii", errors="replace").split()) if path.is_file() else set()

    def __contains__(self, media: Media) -> bool:
        return self._digest(media) in self._known

    def add(self, clips: Iterable[Media]) -> None:
        """Record clips that decoded."""
        fresh = [digest for media in clips if (digest := self._digest(media)) and digest not in self._known]
        self._known.update(fresh)
        if fresh:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="ascii") as journal:
                journal.write("".join(f"\n{digest}" for digest in fresh))

    def _digest(self, media: Media) -> str:
        """Return what recognises a clip; nothing if a file of it is gone."""
        try:
            stamps = [[str(path), (status := os.stat(path)).st_size, status.st_mtime_ns] for path in media.files()]
        except OSError:
            return ""
        key = [self._wanted, stamps, media.start, media.end, media.has_sound]
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()
