"""Decode media passed from Python, as files (in a worker that can be killed) or arrays, exactly as those of a row file.

Shapes: F pictures, H and W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from av import AudioFrame, AudioResampler

from affectgpt.media.bundle import Decoded, Media, Wanted, decode
from affectgpt.media.container import MediaError, NoSoundError
from affectgpt.media.faces import crop_faces
from affectgpt.media.media import MEDIA
from affectgpt.media.sampling import even_indices
from affectgpt.media.sandbox import map_sandboxed
from affectgpt.problems import InputError, Problem

Given = str | Path | np.ndarray
"""Medium as a file or an array."""
SERVES = {name: medium.streams for name, medium in MEDIA.items() if medium.streams}
"""Streams that each medium can be decoded as."""

_log = logging.getLogger(__name__)
_silent: list[Media] = []
"""The first clip without a sound track that was answered about."""


def read_given(wanted: Wanted, media: dict[str, Given], sample_rate: int = 16_000, timeout_s: float = 20.0) -> Decoded:
    """Decode the streams that a model wants from media.

    Args:
        wanted: the streams and sampling of the model.
        media: 'video' and 'face', files or (F, H, W, 3) uint8 RGB; 'image', a file or (H, W, 3), instead of a video;
            'audio', a file or (samples,) float. An array of pictures has no sound; a video file has its own, unless
            'audio' is given.
        sample_rate: sample rate of an audio array.
        timeout_s: most seconds to decode files.

    Raises:
        InputError: a medium that the model does not take, or that cannot be used; all invalid arrays at once.
    """
    if {"image", "video"} <= media.keys():
        raise InputError("image: expected a picture or a video, got both. Leave one of them out.")
    arrays = {name: value for name, value in media.items() if isinstance(value, np.ndarray)}
    problems = [_not_taken(name, wanted.streams) for name in media if not {*SERVES[name]} & {*wanted.streams}]
    problems += [problem for name, value in arrays.items() for problem in _array_problems(name, value)]
    if problems:
        raise InputError(problems)
    if "image" in arrays:
        arrays["video"] = arrays.pop("image")[None]
    decoded: Decoded = {}
    for name in ("face", "video"):
        if name in arrays:
            pictures = arrays[name][even_indices(len(arrays[name]), wanted.num_frames)]
            decoded["frame" if name == "video" else name] = pictures
    if "video" in arrays and "face" in wanted.streams and "face" not in media:
        decoded["face"] = crop_faces(decoded["frame"]).crops
    if "audio" in arrays:
        decoded["audio"] = resample(arrays["audio"], sample_rate, wanted.sample_rate)
    files = {name: Path(value) for name, value in media.items() if not isinstance(value, np.ndarray)}
    if files:
        rest = replace(wanted, streams=tuple(stream for stream in wanted.streams if stream not in decoded))
        item = Media(**files)  # type: ignore[arg-type]
        ((_, outcome),) = map_sandboxed(partial(decode_seen_or_heard, wanted=rest), [item], 1, timeout_s)
        if isinstance(outcome, MediaError):
            raise InputError(str(outcome))
        if lacks_sound(item, rest, outcome):
            name_silent(item)
        decoded |= outcome
    return {stream: decoded[stream] for stream in decoded if stream in wanted.streams or stream == "times"}


def decode_seen_or_heard(media: Media, wanted: Wanted) -> Decoded:
    """Decode the wanted streams of a clip to be answered about; of a video without a sound track, the pictures alone.

    Raises:
        MediaError: a file cannot be used, or there is no sound and no picture is wanted.
    """
    try:
        return decode(media, wanted)
    except NoSoundError:
        mute = replace(media, has_sound=False)
        if not any(mute.has(stream) for stream in wanted.streams):
            raise
        return decode(mute, wanted)


def lacks_sound(media: Media, wanted: Wanted, decoded: Decoded) -> bool:
    """Tell whether a clip should have been heard and had no sound track."""
    return "audio" in wanted.streams and media.has("audio") and "audio" not in decoded


def name_silent(media: Media) -> None:
    """Log that a clip has no sound track, the first one in a process."""
    if not _silent:
        _silent.append(media)
        _log.warning("%s: no sound track: the answer is from the pictures alone.", media.video)


def resample(wave: np.ndarray, rate: int, wanted_rate: int) -> np.ndarray:
    """Resample (samples,) from one rate to another as float32, with the resampler that decoding uses."""
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(wave[None], np.float32), format="fltp", layout="mono")
    frame.sample_rate = rate
    resampler = AudioResampler(format="fltp", rate=wanted_rate)
    blocks = [block.to_ndarray()[0] for part in (frame, None) for block in resampler.resample(part)]
    return np.concatenate(blocks).astype(np.float32)


def _not_taken(name: str, streams: Sequence[str]) -> Problem:
    kinds = ", ".join(medium for medium, serves in SERVES.items() if {*serves} & {*streams})
    return Problem(name, "the medium", kinds or "none: this model reads text alone", name, "Leave it out.")


def _array_problems(name: str, value: np.ndarray) -> list[Problem]:
    got = f"{value.shape} {value.dtype}"
    if name == "audio":
        right = value.ndim == 1 and value.size > 0 and value.dtype.kind == "f" and bool(np.isfinite(value).all())
        return [] if right else [Problem(name, "the array", "(samples,) of finite floats", got)]
    sides, expected = (3, "a picture (H, W, 3) uint8") if name == "image" else (4, "pictures (F, H, W, 3) uint8")
    right = value.ndim == sides and value.shape[-1] == 3 and value.size > 0 and value.dtype == np.uint8
    return [] if right else [Problem(name, "the array", expected, got)]
