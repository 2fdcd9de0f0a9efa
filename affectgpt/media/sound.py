"""Decoding of sound: one channel at the wanted rate, each sample at its time in the film."""

from __future__ import annotations

import math
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame

from affectgpt.media.source import MediaError, MediaFile, opened

_MARGIN = 0.1
"""Seconds of sound around a cut that the resampler sees too, so that its filter has run in."""
_GAP = 0.1
"""Seconds by which sound may depart from its time stamps before it is moved there, as with `aresample=async=1` of
FFmpeg; less is jitter of the stamps, or silence with which a coder begins."""
_SOUGHT_S, _LEAD_IN_S = 30.0, 1.0
"""Second of a film from which on the sound of a cut is decoded from a packet shortly before it, and by how much before:
coders need some packets to run in."""
_LOWEST_RATE, _HIGHEST_RATE = 1000, 1_000_000
"""Limits of a file's sample rate in Hz; beyond them its header is damaged, and resampling would need huge memory."""
_CANCELLED = 1 / 16
"""Power of the average of n channels below which they cancel each other, as a share of the least that it has if only
one of them sounds, 1/n²."""
_WINDOW_S, _QUIET = 0.5, 0.01
"""Seconds of sound of which each is looked at for that, and the share of the mean power below which they do not count:
channels may be opposite in a part alone."""


def read_audio(
    source: str | Path | MediaFile, sample_rate: int, start: float | None = None, end: float | None = None
) -> np.ndarray:
    """Read the sound of a file, or of its part in [start, end), as one channel.

    Channels are averaged, or the loudest is taken if they are opposite anywhere and would cancel each other there. A
    gap in the track is silence, as is the time before it begins, so that each sample stands at its time.

    Args:
        source: an audio or video file, or one opened by `open_media`.
        sample_rate: samples per second to return.
        start, end: seconds from the start of the file.

    Returns:
        (samples,) float32.

    Raises:
        MediaError: unreadable, truncated, without an audio track, without a sample in [start, end), or with samples
            that are not finite.
    """
    with opened(source) as media:
        path = media.path
        sound = _Sound(sample_rate)
        goes_on = sound.read(media, start, end)
        if sound.cancels:
            sound = _Sound(sample_rate, sound.loudest)
            sound.read(media, start, end)
    base = start or 0.0
    runs = [(time, np.concatenate(blocks).astype(np.float32)) for time, blocks in sound.runs if blocks]
    origin = base
    if runs and runs[0][0] - base <= _GAP:
        origin = runs[0][0]
    samples = _lay_out([(round((time - origin) * sample_rate), run) for time, run in runs])
    stop = None if end is None else max(0, round((end - origin) * sample_rate))
    if goes_on and stop is not None and len(samples) < stop:
        samples = np.pad(samples, (0, stop - len(samples)))
    samples = samples[0 if start is None else max(0, round((start - origin) * sample_rate)) : stop]
    if not samples.size:
        raise MediaError(f"{path}: no audio sample {span_in_words(start, end)}")
    if not np.isfinite(samples).all():
        raise MediaError(f"{path}: the sound holds samples that are NaN or infinite. Write the file anew.")
    return samples


def span_in_words(start: float | None, end: float | None) -> str:
    """Describe a part of a file in which nothing was found, and the next step."""
    if start is None and end is None:
        return "decodes. Copy or download it again."
    until = "the end" if end is None else f"{end:g} s"
    return f"between {start or 0.0:g} s and {until}. Mend start and end, which are seconds."


@dataclass(slots=True)
class _Sound:
    """Sound of a part of a file: runs of samples without a gap, each with the time of its first one.

    Args:
        sample_rate: samples per second to resample to.
        channel: channel to take; None for the average.
    """

    sample_rate: int
    channel: int | None = None
    runs: list[tuple[float, list[np.ndarray]]] = field(default_factory=list)
    _count: int = 0
    """Samples of the file's own rate in the last run."""
    _sums: list[np.ndarray] = field(default_factory=list)
    """Count, sum and sum of squares of the samples of each channel and of their average, (3, channels + 1) for each
    window."""

    def read(self, media: MediaFile, start: float | None, end: float | None) -> bool:
        """Decode and resample [start, end), with a margin; return whether the sound goes on behind it."""
        earliest = -math.inf if start is None else start
        latest = math.inf if end is None else end
        track = media.track("audio")
        first = track.key_before(earliest - _LEAD_IN_S) if track.seekable and earliest > _SOUGHT_S else 0
        resampler = None
        with closing(media.decode(track, first)) as frames:
            for time, frame in frames:
                assert isinstance(frame, AudioFrame)
                rate = frame.sample_rate
                if not _LOWEST_RATE <= rate <= _HIGHEST_RATE:
                    raise MediaError(
                        f"{media.path}: sound of {rate} Hz, expected 1 kHz to 1 MHz: its header is damaged. Copy or "
                        "download it again."
                    )
                if time + frame.samples / rate <= earliest - _MARGIN:
                    continue
                if time >= latest + _MARGIN:
                    self._add(resampler, None)
                    return True
                if resampler is None or abs(time - self.runs[-1][0] - self._count / rate) > _GAP:
                    self._add(resampler, None)
                    resampler = av.AudioResampler(format="fltp", rate=self.sample_rate)
                    self.runs.append((time, []))
                    self._count = 0
                try:
                    self._add(resampler, frame)
                except ValueError as error:
                    raise MediaError(
                        f"{media.path}: the sound changes its format at {time:.1f} s. Convert it to one format."
                    ) from error
                self._count += frame.samples
        self._add(resampler, None)
        return False

    def _add(self, resampler: av.AudioResampler | None, frame: AudioFrame | None) -> None:
        """Add a frame to the last run, or what the resampler still holds."""
        if resampler is None:
            return
        with np.errstate(over="ignore", invalid="ignore"):
            for block in resampler.resample(frame):
                channels = block.to_ndarray()
                average = channels.mean(axis=0)
                self.runs[-1][1].append(average if self.channel is None else channels[self.channel])
                if len(channels) > 1 and self.channel is None:
                    count = np.full(len(channels) + 1, len(average), np.float64)
                    total = [*channels.sum(axis=1), average.sum()]
                    squares = [*np.einsum("cn,cn->c", channels, channels), average @ average]
                    sums = np.array([count, total, squares])
                    if self._sums and self._sums[-1].shape != sums.shape:
                        raise ValueError("another number of channels")
                    if self._sums and self._sums[-1][0, 0] < _WINDOW_S * self.sample_rate:
                        self._sums[-1] += sums
                    else:
                        self._sums.append(sums)

    @property
    def _power(self) -> np.ndarray:
        """Mean square of each channel and of their average, without what is constant, (windows, channels + 1)."""
        if not self._sums:
            return np.zeros((0, 1))
        count, total, squares = np.stack(self._sums, axis=1)
        return squares / count - (total / count) ** 2

    @property
    def cancels(self) -> bool:
        """Whether the channels cancel each other in their average, throughout or in a part that is not quiet."""
        power = self._power
        if power.shape[1] < 2:
            return False
        loudest = power[:, :-1].max(axis=1)
        heard = loudest > _QUIET * loudest.mean()
        return bool((heard & (power[:, -1] < _CANCELLED * loudest / (power.shape[1] - 1) ** 2)).any())

    @property
    def loudest(self) -> int:
        """The channel with the most power, the first of those about equal."""
        power = self._power[:, :-1].mean(axis=0)
        return int(np.flatnonzero(power >= 0.99 * power.max())[0])


def _lay_out(runs: list[tuple[int, np.ndarray]]) -> np.ndarray:
    """Put runs of samples at their places, silence between them; where two overlap, the earlier one stays."""
    parts: list[np.ndarray] = []
    length = 0
    for at, run in runs:
        if at > length:
            parts.append(np.zeros(at - length, np.float32))
            length = at
        rest = run[length - at :]
        parts.append(rest)
        length += len(rest)
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
