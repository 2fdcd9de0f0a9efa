"""Opening of media files by PyAV: of the named file and no other, and with words where it cannot be opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Stream

from affectgpt.media.media import is_lfs_pointer
from affectgpt.media.wav import wav_with_its_length

av.logging.set_level(av.logging.PANIC)

MAX_PIXELS = 1 << 25
"""Most pixels of a frame: 8K fits, and the claims of a damaged header do not."""

# Demuxers by FFmpeg's names. Playlists (hls, concat, dash) are left out: they make FFmpeg open other files.
DECLARING = ("mov", "matroska", "avi", "flv", "asf", "wav", "w64", "flac", "aiff", "caf")
"""Formats whose header promises a length."""
_ESTIMATED = ("ogg", "mp3", "aac", "ac3", "amr", "mpeg", "mpegts", "gif")
INDEXED = ("mov", "matroska")
"""Formats in which a packet can be sought by its time."""
_CODEC_OPTIONS = {"max_pixels": str(MAX_PIXELS)}
OPTIONS = {"protocol_whitelist": "file", "format_whitelist": ",".join(DECLARING + _ESTIMATED), **_CODEC_OPTIONS}
"""Options with which PyAV opens the given file and no other; every call that opens media uses them."""


class MediaError(ValueError):
    """Error of a file that cannot be used; the message names the file, gives the reason and the next step."""


class NoSoundError(MediaError):
    """Error of a file that is whole and has no sound track."""


def require_content(path: str | Path) -> None:
    """Raise MediaError unless `path` is a non-empty file that holds more than a pointer of Git LFS."""
    path = Path(path)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing there"
        raise MediaError(f"{path}: {got}, expected a file. Mend the path, or put the file there.")
    if not path.stat().st_size:
        raise MediaError(f"{path}: the file is empty. Copy or download it again.")
    if is_lfs_pointer(path):
        raise MediaError(f"{path}: a pointer of Git LFS, not the file itself. Fetch it with: git lfs pull")


@contextmanager
def open_container(path: Path) -> Iterator[InputContainer]:
    """Open a file for demultiplexing, its decoders set to one thread.

    Raises:
        MediaError: nothing there, a folder, empty, or of no format that can be read.
    """
    require_content(path)
    with ExitStack() as stack:
        try:
            whole = wav_with_its_length(path)
            # An absolute path, lest a name with a colon be taken for a protocol.
            source = os.path.abspath(path) if whole is None else stack.enter_context(whole)
            container = stack.enter_context(av.open(source, options=OPTIONS, metadata_errors="ignore"))
        except (av.FFmpegError, OSError) as error:
            raise MediaError(
                f"{path}: no video or audio file that can be read ({error.strerror}). {_advice(path)}"
            ) from error
        assert isinstance(container, InputContainer)
        for stream in container.streams:
            if stream.codec_context is not None:
                # Clips are decoded in parallel processes; threads inside each would only compete.
                stream.codec_context.thread_count = 1
                stream.codec_context.options = _CODEC_OPTIONS
        yield container


def _advice(path: Path) -> str:
    """Return the next step for a file that is no film and no sound, by how it begins."""
    with path.open("rb") as file:
        head = file.read(64).lstrip().lower()
    if head.startswith((b"<!doctype", b"<html")):
        return "It is a web page, not the file itself: download it again."
    if head.startswith((b"\xff\xd8\xff", b"\x89png", b"bm")):
        return "It is a picture: name it as the image of its row."
    return "Copy or download it again, or convert it to MP4 or WAV."


def codec_of(stream: Stream) -> str:
    """Return the name of a stream's codec; '' if there is no decoder for it."""
    return "" if stream.codec_context is None else stream.codec_context.codec.canonical_name
