"""A model that answers the rows of a file; their media are decoded, encoded and read a few batches at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip
from affectgpt.evidence.prompting import Cues
from affectgpt.features.sources import BadSample, StoredFeatures, build_features, media_of
from affectgpt.features.store import FeatureStore
from affectgpt.inference.assistant import Assistant
from affectgpt.inference.media_inputs import decode_seen_or_heard, lacks_sound, name_silent
from affectgpt.inputs.open import open_reader, require_readable
from affectgpt.inputs.reader import Reader
from affectgpt.media.bundle import Media
from affectgpt.media.decode import MediaError
from affectgpt.media.sandbox import Sandbox
from affectgpt.problems import InputError

_BATCHES_AT_ONCE = 8
"""Batches whose rows are opened together, to be sorted by length; one for a model that takes media, which are large."""


@dataclass(frozen=True, slots=True)
class OpenedRows:
    """Rows whose media were opened."""

    clips: Sequence[Clip]
    """All rows that were asked for; one whose video turned out to have no sound track says so."""
    reader: Reader
    bad: dict[str, str]
    """Reason why a row's clip cannot be used, by the id of the row."""

    @property
    def usable(self) -> list[Clip]:
        """The rows whose clips can be used."""
        return [clip for clip in self.clips if clip.id not in self.bad]


class RowAssistant:
    """Loaded model with the settings for opening rows.

    Args:
        assistant: the model.
        timeout_s: most seconds to decode one clip.
        workers: number of decoding processes.
        cues: limits on the evidence that a prompt shows.
    """

    def __init__(
        self,
        assistant: Assistant,
        timeout_s: float = 20.0,
        workers: int = 2,
        cues: Cues = Cues(),  # noqa: B008 (frozen)
    ) -> None:
        self.assistant, self.timeout_s, self.workers, self.cues = assistant, timeout_s, workers, cues

    @cached_property
    def _sandbox(self) -> Sandbox:
        """Worker processes that decode media."""
        return Sandbox(self.workers, self.timeout_s)

    def close(self) -> None:
        """Kill the decoding workers."""
        if "_sandbox" in vars(self):
            self._sandbox.close()

    def open(self, clips: Sequence[Clip]) -> OpenedRows:
        """Decode and encode the media of rows and keep the result in memory.

        Raises:
            InputError: rows with media for a model that reads text alone; names every one.
        """
        require_readable(self.assistant.processor, clips)
        media = dict.fromkeys(item for clip in clips if (item := media_of(clip)) is not None)
        encoded: dict[Media | None, Any] = {None: {}}
        reasons: dict[Media | None, str] = {}
        silent: set[Media] = set()
        wanted = self.assistant.wanted
        for item, outcome in self._sandbox.map(partial(decode_seen_or_heard, wanted=wanted), media) if media else ():
            if isinstance(outcome, MediaError):
                reasons[item] = str(outcome)
            else:
                if lacks_sound(item, wanted, outcome):
                    name_silent(item)
                    silent.add(item)
                    item = replace(item, has_sound=False)
                encoded[item] = self.assistant.encode_decoded(outcome)
        bad = {clip.id: reasons[item] for clip in clips if (item := media_of(clip)) in reasons}
        return OpenedRows(_muted(clips, silent), self._reader(_InMemory(encoded)), bad)

    def open_stored(
        self, clips: Sequence[Clip], store: Path, progress: Callable[[int, int], None] | None = None
    ) -> OpenedRows:
        """Open rows with features from the store in a folder; missing ones are computed first.

        Raises:
            InputError: the model takes no features.
        """
        if self.assistant.takes != "features":
            raise InputError("--store: this model has no features to store. Leave the option out.")
        assistant = self.assistant
        config: Any = assistant.model.config

        def build(rows: Sequence[Clip]) -> tuple[StoredFeatures, list[BadSample]]:
            settings = (config, assistant.processor, FeatureStore(store), lambda: assistant.encoder)
            return build_features(rows, *settings, self.timeout_s, self.workers, progress)

        source, bad = build(clips)
        mute = {sample.media: replace(sample.media, has_sound=False) for sample in bad if sample.no_sound}
        silent = {media for media, rest in mute.items() if any(rest.has(stream) for stream in config.streams)}
        if silent:  # of these the pictures count, as those of rows that declare it
            name_silent(next(sample.media for sample in bad if sample.media in silent))
            bad = [sample for sample in bad if sample.media not in silent]
            lost = {sample.media for sample in bad}
            clips = _muted(clips, silent)
            source, more = build([clip for clip in clips if media_of(clip) not in lost])
            bad += more
        return OpenedRows(clips, self._reader(source), {row: sample.reason for sample in bad for row in sample.rows})

    def open_in_parts(
        self,
        clips: Sequence[Clip],
        batch_size: int,
        store: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[OpenedRows]:
        """Open rows in their order, a few batches at a time; from a store, if one is given.

        Args:
            progress: callback for filling the store.

        Raises:
            InputError: see `open` and `open_stored`; raised before anything is opened.
        """
        require_readable(self.assistant.processor, clips)
        stored = None if store is None else self.open_stored(clips, store, progress)
        size = batch_size * (1 if self.assistant.takes == "media" else _BATCHES_AT_ONCE)
        for start in range(0, len(clips), size):
            part = clips[start : start + size]
            if stored is None:
                yield self.open(part)
            else:
                yield OpenedRows(stored.clips[start : start + size], stored.reader, stored.bad)

    def _reader(self, source: Any) -> Reader:
        return open_reader(self.assistant.processor, source, cues=self.cues)


def _muted(clips: Sequence[Clip], silent: Collection[Media]) -> list[Clip]:
    """Return rows, those about clips without a sound track as rows that declare it."""
    return [replace(clip, has_sound=False) if media_of(clip) in silent else clip for clip in clips]


@dataclass(frozen=True, slots=True)
class _InMemory:
    """Source of features, or decoded media, of a few rows in memory."""

    encoded: dict[Media | None, Any]

    def of(self, clips: Sequence[Clip]) -> list[Any]:
        return [self.encoded[media_of(clip)] for clip in clips]
