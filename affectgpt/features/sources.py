"""Features of frozen towers: computed once per clip and setting, kept on disk under their content, read ever after.

A key is the hash of the media files' bytes, of the tower weights, and of every setting that matters; so a store serves
many runs, and nothing in it can be out of date. Features are always computed one clip at a time and rounded to half
precision, so that it makes no difference when that happened.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from affectgpt.clip import Clip
from affectgpt.features.file_hashes import ContentIndex
from affectgpt.features.store import FeatureStore
from affectgpt.media.bundle import Decoded, Media, Wanted, decode
from affectgpt.media.decode import MediaError
from affectgpt.media.readers import FrameReader
from affectgpt.media.sandbox import Sandbox, map_sandboxed
from affectgpt.model.clip_encoder import STORED, ClipEncoder, Features, encoding_settings, fingerprint
from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.processing import AffectGPTProcessor
from affectgpt.problems import InputError, Problem, shorten


def media_of(clip: Clip) -> Media | None:
    """The media of a row; None for a row of text alone."""
    return Media(clip.video, clip.audio, clip.face, clip.start, clip.end) if clip.has_media else None


def wanted_by(config: AffectGPTConfig, processor: AffectGPTProcessor, reader: FrameReader = "auto") -> Wanted:
    """What a model needs decoded of every clip."""
    extractor = processor.feature_extractor
    rate = extractor.sampling_rate if extractor is not None else 16_000
    return Wanted(config.streams, config.num_frames, rate, reader=reader)


class FeatureSource(Protocol):
    """Where the features of rows come from."""

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        """The features of rows in float32, in their order; none for text alone."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """A clip that could not be used, why, and the rows that have it."""

    media: Media
    reason: str
    rows: tuple[str, ...]

    @property
    def files(self) -> list[str]:
        """What it is read from."""
        return [str(path) for path in self.media.files()]

    def to_json(self) -> dict[str, object]:
        """As a line of `bad_samples.jsonl`."""
        return {"files": self.files, "reason": self.reason, "rows": list(self.rows)}


@dataclass(slots=True)
class StoredFeatures:
    """Features that are read from a store when they are wanted."""

    store: FeatureStore
    keys: dict[Media, str] = field(default_factory=dict)

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        """The features of rows in float32, in their order; none for text alone.

        Raises:
            InputError: the store has lost the features of a clip since the run began.
        """
        return [{} if (media := media_of(clip)) is None else self._read(media, clip) for clip in clips]

    def _read(self, media: Media, clip: Clip) -> Features:
        found = self.store.get(self.keys[media])
        if found is None:
            raise InputError(
                f"{self.store.folder}: expected the features of row {clip.id}, found none or a damaged entry. Remove "
                f"what is damaged with 'affectgpt features prune {self.store.folder}'; the next run computes it again."
            )
        return {name: value.float() for name, value in found.items()}


class OnlineFeatures:
    """Features that are computed when they are wanted, equal to stored ones to the bit."""

    def __init__(self, encoder: ClipEncoder, workers: int, timeout_s: float, reader: FrameReader = "auto") -> None:
        self.encoder = encoder
        self.media = DecodedMedia(wanted_by(encoder.config, encoder.processor, reader), workers, timeout_s)

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        """The features of rows in float32, in their order, each clip encoded once; none for text alone."""
        media = [media_of(clip) for clip in clips]
        decoded = dict(zip(media, self.media.of(clips), strict=True))
        features = {item: self.encoder.encode(value) for item, value in decoded.items()}
        return [features[item] for item in media]


class DecodedMedia:
    """Media that are decoded when they are wanted, in workers that can be killed."""

    def __init__(self, wanted: Wanted, workers: int, timeout_s: float) -> None:
        self.decoder = partial(decode, wanted=wanted)
        self.sandbox = Sandbox(workers, timeout_s)

    def of(self, clips: Sequence[Clip]) -> list[Decoded]:
        """The decoded media of rows, in their order; nothing for text alone.

        Raises:
            InputError: a clip does not decode; clips that never did were left out before training.
        """
        media = [media_of(clip) for clip in clips]
        outcomes = dict(self.sandbox.map(self.decoder, dict.fromkeys(item for item in media if item is not None)))
        decoded: list[Decoded] = []
        for clip, item in zip(clips, media, strict=True):
            outcome = {} if item is None else outcomes[item]
            if isinstance(outcome, MediaError):
                raise InputError(f"row {clip.id}: {outcome}. Check with: affectgpt data check ROWS")
            decoded.append(outcome)
        return decoded

    def close(self) -> None:
        """Kill the workers."""
        self.sandbox.close()


@dataclass(frozen=True, slots=True)
class Missing:
    """What a store does not hold of the clips of a data set."""

    keys: dict[Media, str]
    """Of every clip that can be read, whether its features are there or not."""
    rows: dict[Media, list[str]]
    """Ids of the rows of every clip."""
    media: list[Media]
    """The clips whose features are not there."""
    unreadable: list[BadSample]
    """Clips with a file that is not there any more."""


def find_missing(
    clips: Iterable[Clip],
    config: AffectGPTConfig,
    processor: AffectGPTProcessor,
    store: FeatureStore,
    share: tuple[int, int] = (0, 1),
) -> Missing:
    """Look up every clip; no tower is needed for it.

    Args:
        share: (k, n): only every n-th of the clips, from the k-th on, so that n processes look after all of them. What
            each has to do does not depend on how far the others are.
    """
    grouped = rows_by_media(clips)
    rows = {media: grouped[media] for media in list(grouped)[share[0] :: share[1]]}
    index = ContentIndex(store.folder / "contents.jsonl")
    hashes = index.hashes(file for media in rows for file in media.files())
    mark = fingerprint(encoding_settings(config, processor))
    keys, bad = {}, []
    for media in rows:
        gone = [file for file in media.files() if file not in hashes]
        if gone:
            bad.append(BadSample(media, str(f"{gone[0]}: cannot be read"), tuple(rows[media])))
        else:
            keys[media] = media_key(media, hashes, mark)
    return Missing(keys, rows, [media for media, key in keys.items() if key not in store], bad)


def rows_by_media(clips: Iterable[Clip]) -> dict[Media, list[str]]:
    """Ids of the rows about each clip, in the order in which clips first appear; rows of text alone left out."""
    rows: dict[Media, list[str]] = {}
    for clip in clips:
        if (media := media_of(clip)) is not None:
            rows.setdefault(media, []).append(clip.id)
    return rows


def media_key(media: Media, hashes: dict[Path, str], mark: str) -> str:
    """The key of a clip's features: hash of its files' contents, its span and the fingerprint of the settings."""
    files = {name: path and hashes[path] for name in ("video", "audio", "face") for path in [getattr(media, name)]}
    return hashlib.sha256(json.dumps([mark, media.start, media.end, files]).encode()).hexdigest()


def fill_store(
    missing: Missing,
    encoder: ClipEncoder,
    store: FeatureStore,
    timeout_s: float = 20.0,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    reader: FrameReader = "auto",
) -> list[BadSample]:
    """Compute what is missing, decoding in workers that can be killed; returns the clips that cannot be used.

    Args:
        progress: called with how many are done, of how many.
    """
    settings = encoding_settings(encoder.config, encoder.processor)
    mark = fingerprint(settings)
    bad = []
    if missing.media:
        store.describe(mark, settings)
    decoder = partial(decode, wanted=wanted_by(encoder.config, encoder.processor, reader))
    for done, (media, outcome) in enumerate(map_sandboxed(decoder, missing.media, workers, timeout_s), start=1):
        if isinstance(outcome, MediaError):
            bad.append(BadSample(media, str(outcome), tuple(missing.rows[media])))
        else:
            features = encoder.encode(outcome)
            store.put(missing.keys[media], {name: value.to(STORED) for name, value in features.items()}, mark)
        if progress:
            progress(done, len(missing.media))
    return bad


def build_features(
    clips: Sequence[Clip],
    config: AffectGPTConfig,
    processor: AffectGPTProcessor,
    store: FeatureStore,
    encoder: Callable[[], ClipEncoder],
    timeout_s: float = 20.0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    reader: FrameReader = "auto",
) -> tuple[StoredFeatures, list[BadSample]]:
    """The features of every clip, read from the store from then on; towers are loaded only if some are missing.

    A clip that cannot be decoded has no features and is listed; the caller decides what then.
    """
    missing = find_missing(clips, config, processor, store)
    bad = list(missing.unreadable)
    if missing.media:
        workers = workers or os.cpu_count() or 1
        bad += fill_store(missing, encoder(), store, timeout_s, workers, progress=progress, reader=reader)
    unusable = {sample.media for sample in bad}
    return StoredFeatures(store, {media: key for media, key in missing.keys.items() if media not in unusable}), bad


def require_settings(store: FeatureStore, settings: dict[str, Any]) -> None:
    """Refuse a store that holds features, but none that were made with these settings.

    Raises:
        InputError: names every setting in which the nearest features differ.
    """
    described = store.descriptions()
    if not described or fingerprint(settings) in described:
        return
    wanted = _flat(settings)
    held = min(map(_flat, described.values()), key=lambda other: len(_differences(wanted, other)))
    nothing = "no such setting"
    problems = [
        Problem(str(store.folder), name, shorten(wanted.get(name, nothing)), shorten(held.get(name, nothing)))
        for name in _differences(wanted, held)
    ]
    build = f"affectgpt features build ROWS --model DIR --store {store.folder}"
    raise InputError(problems, advice=f"Name the model that these features are of, or add this one's: {build}")


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one | other if one.get(name) != other.get(name))


def undecodable(
    clips: Iterable[Clip],
    wanted: Wanted,
    workers: int,
    timeout_s: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[BadSample]:
    """Decode the media of every clip as training would; the clips that fail."""
    rows = rows_by_media(clips)
    bad = []
    outcomes = map_sandboxed(partial(decode, wanted=wanted), rows, workers, timeout_s)
    for done, (media, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, MediaError):
            bad.append(BadSample(media, str(outcome), tuple(rows[media])))
        if progress:
            progress(done, len(rows))
    return bad
