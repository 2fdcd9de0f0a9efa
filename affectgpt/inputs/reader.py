"""Rows as a model reads them: prompt ids and the other inputs of the model; the same in training, rollout and
prediction.

Shapes: L tokens, T features over time, D their width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.prompting import prompt_of
from affectgpt.features.sources import FeatureSource, ReadsAhead, media_of
from affectgpt.model.processing import AffectGPTProcessor, Tokenised
from affectgpt.problems import InputError

PICTURES = ("face", "frame")


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """Encoded row, ready for a batch."""

    id: str
    prompt_ids: list[int]
    target_ids: list[int]
    inputs: dict[str, Tensor] = field(default_factory=dict)
    """Inputs of the model besides ids. A batch concatenates them along the first dimension (clips, patches, ...) in the
    order of the rows; inputs that a row lacks are absent."""
    per_token: dict[str, list[int]] = field(default_factory=dict)
    """Inputs of the model for every prompt token, such as its type; 0 for the tokens that follow."""

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.target_ids)


class Reader(Protocol):
    """Protocol that turns rows of data into rows for a model: all that training knows of a model's inputs."""

    processor: Any
    tokenizer: Any
    stop_strings: list[str]
    """Strings that end an answer, besides the end token."""
    cues: Cues
    """Limits on the evidence that a prompt shows."""

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Estimate the number of tokens of each row, without reading its media."""

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]] | None = None) -> list[EncodedRow]:
        """Encode rows, media included.

        Args:
            hidden: for each row, which of 'video', 'audio' and 'text' to hide from the model.
        """


def read_ahead(reader: Reader, clips: Sequence[Clip]) -> None:
    """Let a reader begin with the media of rows that are wanted next, if its source can do so."""
    source = getattr(reader, "source", None)
    if isinstance(source, ReadsAhead):
        source.expect(clips)


class ClipReader:
    """Reader of rows for AffectGPT: ids with placeholders, and the features that replace them.

    Args:
        processor: the model's processor.
        source: source of the features.
        inputs: which of 'video', 'audio' and 'text' the model gets of a clip; by default those that it was trained to
            take.
        cues: limits on the evidence that a prompt shows.
        given: the streams of every row; by default those that its files can give and `inputs` allows.
    """

    def __init__(
        self,
        processor: AffectGPTProcessor,
        source: FeatureSource,
        inputs: Sequence[str] | None = None,
        cues: Cues = Cues(),  # noqa: B008 (frozen)
        given: Collection[str] | None = None,
    ) -> None:
        self.processor, self.source, self.inputs = processor, source, tuple(inputs or processor.inputs)
        self.cues, self.given = cues, given
        self.tokenizer = processor.tokenizer
        self.stop_strings = processor.stop_strings

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Count the tokens of each row."""
        rows = [self.tokenise(clip) for clip in clips]
        return [len(row.prompt_ids) + len(row.target_ids) for row in rows]

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]] | None = None) -> list[EncodedRow]:
        """Encode rows with their features; `hidden` names what of 'video', 'audio', 'text' to hide from each row.

        Raises:
            InputError: a row's features do not match the placeholders of its prompt; names it.
        """
        rows = []
        for clip, features, hide in zip(clips, self.source.of(clips), hidden or [()] * len(clips), strict=True):
            streams = self.streams(clip, hide)
            names = [f"{stream}_features" for stream in streams]
            if lacking := [name for name in names if name not in features]:
                raise InputError(
                    f"row {clip.id}: its prompt has placeholders of {', '.join(streams)}, but no {lacking[0]} were "
                    "found. Build the features again with: affectgpt features build ROWS --model DIR --store DIR"
                )
            ids = self.tokenise(clip, hide)
            inputs = {name: features[name][None] for name in names}
            rows.append(EncodedRow(clip.id, ids.prompt_ids, ids.target_ids, inputs))
        return rows

    def streams(self, clip: Clip, hide: Collection[str] = ()) -> tuple[str, ...]:
        """Return the streams of a row that the model gets."""
        if self.given is not None:
            return tuple(name for name in self.processor.num_tokens if name in self.given)
        media = media_of(clip)
        if media is None:
            return ()
        serves = {"video": PICTURES, "audio": ("audio",), "text": ()}
        allowed = [stream for name in self.inputs if name not in hide for stream in serves[name]]
        return tuple(name for name in self.processor.num_tokens if name in allowed and media.has(name))

    def tokenise(self, clip: Clip, hide: Collection[str] = ()) -> Tokenised:
        """Tokenise a row, with placeholders for its streams."""
        subtitle = clip.subtitle if "text" in self.inputs and "text" not in hide else None
        turns = prompt_of(clip, self.cues)
        return self.processor.tokenise(turns, clip.target, self.streams(clip, hide), subtitle)
