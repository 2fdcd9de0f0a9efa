"""An open media file: its verified tracks, and the packets and frames of them. Made by `open_media`.

An incomplete file is refused, never silently shortened: `survey.py` reads all its packets first, once for all cuts of a
file, and decoding checks that the frames are there too.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path
from typing import cast

import av
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame

from affectgpt.media.container import MAX_PIXELS, OPTIONS, MediaError, NoSoundError, open_container, require_content
from affectgpt.media.survey import (
    NO_STAMP,
    ONE_FRAME_A_PACKET,
    SURVEYS,
    Kind,
    Survey,
    Track,
    is_short,
    shift,
    survey_packets,
    truncated,
)

__all__ = [
    "MAX_PIXELS",
    "OPTIONS",
    "MediaError",
    "MediaFile",
    "NoSoundError",
    "Track",
    "open_media",
    "opened",
    "require_content",
]

_SOUGHT_WITHIN_S = 10
"""Seconds behind a packet up to which it is looked for after a seek."""


class MediaFile:
    """Open media file for `read_video` and `read_audio`, which share its packets. Made by `open_media`.

    Args:
        path: the file.
        container: the open file; None if its survey is known.
    """

    def __init__(self, path: Path, container: InputContainer | None) -> None:
        self.path = path
        self._container = container
        self._survey: Survey | None = None
        self._packets: dict[int, list[Packet]] = {}

    @property
    def survey(self) -> Survey:
        """The survey of all packets of the file, which this reads unless they were read before."""
        if self._survey is None:
            self._survey = SURVEYS.get(self.path) if self._container is None else None
        if self._survey is None:
            if self._container is None:  # the file has changed since it was opened
                with open_container(self.path) as container:
                    self._survey, _ = survey_packets(self.path, container)
            else:
                self._survey, self._packets = survey_packets(self.path, self._container)
            SURVEYS.keep(self._survey)
        return self._survey

    def track(self, kind: Kind) -> Track:
        """Return the stream of pictures or sound that is read, after all packets of the file were read and verified.

        Raises:
            MediaError: there is no such stream, or the file is incomplete.
        """
        return self.survey.track(kind)

    def decode(self, track: Track, first: int = 0) -> Generator[tuple[float, VideoFrame | AudioFrame], None, None]:
        """Yield the frames of a track with their display times, from a packet on.

        Args:
            first: index into `track.times` of a packet at which decoding can start.

        Raises:
            MediaError: a packet cannot be decoded, or the decoded frames end clearly before the track does.
        """
        clock = 0.0
        with self.packets(track, first) as (_, packets):
            try:
                for packet in packets:
                    for decoded in packet.decode():
                        frame = cast("VideoFrame | AudioFrame", decoded)
                        time = clock if frame.time is None else frame.time - self.survey.origin
                        clock = time + float((frame.duration or 0) * (frame.time_base or 0))
                        yield time, frame
            except av.FFmpegError as error:
                raise truncated(self.path, clock, track.seconds) from error
        if is_short(clock, track.seconds):
            raise truncated(self.path, clock, track.seconds)

    @contextmanager
    def packets(self, track: Track, first: int = 0) -> Iterator[tuple[CodecContext, Iterable[Packet]]]:
        """Yield a fresh decoder and the packets of a track for it, from the one with index `first` on."""
        kept = self._packets.get(track.index)
        if kept and self._container is not None:
            context = self._container.streams[track.index].codec_context
            # A reset audio decoder continues its random numbers for filling in: it must be a new one.
            if not context.is_open or track.codec in ONE_FRAME_A_PACKET:
                context.flush_buffers()
                context.skip_frame = "DEFAULT"
                yield context, kept[first:]
                return
        stamp = int(track.stamps[first]) if first else NO_STAMP
        if stamp != NO_STAMP and track.seekable:
            with open_container(self.path) as container:
                if (found := _sought(container, track.index, stamp)) is not None:
                    yield container.streams[track.index].codec_context, found
                    return
        with open_container(self.path) as container:
            again = container.streams[track.index]
            yield again.codec_context, _from(shift(container.demux(again), track.shifts), first)


def _sought(container: InputContainer, index: int, stamp: int) -> Iterable[Packet] | None:
    """Seek to the packet of a stream with a time stamp; None if it is not met from there on."""
    stream = container.streams[index]
    with suppress(av.FFmpegError):
        container.seek(stamp, stream=stream)
        packets = container.demux(stream)
        for packet in packets:
            if packet.pts == stamp:
                return chain([packet], packets)
            if packet.pts is None or packet.pts > stamp + _SOUGHT_WITHIN_S / (stream.time_base or 1):
                break
    return None


def _from(packets: Iterable[Packet], first: int) -> Iterator[Packet]:
    """Yield packets from the stamped one with index `first` on."""
    index = 0
    for packet in packets:
        if index >= first:
            yield packet
        index += packet.pts is not None or packet.dts is not None


@contextmanager
def open_media(path: str | Path) -> Iterator[MediaFile]:
    """Open a file for several reads, such as of its pictures and its sound: its packets are read only once.

    Raises:
        MediaError: nothing there, a folder, empty, or of no format that can be read.
    """
    path = Path(path)
    require_content(path)
    if SURVEYS.get(path) is not None:
        yield MediaFile(path, None)
        return
    with open_container(path) as container:
        yield MediaFile(path, container)


def opened(source: str | Path | MediaFile) -> AbstractContextManager[MediaFile]:
    """Open a file, or go on with an open one."""
    return nullcontext(source) if isinstance(source, MediaFile) else open_media(source)
