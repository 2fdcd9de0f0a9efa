"""Features of frozen towers: computed once per clip and settings, stored on disk under a content key, then read.

A key is the hash of the media files' bytes, of the tower weights, and of every setting that matters; so a store serves
many runs, and no entry can be out of date. Features are always computed one clip at a time and rounded to half
precision, so that stored and newly computed ones are equal.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from affectgpt.clip import Clip
from affectgpt.features.decoded_before import DecodedBefore
from affectgpt.features.file_hashes import ContentIndex
from affectgpt.features.store import FeatureStore
from affectgpt.media.bundle import Decoded, Media, Wanted, decode
from affectgpt.media.container import MediaError, NoSoundError
from affectgpt.media.media import DECODED
from affectgpt.media.readers import FrameReader
from affectgpt.media.sandbox import Sandbox, map_sandboxed
from affectgpt.model.clip_encoder import STORED, ClipEncoder, Features, encoding_settings, fingerprint
from affectgpt.model.configuration import AffectGPTConfig
from affectgpt.model.processing import AffectGPTProcessor
from affectgpt.problems import InputError, Problem, shorten

_ALWAYS_KEYED = ("video", "audio", "face")
"""Media that a key names even where a clip lacks them, so that keys of existing stores stay the same."""


def media_of(clip: Clip) -> Media | None:
    """Return the media of a row that models can take; None for a row of text, or of a signal, alone."""
    if not clip.has_media:
        return None
    files: dict[str, Any] = {name: getattr(clip, name) for name in DECODED}
    return Media(**files, start=clip.start, end=clip.end, has_sound=clip.has_sound)


def wanted_by(config: AffectGPTConfig, processor: AffectGPTProcessor, reader: FrameReader = "auto") -> Wanted:
    """Return the streams and sampling that a model needs decoded of every clip."""
    extractor = processor.feature_extractor
    rate = extractor.sampling_rate if extractor is not None else 16_000
    return Wanted(config.streams, config.num_frames, rate, reader=reader)


class FeatureSource(Protocol):
    """Protocol of a source of features for rows."""

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        """Return the features of rows in float32, in their order; none for text alone."""


@runtime_checkable
class ReadsAhead(Protocol):
    """Protocol of a source that can begin with the rows that are wanted next."""

    def expect(self, clips: Sequence[Clip]) -> None:
        """Begin to read rows, to be asked for soon; earlier expectations that are not among them are dropped."""


@dataclass(frozen=True, slots=True)
class BadSample:
    """Clip that could not be used, with the reason and its rows."""

    media: Media
    reason: str
    rows: tuple[str, ...]
    no_sound: bool = False
    """Whether the file is whole and lacks nothing but a sound track."""

    @property
    def files(self) -> list[str]:
        """Paths of the clip's files."""
        return [str(path) for path in self.media.files()]

    def to_json(self) -> dict[str, object]:
        """Return the object of a line of `bad_samples.jsonl`."""
        return {"files": self.files, "reason": self.reason, "rows": list(self.rows)}


@dataclass(slots=True)
class StoredFeatures:
    """Source of features that are read from a store on demand."""

    store: FeatureStore
    keys: dict[Media, str] = field(default_factory=dict)

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        """Return the features of rows in float32, in their order; none for text alone.

        Raises:
            InputError: the store has lost the features of a clip since the run began.
        """
        return [{} if (media := media_of(clip)) is None else self._read(media, clip) for clip in clips]

    def _read(self, media: Media, clip: Clip) -> Features:
        found = self.store.get(self.keys[media])
        if found is None:
            raise InputError(
                f"{self.store.folder}: expected the features of row {clip.id}, got none or a damaged entry. Remove "
                f"the damage with 'affectgpt features prune {self.store.folder}'; the next run computes them again."
            )
        return {name: value.float() for name, value in found.items()}


class OnlineFeatures:
    """Source of features that are computed on demand, bit for bit equal to stored ones."""

    def __init__(self, encoder: ClipEncoder, workers: int, timeout_s: float, reader: FrameReader = "auto") -> None:
        self.encoder = encoder
        self.media = DecodedMedia(wanted_by(encoder.config, encoder.processor, reader), workers, timeout_s)

    def of(self, clips: Sequence[Clip]) -> list[Features]:
        """Return the features of rows in float32, in their order, each clip encoded once; none for text alone."""
        media = [media_of(clip) for clip in clips]
        decoded = dict(zip(media, self.media.of(clips), strict=True))
        features = {item: self.encoder.encode(value) for item, value in decoded.items()}
        return [features[item] for item in media]

    def expect(self, clips: Sequence[Clip]) -> None:
        """Begin to decode rows that are wanted next."""
        self.media.expect(clips)


class DecodedMedia:
    """Source of media that are decoded on demand, in workers that can be killed."""

    def __init__(self, wanted: Wanted, workers: int, timeout_s: float) -> None:
        self.decoder = partial(decode, wanted=wanted)
        self.sandbox = Sandbox(workers, timeout_s)
        self._ahead: dict[Media, Callable[[], Decoded | MediaError]] = {}

    def expect(self, clips: Sequence[Clip]) -> None:
        """Begin to decode rows that are wanted next, while the caller does other work."""
        media = dict.fromkeys(item for clip in clips if (item := media_of(clip)) is not None)
        self._ahead = {item: self._ahead.get(item) or self.sandbox.schedule(self.decoder, item) for item in media}

    def of(self, clips: Sequence[Clip]) -> list[Decoded]:
        """Return the decoded media of rows, in their order; nothing for text alone.

        Raises:
            InputError: a clip does not decode any more; clips that never did were left out before training.
        """
        media = [media_of(clip) for clip in clips]
        begun = {item: self._ahead.pop(item) for item in {*media} if item in self._ahead}
        rest = dict.fromkeys(item for item in media if item is not None and item not in begun)
        outcomes: dict[Media | None, Decoded | MediaError] = dict(self.sandbox.map(self.decoder, rest))
        outcomes |= {item: outcome() for item, outcome in begun.items()}
        decoded: list[Decoded] = []
        for clip, item in zip(clips, media, strict=True):
            outcome = {} if item is None else outcomes[item]
            if isinstance(outcome, MediaError):
                raise InputError(f"row {clip.id}: {outcome}. Check with: affectgpt data check ROWS")
            decoded.append(outcome)
        return decoded

    def close(self) -> None:
        """Kill the decoding workers."""
        self.sandbox.close()


@dataclass(frozen=True, slots=True)
class Missing:
    """Clips of a data set whose features a store lacks."""

    keys: dict[Media, str]
    """Key of every readable clip, whether its features are stored or not."""
    rows: dict[Media, list[str]]
    """Ids of each clip's rows."""
    media: list[Media]
    """Clips whose features are not stored."""
    unreadable: list[BadSample]
    """Clips with a file that no longer exists."""


def find_missing(
    clips: Iterable[Clip],
    config: AffectGPTConfig,
    processor: AffectGPTProcessor,
    store: FeatureStore,
    share: tuple[int, int] = (0, 1),
) -> Missing:
    """Look up the features of every clip; this needs no tower.

    Args:
        share: (k, n): take only every n-th clip, from the k-th on, so that n processes cover all clips. The share of
            each process does not depend on the progress of the others.
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
            bad.append(
                BadSample(
                    media, f"{gone[0]}: cannot be read. Put the file there, or mend its rights.", tuple(rows[media])
                )
            )
        else:
            keys[media] = media_key(media, hashes, mark)
    return Missing(keys, rows, [media for media, key in keys.items() if key not in store], bad)


def rows_by_media(clips: Iterable[Clip]) -> dict[Media, list[str]]:
    """Collect the ids of the rows about each clip, clips in order of appearance; rows of text alone are left out."""
    rows: dict[Media, list[str]] = {}
    for clip in clips:
        if (media := media_of(clip)) is not None:
            rows.setdefault(media, []).append(clip.id)
    return rows


def media_key(media: Media, hashes: dict[Path, str], mark: str) -> str:
    """Compute the key of a clip's features: hash of its files' contents, its span, and the settings' fingerprint."""
    paths = {name: media.file(name) for name in DECODED}
    files: dict[str, str | bool | None] = {
        name: None if path is None else hashes[path] for name, path in paths.items() if path or name in _ALWAYS_KEYED
    }
    if not media.has_sound:
        files["audio"] = False
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
    """Compute missing features, decoding in workers that can be killed; return the clips that cannot be used.

    Args:
        progress: callback with the number of clips done and their total.
    """
    settings = encoding_settings(encoder.config, encoder.processor)
    mark = fingerprint(settings)
    bad = []
    if missing.media:
        store.describe(mark, settings)
    decoder = partial(decode, wanted=wanted_by(encoder.config, encoder.processor, reader))
    for done, (media, outcome) in enumerate(map_sandboxed(decoder, missing.media, workers, timeout_s), start=1):
        if isinstance(outcome, MediaError):
            bad.append(BadSample(media, str(outcome), tuple(missing.rows[media]), isinstance(outcome, NoSoundError)))
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
    """Compute missing features; return a source that reads the store. Towers are loaded only if some are missing.

    A clip that cannot be decoded has no features and is listed; the caller decides what to do about it.
    """
    missing = find_missing(clips, config, processor, store)
    bad = list(missing.unreadable)
    if missing.media:
        workers = workers or os.cpu_count() or 1
        bad += fill_store(missing, encoder(), store, timeout_s, workers, progress=progress, reader=reader)
    unusable = {sample.media for sample in bad}
    return StoredFeatures(store, {media: key for media, key in missing.keys.items() if media not in unusable}), bad


def require_settings(store: FeatureStore, settings: dict[str, Any]) -> None:
    """Refuse a store that holds features, but none computed with these settings.

    Raises:
        InputError: names every setting in which the most similar features differ.
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
    raise InputError(problems, advice=f"Name the model whose features these are, or add this model's: {build}")


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten settings to dotted names."""
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
    journal: Path | None = None,
) -> list[BadSample]:
    """Decode the media of every clip as training would; return the clips that fail. Signals are left to plugins.

    Args:
        journal: file that remembers the clips that decoded; those are not decoded again while their files stay as they
            are.
    """
    before = DecodedBefore(journal, wanted) if journal is not None else None
    rows = rows_by_media(clips)
    rows = {media: ids for media, ids in rows.items() if before is None or media not in before}
    bad = []
    outcomes = map_sandboxed(partial(decode, wanted=wanted), rows, workers, timeout_s)
    for done, (media, outcome) in enumerate(outcomes, start=1):
        if isinstance(outcome, MediaError):
            bad.append(BadSample(media, str(outcome), tuple(rows[media]), isinstance(outcome, NoSoundError)))
        elif before is not None:
            before.add([media])
        if progress:
            progress(done, len(rows))
    return bad
