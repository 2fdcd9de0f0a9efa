"""Shard, one file of a feature store: records in a row, which a kill can cut off but not corrupt.

A record is a header (see `HEADER`) with a checksum of its own, a payload with another, and padding; it begins at a
multiple of 64 bytes, so that the next record is found after any damage. The process that writes a shard holds a lock on
it, which shows others that it is alive.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import re
import secrets
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

HEADER = struct.Struct("<8sIIQ32s32s4xI")
"""Magic, version, checksum of key and payload, length of the payload, key, fingerprint, checksum of the header."""
VERSION = 1
SHARD = re.compile(r"[0-9a-f]{8}-\d+-[0-9a-f]{8}\.shard")
DRAFT = re.compile(r"[0-9a-f]{8}-\d+-[0-9a-f]{8}\.part")

_MAGIC = b"\x89affect\n"
_ALIGNMENT = 64
_SEARCH_BYTES = 1 << 20


class Record(NamedTuple):
    """Record with an intact header and a payload of the length that the header gives."""

    key: bytes
    fingerprint: bytes
    version: int
    checksum: int
    offset: int
    length: int

    @property
    def payload(self) -> int:
        """Offset of the payload."""
        return self.offset + HEADER.size

    @property
    def end(self) -> int:
        """Offset of the next record."""
        return self.offset + -(-(HEADER.size + self.length) // _ALIGNMENT) * _ALIGNMENT

    def is_sound(self, descriptor: int) -> bool:
        """Tell whether the payload is the one that was written, by its checksum."""
        return checksum(self.key, read_at(descriptor, self.length, self.payload)) == self.checksum


class Gap(NamedTuple):
    """Gap in a shard without records; one that reaches the end may be a record still being written."""

    offset: int
    end: int
    is_tail: bool


def checksum(key: bytes, payload: bytes) -> int:
    """Compute the checksum of a key and its payload."""
    return zlib.crc32(payload, zlib.crc32(key))


def encode(record: Record, payload: bytes) -> bytes:
    """Return the bytes of a record, from header to padding."""
    head = HEADER.pack(_MAGIC, record.version, record.checksum, record.length, record.key, record.fingerprint, 0)[:-4]
    padding = record.end - record.payload - record.length
    return b"".join((head, struct.pack("<I", zlib.crc32(head)), payload, bytes(padding)))


def scan(descriptor: int, offset: int, size: int) -> Iterator[Record | Gap]:
    """Yield the records between an offset and the size of a shard, and the gaps between them; payloads are not read."""
    while offset < size:
        record = _decode(read_at(descriptor, HEADER.size, offset), offset)
        if record is None:
            following = _next_header(descriptor, offset + _ALIGNMENT, size)
            yield Gap(offset, following, is_tail=following == size)
            offset = following
        elif record.end > size:
            yield Gap(offset, size, is_tail=True)
            return
        else:
            yield record
            offset = record.end


def _decode(header: bytes, offset: int) -> Record | None:
    """Decode a header; None if the bytes are not a header, or a damaged one."""
    if len(header) < HEADER.size or not header.startswith(_MAGIC):
        return None
    _, version, payload_sum, length, key, fingerprint, own = HEADER.unpack(header)
    if zlib.crc32(header[:-4]) != own:
        return None
    return Record(key, fingerprint, version, payload_sum, offset, length)


def _next_header(descriptor: int, offset: int, size: int) -> int:
    """Find the offset of the next intact header, from an aligned offset; the size of the shard if there is none."""
    while offset < size:
        block = read_at(descriptor, _SEARCH_BYTES, offset)
        at = block.find(_MAGIC)
        while at >= 0:
            if at % _ALIGNMENT == 0 and _decode(read_at(descriptor, HEADER.size, offset + at), offset + at):
                return offset + at
            at = block.find(_MAGIC, at + 1)
        offset += _SEARCH_BYTES
    return size


def read_at(descriptor: int, length: int, offset: int) -> bytes:
    """Read bytes at an offset; fewer at the end of the file, none where the disk cannot read them."""
    try:
        return os.pread(descriptor, length, offset)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def write_at(descriptor: int, whole: bytes, offset: int) -> int:
    """Write all bytes at an offset; return the offset after them."""
    rest = memoryview(whole)
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written
    return offset


def explained(error: OSError, path: Path, what: str) -> OSError:
    """Return the error of a write, with what failed and what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "Free space there, or choose another folder, and run again. " if full else ""
    message = f"{what}: {os.strerror(error.errno or 0)}. {remedy}What was put before is intact"
    return OSError(error.errno, message, str(path))


def list_files(folder: Path, pattern: re.Pattern[str]) -> dict[str, int]:
    """Return the sizes of a folder's files whose names match a pattern, by name."""
    sizes = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    sizes[entry.name] = entry.stat().st_size
    return sizes


def list_shards(folder: Path) -> dict[str, int]:
    """Return the sizes of the shards, listed until two lists agree: one may lack both a new shard and the old ones."""
    sizes = list_files(folder, SHARD)
    while (again := list_files(folder, SHARD)).keys() != sizes.keys():
        sizes = again
    return again


def create(folder: Path) -> tuple[Path, int]:
    """Create a locked file that only this process writes to; `publish` turns it into a shard.

    It is locked before it has the name of a shard, so it never looks like an abandoned shard.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}.part"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    with suppress(OSError):  # a file system without locks: there `may_be_written` uses the time of the last change
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return path, descriptor


def publish(draft: Path) -> Path:
    """Rename a new file to the permanent name of a shard, and return that name."""
    path = draft.with_suffix(".shard")
    os.replace(draft, path)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def may_be_written(path: Path, grace_s: float) -> bool:
    """Tell whether a living process may still write to a shard or draft.

    Its writer holds a lock, which is proof enough on the machine that wrote it. If another machine did, and the file
    system may not share locks, the last change must also be `grace_s` seconds ago.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_proof = path.suffix == ".shard" and path.name.startswith(_machine())
    except BlockingIOError:
        return True
    except OSError:
        is_proof = False
    finally:
        os.close(descriptor)
    return not is_proof and time.time() - path.stat().st_mtime < grace_s


@cache
def _machine() -> str:
    """Return eight digits unique to this machine since its last boot: locks are reliable where they are equal."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    name = platform.node() + (boot.read_text() if boot.exists() else "")
    return hashlib.sha256(name.encode()).hexdigest()[:8]
