"""Hashes of media files' bytes; an unchanged file is hashed once, not at every start.

A file is recognised by path, size and time of modification, as `make` and `rsync` do.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

Stamp = tuple[str, int, int]
"""Path, bytes, nanoseconds of the last modification."""


class ContentIndex:
    """Hashes of files, kept in a journal that several processes may append to.

    A line begins with its newline instead of ending with it. So it starts correctly even if the line before was cut
    short, by a full disk or because another process is still writing it.

    Args:
        path: the journal, one JSON array a line; empty and incomplete lines are skipped.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[Stamp, str] = {}
        if path.is_file():
            for line in path.read_bytes().splitlines():
                try:
                    name, size, modified, digest = json.loads(line)
                    self._known[name, size, modified] = digest
                except (ValueError, TypeError):
                    continue

    def hashes(self, files: Iterable[Path]) -> dict[Path, str]:
        """Return the SHA-256 of each file; files that cannot be read are absent."""
        stamps = {path: stamp for path in dict.fromkeys(files) if (stamp := _stamp(path)) is not None}
        missing = [path for path, stamp in stamps.items() if stamp not in self._known]
        if missing:
            with ThreadPoolExecutor() as pool:
                found = dict(zip(missing, pool.map(_hash, missing), strict=True))
            fresh = {stamps[path]: digest for path, digest in found.items() if digest is not None}
            self._known |= fresh
            self._write("".join("\n" + json.dumps([*stamp, digest]) for stamp, digest in fresh.items()))
        return {path: self._known[stamp] for path, stamp in stamps.items() if stamp in self._known}

    def _write(self, lines: str) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab", buffering=0) as journal:  # one write, into which no other process can write
                journal.write(lines.encode())
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EROFS):  # in a read-only folder, files are hashed every time
                raise


def _stamp(path: Path) -> Stamp | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return str(path), status.st_size, status.st_mtime_ns


def _hash(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
