"""Reading of signals: channels over time, such as an EEG. Only plugins take them.

Shapes: C channels, N samples.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from affectgpt.media.recording import Recording
from affectgpt.media.source import MediaError, require_content

MOST_VALUES = 1 << 27
"""Most numbers of a signal: 64 channels at 512 Hz for over an hour, 512 MB."""
_MOST_NAMES, _LONGEST_NAME = 4096, 256
_HIGHEST_RATE = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Signal:
    """Signal in memory."""

    samples: np.ndarray
    """Samples, (C, N) float32: as stored in an array; from EDF and FIF in volts if the file gives that unit."""
    rate: float
    """Samples per second."""
    channels: tuple[str, ...]
    """Names of the C channels, all different."""


def read_signal(recording: Recording) -> Signal:
    """Read a signal, or its part in [start, end). Nothing is resampled, filtered, renamed or left out.

    EDF and FIF are read by mne: the status channel of an EEG (its triggers) is left out, and channels sampled slower
    than others are upsampled to the highest rate.

    Raises:
        MediaError: unreadable, truncated, pickled, of another shape, without a channel or a sample in [start, end),
            with NaN or infinite samples, with more than `MOST_VALUES` numbers, without C different names, or with an
            invalid rate; or mne is needed and not installed.
    """
    path = recording.path
    require_content(path)
    ending = path.suffix.lower()
    read = {".npy": _read_npy, ".npz": _read_npz}.get(ending, _read_by_mne)
    try:
        signal = read(recording)
    except MediaError:
        raise
    except Exception as error:  # A damaged file can raise any exception.
        raise MediaError(
            f"{path}: no signal that can be read ({error}). Write it again, or leave it out of the row."
        ) from error
    _require_sound(path, signal)
    return signal


def check_signal(recording: Recording) -> None:
    """Read a signal and discard it: for a worker process, which need not send it back.

    Raises:
        MediaError: see `read_signal`.
    """
    read_signal(recording)


def _read_npy(recording: Recording) -> Signal:
    path, rate, channels = recording.path, recording.rate, recording.channels
    if rate is None or channels is None:
        raise MediaError(
            f"{path}: an .npy file does not tell its rate and channels, expected them beside it. Name signal_rate and "
            "signal_channels on the row."
        )
    with np.errstate(over="raise"):
        samples = np.lib.format.open_memmap(path, mode="r")
    return _cut(recording, samples, rate, channels)


def _read_npz(recording: Recording) -> Signal:
    path = recording.path
    if not zipfile.is_zipfile(path):
        raise MediaError(f"{path}: no .npz archive, or one that was cut off. Copy or write it again.")
    with np.load(path, allow_pickle=False) as archive:
        if lacking := [name for name in ("data", "rate", "channels") if name not in archive]:
            missing = ", ".join(lacking)
            raise MediaError(f"{path}: expected the arrays data, rate and channels, it lacks {missing}. Add them.")
        names = _member(path, archive, "channels", _MOST_NAMES)
        rate = _member(path, archive, "rate", 1)
        samples = _member(path, archive, "data", MOST_VALUES)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise MediaError(f"{path}: channels: expected a list of names, got {names.shape} {names.dtype}. Write them so.")
    if rate.size != 1 or rate.dtype.kind not in "iuf":
        raise MediaError(f"{path}: rate: expected one number, got {rate.shape} {rate.dtype}. Write it so.")
    return _cut(recording, samples, float(rate.reshape(())), tuple(names.tolist()))


def _member(path: Path, archive: np.lib.npyio.NpzFile, name: str, most: int) -> np.ndarray:
    """Read an array of an archive. Its header is read first, so that nothing large is unpacked and no pickle opened."""
    assert archive.zip is not None
    with archive.zip.open(f"{name}.npy") as file:
        shape, dtype = _header(file)
    count = 1
    for side in shape:
        count *= side
    if dtype.hasobject:
        got = "an array of Python objects, expected numbers or names; pickles stay shut"
        raise MediaError(f"{path}: {name}: {got}. Save it as an array of a plain type.")
    if count > most or dtype.itemsize > 4 * _LONGEST_NAME:
        got = f"an array of {shape} {dtype}, expected at most {most} values"
        raise MediaError(f"{path}: {name}: {got}. Divide the recording.")
    return np.asarray(archive[name])


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _read_by_mne(recording: Recording) -> Signal:
    path = recording.path
    try:
        import mne
    except ImportError as error:
        raise MediaError(f"{path}: mne reads it and is not installed. Install it with: pip install mne") from error
    raw = mne.io.read_raw(path, preload=False, verbose="ERROR")
    if len(raw.filenames) > 1:
        got = f"the first of {len(raw.filenames)} files of a recording, expected one that is whole"
        raise MediaError(f"{path}: {got}. Save the recording as one file.")
    names = [name for name, kind in zip(raw.ch_names, raw.get_channel_types(), strict=True) if kind != "stim"]
    if not names:
        raise MediaError(f"{path}: no channel but triggers. Leave it out of the row.")
    rate = float(raw.info["sfreq"])
    first, last = _span(recording, rate, raw.n_times)
    _require_few(path, len(names) * (last - first))
    samples = raw.get_data(picks=names, start=first, stop=last) if last > first else np.zeros((len(names), 0))
    return Signal(np.asarray(samples, np.float32), rate, tuple(names))


def _cut(recording: Recording, samples: np.ndarray, rate: float, channels: tuple[str, ...]) -> Signal:
    """Cut (C, N) samples to the part between start and end."""
    path = recording.path
    if samples.ndim != 2 or samples.dtype.kind not in "iuf":
        got = f"{samples.shape} {samples.dtype}"
        raise MediaError(f"{path}: expected (channels, samples) of numbers, got {got}. Save it so.")
    if not 0 < rate <= _HIGHEST_RATE:
        raise MediaError(f"{path}: a rate of {rate:g} Hz, expected more than 0 and at most 10 MHz. Mend the rate.")
    first, last = _span(recording, rate, samples.shape[1])
    _require_few(path, samples.shape[0] * max(0, last - first))
    with np.errstate(over="ignore", invalid="ignore"):
        return Signal(np.array(samples[:, first:last], np.float32), rate, channels)


def _span(recording: Recording, rate: float, count: int) -> tuple[int, int]:
    """Return the first sample of the part, and the one after its last."""
    first = 0 if recording.start is None else min(count, round(recording.start * rate))
    return first, count if recording.end is None else min(count, round(recording.end * rate))


def _require_few(path: Path, values: int) -> None:
    if values > MOST_VALUES:
        raise MediaError(f"{path}: {values} numbers, expected at most {MOST_VALUES}. Name a part by start and end.")


def _require_sound(path: Path, signal: Signal) -> None:
    """Raise MediaError for invalid values that no file format rules out."""
    count, channels = len(signal.samples), signal.channels
    if not count:
        raise MediaError(f"{path}: no channel, its shape is {signal.samples.shape}. Leave it out of the row.")
    if len(channels) != count:
        raise MediaError(f"{path}: {len(channels)} names of channels, expected {count}, one for each. Mend them.")
    if len(set(channels)) < count or not all(map(str.strip, channels)):
        got = ", ".join(channels)
        raise MediaError(f"{path}: expected channels of different names, none of them empty, got {got}. Mend them.")
    if not signal.samples.shape[1]:
        raise MediaError(f"{path}: no sample in the part that is read. Mend start and end, which are seconds.")
    finite = np.isfinite(signal.samples).all(axis=1)
    if not finite.all():
        bad = ", ".join(name for name, right in zip(channels, finite, strict=True) if not right)
        raise MediaError(f"{path}: samples that are NaN or infinite, in {bad}. Mend or cut them.")
