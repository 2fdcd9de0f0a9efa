"""Persistent cache of labels by extractor and text, so that no text is extracted twice."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from affectgpt.emotions.extract import Extractor

_TABLE = "CREATE TABLE IF NOT EXISTS labels (key BLOB PRIMARY KEY, labels TEXT NOT NULL) WITHOUT ROWID"


class CachedExtractor:
    """Extractor that wraps another one with a persistent cache.

    A key is the SHA-256 of the extractor's name, version and settings and of the text. Texts that the extractor gave up
    on are not cached, so that they are tried again. Several processes may share a file.

    Args:
        path: SQLite file, created if absent; None keeps labels in memory.
        batch_size: texts that are extracted, then saved, at a time: the most that an interruption can lose.

    Raises:
        ValueError: the file is not such a cache.
    """

    def __init__(self, extractor: Extractor, path: str | Path | None = None, batch_size: int = 256) -> None:
        self._extractor = extractor
        self._batch_size = batch_size
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(":memory:" if path is None else path, timeout=60)
        try:
            with self._database:
                self._database.execute(_TABLE)
        except sqlite3.DatabaseError as error:
            self._database.close()
            raise ValueError(f"{path}: expected a cache of labels, got {error}. Delete it or name another.") from error

    @property
    def name(self) -> str:
        """The extractor's name."""
        return self._extractor.name

    @property
    def version(self) -> str:
        """The extractor's version."""
        return self._extractor.version

    @property
    def settings(self) -> Mapping[str, object]:
        """The extractor's settings."""
        return self._extractor.settings

    def extract(self, texts: Sequence[str]) -> list[list[str] | None]:
        """Return the labels of each text, from the cache where it has them."""
        keys = [self._key(text) for text in texts]
        known = {key: labels for key in dict.fromkeys(keys) if (labels := self._read(key)) is not None}
        missing = [(key, text) for key, text in dict(zip(keys, texts, strict=True)).items() if key not in known]
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            extracted = zip(batch, self._extractor.extract([text for _, text in batch]), strict=True)
            fresh = {key: labels for (key, _), labels in extracted if labels is not None}
            with self._database:
                rows = [(key, json.dumps(labels)) for key, labels in fresh.items()]
                self._database.executemany("INSERT OR IGNORE INTO labels VALUES (?, ?)", rows)
            known |= fresh
        return [None if (labels := known.get(key)) is None else [*labels] for key in keys]

    def _key(self, text: str) -> bytes:
        identity = json.dumps([self.name, self.version, self.settings], sort_keys=True, default=dict)
        return hashlib.sha256(f"{identity}\0{text}".encode("utf-8", "surrogatepass")).digest()

    def _read(self, key: bytes) -> list[str] | None:
        row = self._database.execute("SELECT labels FROM labels WHERE key = ?", (key,)).fetchone()
        return None if row is None else [str(label) for label in json.loads(row[0])]

    def close(self) -> None:
        """Close the file."""
        self._database.close()
