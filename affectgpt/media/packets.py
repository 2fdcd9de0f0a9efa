"""Reading of all packets of a file, without decoding any: the survey of the file, and the packets for decoding.

Recordings that were joined to one file, whose time stamps begin anew, are moved behind each other here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from affectgpt.media.container import DECLARING, INDEXED, codec_of
from affectgpt.media.survey import NO_STAMP, ONE_FRAME_A_PACKET, Survey, Track
from affectgpt.media.wav import wav_with_its_length

_SLACK_BYTES = 1024
"""Bytes by which a file may declare more than it has, since some writers overstate the size."""
KEPT_BYTES = 1 << 26
"""Size up to which the packets of a file are kept; a larger file is read again to be decoded."""
_ZEROS = bytes(8)
_BACK_S, _FORWARD_S = 0.25, 40_000.0
"""Seconds by which the stamps of a stream jump where another capture begins; forward where FFmpeg takes a lower stamp
for one that has passed the 26.5 hours after which MPEG counts anew."""
_SEAM = range(-3, 1)
"""Packets around the first one of a further capture that FFmpeg may call broken: the packet that breaks off, as many
later as its parser holds back."""


class _Column:
    """Facts of one stream, collected while its packets are read."""

    def __init__(self, stream: Stream, container: InputContainer) -> None:
        base = stream.time_base
        self.numerator, self.denominator = (base.numerator, base.denominator) if base else (av.time_base, 1)
        self.times: list[float] = []
        self.ends: list[float] = []
        self.shown: list[bool] = []
        self.stamps: list[int] = []
        self.keys: list[int] = []
        self.corrupt: list[int] = []
        self.captures: list[tuple[int, int]] = []
        """Index of the first packet of each capture, and its number in the file."""
        self.unstamped = 0
        self.clock: float | None = None
        one_frame = codec_of(stream) in ONE_FRAME_A_PACKET
        self.starts_with_zeros_when_lost = one_frame and container.format.name.startswith(INDEXED)

    def add(self, packet: Packet, origin: float, capture: int) -> int:
        """Add a packet; return the number of the capture that it belongs to, given the last one begun by any stream."""
        stamp = packet.dts if packet.pts is None else packet.pts
        if packet.is_corrupt:
            self.corrupt.append(len(self.times))
        if stamp is None:
            self.unstamped += 1
            return capture
        time = stamp * self.numerator / self.denominator - origin
        if not self.times:
            self.captures.append((0, capture))
        if packet.dts is not None:
            clock = packet.dts * self.numerator / self.denominator - origin
            if self.clock is not None and not -_BACK_S < clock - self.clock < _FORWARD_S:
                self.captures.append((len(self.times), max(self.captures[-1][1] + 1, capture)))
            self.clock = clock
        if packet.is_keyframe:
            self.keys.append(len(self.times))
        self.stamps.append(NO_STAMP if packet.pts is None else packet.pts)
        self.times.append(time)
        self.ends.append(time + (packet.duration or 0) * self.numerator / self.denominator)
        self.shown.append(not packet.is_discard)
        return max(capture, self.captures[-1][1])

    @property
    def broken(self) -> bool:
        """Whether a packet is corrupt other than those beside a seam, where a capture begins or breaks off."""
        seams = {start + beside for start, _ in self.captures[1:] for beside in _SEAM}
        return bool({*self.corrupt} - seams)


def survey_packets(path: Path, container: InputContainer) -> tuple[Survey, dict[int, list[Packet]]]:
    """Demultiplex a whole file. Nothing is decoded, so it costs little more than reading the bytes.

    Returns:
        Its survey, and the packets of each stream, the flushing ones included; empty lists if too large to keep.
    """
    origin = (container.start_time or 0) / av.time_base
    columns = [_Column(stream, container) for stream in container.streams]
    packets: dict[int, list[Packet]] = {stream.index: [] for stream in container.streams}
    declared = _declared_bytes(path)
    # FFmpeg takes the end of a WAV whose length is unset for a broken packet.
    trusts_flags = declared != 0
    kept_bytes, damaged, capture = 0, False, 0
    try:
        for packet in container.demux():
            index = packet.stream.index  # packet.stream_index is 0 in those that flush
            column = columns[index]
            kept_bytes += packet.size
            if kept_bytes <= KEPT_BYTES:
                packets[index].append(packet)
            capture = column.add(packet, origin, capture)
            if column.starts_with_zeros_when_lost and packet.size >= len(_ZEROS):
                damaged |= memoryview(packet)[: len(_ZEROS)] == _ZEROS
    except av.FFmpegError:
        damaged = True
    if kept_bytes > KEPT_BYTES:
        packets = {index: [] for index in packets}
    damaged |= trusts_flags and any(column.broken for column in columns)
    shifts = _join(columns) if capture else [[] for _ in columns]
    for stream, moved in zip(container.streams, shifts, strict=True):
        packets[stream.index] = [*shift(packets[stream.index], moved)]
    declaring = container.format.name.split(",")[0] in DECLARING
    seekable = container.format.name.startswith(INDEXED) and not capture
    tracks = [
        _track(stream, column, moved, declaring, seekable)
        for stream, column, moved in zip(container.streams, columns, shifts, strict=True)
    ]
    survey = Survey(
        path,
        origin,
        tracks,
        _promised(container, origin) if declaring else 0.0,
        (declared or 0) / container.size if (declared or 0) > container.size + _SLACK_BYTES else 1.0,
        damaged,
        capture > 0
        and any(column.unstamped > 1 or len(column.captures) <= capture for column in columns if column.times),
    )
    return survey, packets


def _promised(container: InputContainer, origin: float) -> float:
    """Return the seconds that a header promises from the first stamp on; Matroska counts them from 0."""
    begin = origin if container.format.name.startswith("matroska") else 0.0
    return (container.duration or 0) / av.time_base - max(0.0, begin)


def shift(packets: Sequence[Packet] | Iterator[Packet], shifts: Sequence[tuple[int, int]]) -> Iterator[Packet]:
    """Yield the packets of a stream, those of captures that were joined to it with their stamps raised."""
    moved, index, rest = 0, 0, [*shifts]
    for packet in packets:
        stamped = packet.pts is not None or packet.dts is not None
        while stamped and rest and index >= rest[0][0]:
            moved = rest.pop(0)[1]
        if moved and packet.pts is not None:
            packet.pts += moved
        if moved and packet.dts is not None:
            packet.dts += moved
        index += stamped
        yield packet


def _track(stream: Stream, column: _Column, shifts: list[tuple[int, int]], declaring: bool, seekable: bool) -> Track:
    size = (stream.width, stream.height) if codec_of(stream) and isinstance(stream, VideoStream) else (0, 0)
    return Track(
        stream.index,
        stream.type,
        codec_of(stream),
        bool(stream.disposition & Disposition.default),
        bool(stream.disposition & Disposition.attached_pic),
        size,
        float((stream.duration or 0) * (stream.time_base or 0)) if declaring else 0.0,
        np.array(column.times),
        np.array(column.ends),
        np.array(column.shown, bool),
        np.array(column.stamps, np.int64),
        np.array(column.keys, np.int64),
        column.unstamped,
        seekable,
        shifts,
    )


def _join(columns: Sequence[_Column]) -> list[list[tuple[int, int]]]:
    """Move the captures that a file was joined from behind each other, the same for all streams, so that their sound
    and pictures stay together; return `Track.shifts` of each stream."""
    spans: dict[int, list[tuple[_Column, int, int]]] = {}
    for column in columns:
        starts = [start for start, _ in column.captures]
        for (start, capture), end in zip(column.captures, [*starts[1:], len(column.times)], strict=True):
            spans.setdefault(capture, []).append((column, start, end))
    shifts: list[list[tuple[int, int]]] = [[] for _ in columns]
    end_s = 0.0
    for capture in sorted(spans):
        first = min(min(column.times[start:end]) for column, start, end in spans[capture])
        moved = end_s - first if capture else 0.0
        end_s = moved + max(max(column.ends[start:end]) for column, start, end in spans[capture])
        for column, start, end in spans[capture]:
            ticks = round(moved * column.denominator / column.numerator)
            seconds = ticks * column.numerator / column.denominator
            for index in range(start, end) if ticks else ():
                column.times[index] += seconds
                column.ends[index] += seconds
                column.stamps[index] += ticks if column.stamps[index] != NO_STAMP else 0
            if capture:
                shifts[columns.index(column)].append((start, ticks))
    return shifts


def _declared_bytes(path: Path) -> int | None:
    """Return the size that a RIFF (WAV, AVI) or Matroska file declares; 0 if it was left open, None for other files."""
    with wav_with_its_length(path) or open(path, "rb") as file:
        head = file.read(4096)
    if head.startswith(b"RIFF"):
        size = int.from_bytes(head[4:8], "little")
        return 0 if size == 0xFFFFFFFF else size + 8
    segment = head.find(b"\x18\x53\x80\x67")
    if head.startswith(b"\x1a\x45\xdf\xa3") and 0 < segment < len(head) - 4:
        start = segment + 4
        # A number of EBML: the leading zeros of its first byte tell how many bytes follow; all ones is "unknown".
        length = 9 - head[start].bit_length()
        mask = (1 << 7 * length) - 1
        size = int.from_bytes(head[start : start + length]) & mask
        return 0 if size == mask else start + length + size
    return None
