"""WAV files whose length was left open, since their writer wrote to a pipe or never came back to the header.

Such headers say 0 (or one sample), or about 2 or 4 GiB: 0x7ffff000 by SoX, 0x80000000 by arecord, 0x7fffffff by
speech services, 0xffffffff by FFmpeg. The sound then reaches to the end of the file, and the file is read as if its
header said so. Any other length is believed: a file that is shorter has lost its end.

Formats: RIFF and RIFX, RF64 and BW64 (https://tech.ebu.ch/docs/tech/tech3306.pdf), and Sony's Wave64.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

_OPEN_WITHIN = 1 << 20
"""Bytes around 2 and 4 GiB at which a length is taken for one that was left open."""
_MOST_CHUNKS = 10_000
_WAVE64 = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"


class _Patched(io.FileIO):
    """File in which some bytes read as others."""

    def __init__(self, path: Path, patches: dict[int, bytes]) -> None:
        super().__init__(path)
        self._patches = patches

    def read(self, size: int | None = -1, /) -> bytes:
        """Read bytes, patched ones in place of those of the file."""
        at = self.tell()
        data = bytearray(super().read(-1 if size is None else size) or b"")
        for offset, patch in self._patches.items():
            first, last = max(at, offset), min(at + len(data), offset + len(patch))
            if first < last:
                data[first - at : last - at] = patch[first - offset : last - offset]
        return bytes(data)


@dataclass(slots=True)
class _Header:
    """Sizes in a WAV header, and where they stand."""

    order: Literal["little", "big"]
    riff: int
    data: int
    """Bytes of sound that the header promises."""
    start: int
    """Offset of the first byte of sound."""
    align: int = 1
    """Bytes of one sample of all channels, or of a block of a codec."""
    riff_at: tuple[int, int] = (4, 4)
    """Offset and width of the size of the whole; `data_at` likewise."""
    data_at: tuple[int, int] = (0, 4)
    counts: list[tuple[int, int]] = field(default_factory=list)
    """Offsets and widths of counts of samples, which follow from the size."""
    more: int = 0
    """Bytes of its own chunk header that the size of the data includes."""


def wav_with_its_length(path: Path) -> BinaryIO | None:
    """Open a WAV file whose length was left open as if its header told it; None for all other files."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        header = _read_wave64(file) if file.read(16) == _WAVE64 else _read_riff(file, size)
        if header is None:
            return None
        rest = size - header.start
        no_length = _is_open(header.data) and not header.data <= rest <= header.data + _OPEN_WITHIN
        if header.data <= header.align and rest > header.data:
            after = header.start + header.data + header.data % 2
            no_length = not (header.riff + 8 == size and _is_chunks(file, after, size, header.order))
    patches: dict[int, bytes] = {}

    def write(at: tuple[int, int], value: int) -> None:
        patches[at[0]] = min(value, (1 << 8 * at[1]) - 1).to_bytes(at[1], header.order)

    if no_length:
        write(header.data_at, rest // header.align * header.align + header.more)
        for count in header.counts:
            write(count, 0)
    if no_length or header.riff == 0 or _is_open(header.riff):
        write(header.riff_at, size if header.more else size - 8)
    return _Patched(path, patches) if patches else None


def _is_open(size: int) -> bool:
    return abs(size - (1 << 31)) <= _OPEN_WITHIN or abs(size - (1 << 32)) <= _OPEN_WITHIN or size >= 1 << 62


def _read_riff(file: BinaryIO, size: int) -> _Header | None:
    """Read the header of a RIFF file up to the chunk of its sound; None for other files and damaged headers."""
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RIFX", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return None
    order: Literal["little", "big"] = "big" if head[:4] == b"RIFX" else "little"
    header = _Header(order, int.from_bytes(head[4:8], order), 0, 0)
    large: tuple[int, bytes] | None = None
    at = 12
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        if name == b"data":
            header.data, header.data_at, header.start = length, (at + 4, 4), at + 8
            if large is not None and len(large[1]) == 24:
                sizes, where = large[1], large[0]
                header.riff, header.riff_at = int.from_bytes(sizes[:8], order), (where, 8)
                header.counts.append((where + 16, 8))
                header.data, header.data_at = int.from_bytes(sizes[8:16], order), (where + 8, 8)
            return header
        if name == b"ds64":
            large = (at + 8, file.read(24))
        elif name == b"fmt ":
            header.align = max(1, int.from_bytes(file.read(14)[12:], order))
        elif name == b"fact":
            header.counts.append((at + 8, 4))
        at += 8 + length + length % 2
        if at >= size:
            return None
    return None


def _read_wave64(file: BinaryIO) -> _Header | None:
    """Read the header of a Wave64 file up to the chunk of its sound; None if it is damaged."""
    header = _Header("little", int.from_bytes(file.read(8), "little"), 0, 0, riff_at=(16, 8), more=24)
    at = 40
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        name, length = file.read(16)[:4], int.from_bytes(file.read(8), "little")
        if name == b"data":
            header.data, header.data_at, header.start = max(0, length - 24), (at + 16, 8), at + 24
            return header
        if name == b"fmt ":
            header.align = max(1, int.from_bytes(file.read(14)[12:], "little"))
        elif name == b"fact":
            header.counts.append((at + 24, 8))
        if length < 24:
            return None
        at += (length + 7) // 8 * 8
    return None


def _is_chunks(file: BinaryIO, at: int, size: int, order: Literal["little", "big"]) -> bool:
    """Tell whether chunks with names stand from an offset to the end of the file: there is no sound, then."""
    while at + 8 <= size:
        file.seek(at)
        name, length = file.read(4), int.from_bytes(file.read(4), order)
        if not (name.isascii() and name.decode("ascii", "replace").isprintable()):
            return False
        at += 8 + length + length % 2
    return at in (size, size + 1)
