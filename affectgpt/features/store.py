"""Small tensors on disk under content keys: crash-safe, verified at every read, shared by any number of processes.

A store is a folder of shards (`shard.py`). A process that writes has a shard of its own and only ever appends to it;
every process reads all shards. So nothing needs a lock, and a process killed at any moment leaves nothing half changed:
at worst its shard ends in an incomplete record, which readers skip. Readers keep an index {key: location} in memory,
built from the headers of the records alone.

On a network file system, one machine sees what another writes once the attribute and folder caches of its client
expire: within a minute by default. Until then an entry is merely absent.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypedDict

import torch
from safetensors.torch import load, save
from torch import Tensor

from affectgpt.features import shard as disk
from affectgpt.features.shard import Gap, Record

_MAX_PAYLOAD = 1 << 30  # one pread returns at most 2 GiB
_MAX_DESCRIPTORS = 256
_GONE = {errno.ENOENT, errno.ESTALE}


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a shard that hold no readable entry: their location, their key if it is known, and what is wrong.

    A tail is where a writer was stopped or is still writing: no entry that was put is lost there.
    """

    shard: Path
    offset: int
    key: str | None
    what: str
    is_tail: bool = False


class Stats(TypedDict):
    """Statistics of a store, from headers alone; damage inside payloads is detected by `verify`."""

    entries: int
    bytes: int
    shards: int
    damaged_bytes: int
    torn_bytes: int
    duplicates: int
    fingerprints: dict[str, int]


@dataclass(eq=False, slots=True)
class _Shard:
    """Shard in the index: the offset up to which it is indexed, and its size at that time."""

    path: Path
    end: int = 0
    size: int = 0


class _Place(NamedTuple):
    shard: _Shard
    offset: int
    length: int
    checksum: int


class FeatureStore:
    """Folder of tensors by key, for many processes on many machines at once.

    Reading an absent key looks for entries that others have added, spending at most a tenth of the time on it; so an
    entry may be missed for a moment. `refresh` looks at once. Objects survive pickling and forking: each process
    writes to its own shard.
    """

    def __init__(self, folder: Path | str, sync_every: int = 64) -> None:
        """Open a store; nothing is created until the first `put`.

        `sync_every`: number of puts after which the shard is forced to the disk, besides at `close`; 0 leaves it to
        `close`. It matters when a machine dies, not when a process does.
        """
        self._descriptors: dict[_Shard, int] = {}
        self._writer: tuple[_Shard, int] | None = None
        self.folder = Path(folder)
        self.sync_every = sync_every
        self._unsynced = 0
        self._known: dict[str, _Shard] = {}
        self._index: dict[bytes, tuple[_Place, ...]] = {}  # all copies of each key, the one to read first
        self._look_again = 0.0
        self._after_fork()

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int]]:
        return type(self), (self.folder, self.sync_every)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if os is not None:  # else Python is ending, and the system closes what is open
            self.close()

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return the tensors under a key, as they were put; None if they are absent or damaged.

        `key`: a SHA-256 in hexadecimal.
        """
        digest = _digest(key, "key")
        with self._exclusive():
            while copies := self._find(digest):
                payload = self._payload(digest, copies[0])
                if payload is not None:
                    return load(payload)
        return None

    def put(self, key: str, features: Mapping[str, Tensor], fingerprint: str = "") -> None:
        """Store tensors of any shape and dtype under a key, unless it exists; from then on they survive a kill.

        `fingerprint`: fingerprint of the settings behind them (see `describe`), a SHA-256 in hexadecimal.
        """
        digest = _digest(key, "key")
        settings = _digest(fingerprint, "fingerprint") if fingerprint else bytes(32)
        with self._exclusive():
            if self._find(digest):
                return
            payload = _packed(features)
            if len(payload) > _MAX_PAYLOAD:
                limit = f"expected at most {_MAX_PAYLOAD} bytes, got {len(payload)}"
                raise ValueError(f"features of {key}: {limit}; split them over several keys")
            shard, descriptor = self._writable()
            checksum = disk.checksum(digest, payload)
            record = Record(digest, settings, disk.VERSION, checksum, shard.end, len(payload))
            try:
                shard.size = disk.write_at(descriptor, disk.encode(record, payload), record.offset)
            except OSError as error:
                with suppress(OSError):
                    os.ftruncate(descriptor, record.offset)
                raise disk.explained(error, shard.path, f"could not write {len(payload)} bytes") from error
            self._add(shard, record)
            self._unsynced += 1
            if self.sync_every and self._unsynced >= self.sync_every:
                self._sync()

    def __contains__(self, key: str) -> bool:
        with self._exclusive():
            return bool(self._find(_digest(key, "key")))

    def __len__(self) -> int:
        return len(self.keys())

    def keys(self) -> list[str]:
        """Return all keys, new ones included."""
        with self._exclusive():
            self.refresh()
            return [key.hex() for key in self._index]

    def refresh(self) -> None:
        """Index shards and records that others have added, and drop shards that are gone."""
        with self._exclusive():
            began = time.monotonic()
            while not self._index_shards(disk.list_shards(self.folder)):  # one was replaced while we looked
                pass
            ended = time.monotonic()
            self._look_again = ended + 10 * (ended - began)

    def close(self) -> None:
        """Force all entries to the disk and close all files. The store can still be used: it opens them again."""
        with self._exclusive():
            try:
                if self._writer is not None and self._writer[0].end == 0:
                    self._writer[0].path.unlink(missing_ok=True)
                elif self._unsynced:
                    self._sync()
            finally:
                self._stop_writing()
                while self._descriptors:
                    os.close(self._descriptors.popitem()[1])

    def verify(self) -> list[Damage]:
        """Read every byte and list all damage; everything else is intact."""
        damages = []
        for shard, descriptor, found in self._walk():
            if isinstance(found, Gap):
                size = found.end - found.offset
                what = (
                    f"an incomplete record of {size} bytes at the end: a writer was stopped, or is at work"
                    if found.is_tail
                    else f"no record where one should begin; {size} bytes were passed over"
                )
                damages.append(Damage(shard, found.offset, None, what, found.is_tail))
            elif not found.is_sound(descriptor):
                what = f"the checksum of {found.length} bytes is not {found.checksum:#010x}, as when they were written"
                damages.append(Damage(shard, found.offset, found.key.hex(), what))
            elif found.version != disk.VERSION:
                what = f"expected a record of version {disk.VERSION}, got {found.version}: a newer program wrote it"
                damages.append(Damage(shard, found.offset, found.key.hex(), what))
        return damages

    def stats(self) -> Stats:
        """Count entries, in all and by fingerprint of their settings ('' if put without), bytes, and unused bytes."""
        settings: dict[bytes, str] = {}
        duplicates = damaged = torn = 0
        for _, _, found in self._walk():
            if isinstance(found, Gap):
                size = found.end - found.offset
                damaged, torn = (damaged, torn + size) if found.is_tail else (damaged + size, torn)
            else:
                duplicates += found.key in settings
                settings.setdefault(found.key, fingerprint_of(found))
        sizes = disk.list_shards(self.folder)
        return Stats(
            entries=len(settings),
            bytes=sum(sizes.values()),
            shards=len(sizes),
            damaged_bytes=damaged,
            torn_bytes=torn,
            duplicates=duplicates,
            fingerprints=dict(Counter(settings.values())),
        )

    def describe(self, fingerprint: str, settings: Mapping[str, object]) -> None:
        """Record the settings behind a fingerprint, for people: as JSON in the folder `settings`."""
        path = self.description(fingerprint)
        text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        with suppress(FileNotFoundError):
            if path.read_bytes() == text:
                return
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{secrets.token_hex(4)}.part")
        with draft.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)

    def descriptions(self) -> dict[str, dict[str, object]]:
        """Return all described settings by fingerprint; unreadable ones are absent."""
        found = {}
        for path in sorted((self.folder / "settings").glob("*.json")):
            with suppress(ValueError, FileNotFoundError):
                _digest(path.stem, "fingerprint")
                found[path.stem] = json.loads(path.read_bytes())
        return found

    def description(self, fingerprint: str) -> Path:
        """Return the path of the file that describes the settings behind a fingerprint."""
        return self.folder / "settings" / f"{_digest(fingerprint, 'fingerprint').hex()}.json"

    # Processes and threads

    def _exclusive(self) -> threading.RLock:
        """Return the lock of this object; a forked process gets a new one, and no shard of its own yet."""
        if self._process != os.getpid():
            self._after_fork()
        return self._lock

    def _after_fork(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._stop_writing()

    # The index

    def _find(self, key: bytes) -> tuple[_Place, ...]:
        """Return the locations of a key; none if it is absent."""
        if key not in self._index and time.monotonic() >= self._look_again:
            self.refresh()
        return self._index.get(key, ())

    def _payload(self, key: bytes, place: _Place) -> bytes | None:
        """Return the verified payload; None if it is damaged or gone, and then drop its location from the index."""
        try:
            payload = disk.read_at(self._descriptor(place.shard), place.length, place.offset)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            self._forget({place.shard})
            self._look_again = 0.0
            return None
        if disk.checksum(key, payload) == place.checksum:
            return payload
        _, *others = self._index.pop(key)
        if others:
            self._index[key] = tuple(others)
        return None

    def _forget(self, gone: set[_Shard]) -> None:
        """Remove shards that no longer exist from the index."""
        for shard in gone:
            self._known.pop(shard.path.name, None)
            if (descriptor := self._descriptors.pop(shard, None)) is not None:
                os.close(descriptor)
        index, self._index = self._index, {}
        for key, copies in index.items():
            if left := tuple(place for place in copies if place.shard not in gone):
                self._index[key] = left

    def _index_shards(self, sizes: Mapping[str, int]) -> bool:
        """Update the index from the existing shards; return False if one of them is gone already."""
        gone = {shard for name, shard in self._known.items() if name not in sizes}
        if self._writer is not None:
            gone.discard(self._writer[0])  # a folder listed from a cache may lack it; `_writable` knows better
        if gone:
            self._forget(gone)
        for name, size in sizes.items():
            shard = self._known.setdefault(name, _Shard(self.folder / name))
            if size not in (shard.size, shard.end):
                try:
                    self._index_new_records(shard, size)
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
                    self._forget({shard})
                    return False
        return True

    def _index_new_records(self, shard: _Shard, size: int) -> None:
        for found in disk.scan(self._descriptor(shard), shard.end, size):
            if isinstance(found, Record):
                self._add(shard, found)
        shard.size = size

    def _add(self, shard: _Shard, record: Record) -> None:
        if record.version == disk.VERSION:
            place = _Place(shard, record.payload, record.length, record.checksum)
            self._index[record.key] = (*self._index.get(record.key, ()), place)
        shard.end = record.end

    def _descriptor(self, shard: _Shard) -> int:
        """Return the open file of a shard. Reads give their own offset, so that processes may share it after a fork."""
        descriptor = self._descriptors.get(shard)
        if descriptor is None:
            if len(self._descriptors) >= _MAX_DESCRIPTORS:
                os.close(self._descriptors.pop(next(iter(self._descriptors))))
            descriptor = self._descriptors[shard] = os.open(shard.path, os.O_RDONLY)
        return descriptor

    def _walk(self) -> Iterator[tuple[Path, int, Record | Gap]]:
        """Yield every record and gap of all shards, with the file descriptor to read it from."""
        for name, size in sorted(disk.list_shards(self.folder).items()):
            path = self.folder / name
            with suppress(FileNotFoundError), path.open("rb") as file:
                for found in disk.scan(file.fileno(), 0, size):
                    yield path, file.fileno(), found

    # The shard that is written

    def _writable(self) -> tuple[_Shard, int]:
        """Return the shard that this process appends to; a new one if there is none, or if it was removed."""
        if self._writer is not None:
            with suppress(OSError):
                if os.fstat(self._writer[1]).st_nlink:
                    return self._writer
            self._forget({self._writer[0]})
            self._stop_writing()
        draft, descriptor = disk.create(self.folder)
        shard = _Shard(disk.publish(draft))
        self._known[shard.path.name] = shard
        self._writer = shard, descriptor
        return self._writer

    def _stop_writing(self) -> None:
        writer, self._writer, self._unsynced = self._writer, None, 0
        if writer is not None:
            os.close(writer[1])

    def _sync(self) -> None:
        assert self._writer is not None
        shard, descriptor = self._writer
        try:
            os.fsync(descriptor)
        except OSError as error:
            what = f"could not force {self._unsynced} entries to the disk"
            raise disk.explained(error, shard.path, what) from error
        self._unsynced = 0


def fingerprint_of(record: Record) -> str:
    """Return the fingerprint of the settings behind an entry; '' if it was put without."""
    return record.fingerprint.hex() if any(record.fingerprint) else ""


def _digest(text: str, what: str) -> bytes:
    with suppress(ValueError):
        if len(text) == 64:
            return bytes.fromhex(text)
    raise ValueError(f"{what} of features: expected a SHA-256 as 64 hexadecimal digits, got {text!r}")


def _packed(features: Mapping[str, Tensor]) -> bytes:
    """Serialise tensors as safetensors; they are copied, since it refuses non-contiguous and shared memory."""
    copies = {name: value.detach().cpu() for name, value in features.items()}
    return save({name: value.clone(memory_format=torch.contiguous_format) for name, value in copies.items()})
