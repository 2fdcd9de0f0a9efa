"""Inputs of each kind of model: the only file that tells models apart.

| model | input | reader of its rows |
|---|---|---|
| AffectGPT | `features` of frozen towers | `ClipReader` |
| video-language model of the Hub | decoded `media` | `VlmReader` |
| language model of the Hub | `words` | `TextReader` |
| language model behind a URL | `words` | `MessageReader` |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from affectgpt.clip import Clip
from affectgpt.evidence.prompting import Cues
from affectgpt.features.sources import DecodedMedia, FeatureSource, wanted_by
from affectgpt.inputs.message_reader import MessageReader, MessageRow
from affectgpt.inputs.reader import ClipReader, EncodedRow, Reader
from affectgpt.inputs.text_reader import TextReader, require_words
from affectgpt.inputs.vlm_reader import VlmReader, wanted_by_vlm
from affectgpt.llm.endpoint import ChatEndpoint
from affectgpt.media.bundle import Wanted
from affectgpt.media.readers import FrameReader
from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.processing import MODALITIES, AffectGPTProcessor
from affectgpt.problems import InputError, Problem
from affectgpt.prompt_safety import defuse, special_tokens

_RUN = re.compile(r"(<[^<>\s]{1,60}>)\1+")
"""The same placeholder several times."""
Takes = Literal["features", "media", "words"]
Encoded = Mapping[str, Tensor | np.ndarray]
"""Model input of a clip: features of AffectGPT's towers, (T, D) each; decoded media for a model of the Hub."""
_NUM_FRAMES = 8
"""Number of frames for a model of the Hub whose processor does not specify one."""


def takes(processor: Any) -> Takes:
    """Return the kind of input that a model takes besides the conversation.

    Args:
        processor: the model's processor, as `affectgpt.model.loading.load_processor` returns it; the client of a model
            behind a URL.

    Raises:
        InputError: a processor of an unknown kind.
    """
    if isinstance(processor, AffectGPTProcessor):
        return "features"
    if isinstance(processor, PreTrainedTokenizerBase | ChatEndpoint):
        return "words"
    if getattr(processor, "video_processor", None) is not None:
        return "media"
    expected = "a model of AffectGPT, one with a processor of videos, or a language model"
    raise InputError(Problem("the model", "its processor", expected, type(processor).__name__))


def open_reader(
    processor: Any,
    source: FeatureSource | DecodedMedia | Encoded | None,
    inputs: Sequence[str] | None = None,
    cues: Cues = Cues(),  # noqa: B008 (frozen)
    max_pixels: int | None = None,
) -> Reader:
    """Make the reader of rows for a model.

    Args:
        processor: the model's processor.
        source: source of features for a model that takes them, of decoded media for one of the Hub; None for words
            alone. Or one encoded clip, which every row is then about.
        inputs: which of 'video', 'audio' and 'text' the model gets of a clip; by default those that it was trained to
            take, or all.
        cues: limits on the evidence that a prompt shows.
        max_pixels: most pixels of a frame, for a model of the Hub.

    Raises:
        InputError: a processor of an unknown kind.
    """
    kind = takes(processor)
    if isinstance(processor, ChatEndpoint):
        return MessageReader(processor, inputs or MODALITIES, cues)
    if kind == "words":
        return TextReader(processor, inputs or MODALITIES, cues)
    at_hand = source if isinstance(source, Mapping) else None
    given: Any = source if at_hand is None else _AtHand(at_hand)
    if kind == "media":
        return VlmReader(processor, given, inputs or MODALITIES, max_pixels, cues)
    streams = None if at_hand is None else [name.removesuffix("_features") for name in at_hand]
    return ClipReader(processor, given, inputs, cues, streams)


def begin_answer(reader: Reader, row: EncodedRow, text: str) -> EncodedRow:
    """Return a row whose answer begins with a text, which the model continues."""
    if isinstance(row, MessageRow):
        return row.begin(text)
    plain = defuse(text, special_tokens(reader.tokenizer))
    ids: list[int] = reader.tokenizer(plain, add_special_tokens=False)["input_ids"]
    return replace(row, prompt_ids=[*row.prompt_ids, *ids])


def shown_prompt(reader: Reader, row: EncodedRow) -> str:
    """Return a row's prompt for people: the text that the model reads, with each run of placeholders counted."""
    if isinstance(row, MessageRow):
        return row.transcript
    text = str(reader.tokenizer.decode(row.prompt_ids, skip_special_tokens=False))
    return _RUN.sub(lambda run: f"{run[1]} x {len(run[0]) // len(run[1])}", text)


class _AtHand:
    """Source of one clip that every row is about."""

    def __init__(self, encoded: Encoded) -> None:
        self.encoded = encoded

    def of(self, clips: Sequence[Clip]) -> list[Any]:
        return [self.encoded] * len(clips)


def wanted_of(
    processor: Any,
    config: Any,
    num_frames: int | None = None,
    fps: float | None = None,
    reader: FrameReader = "auto",
) -> Wanted:
    """Return what a model needs decoded of every clip; nothing for words alone.

    Args:
        config: the model's configuration, used if it takes features.
        num_frames, fps: sampling for a model of the Hub; by default the values saved in its processor.
        reader: library that fetches frames.
    """
    kind = takes(processor)
    if kind == "words":
        return Wanted((), reader=reader)
    if kind == "features":
        return wanted_by(config, processor, reader)
    sampling = processor.video_processor
    if num_frames is None:
        num_frames, fps = getattr(sampling, "num_frames", None) or _NUM_FRAMES, getattr(sampling, "fps", None)
    return wanted_by_vlm(processor, num_frames, fps, reader)


def open_encoder(processor: Any, folder: str | Path, device: Any = "cpu") -> ClipEncoder | None:
    """Load the frozen towers that a model's folder holds or names; None for a model that takes no features."""
    return ClipEncoder.from_pretrained(folder, device) if takes(processor) == "features" else None


def remember_inputs(processor: Any, inputs: Sequence[str], num_frames: int, fps: float | None) -> None:
    """Record in a processor, if it has fields for that, how clips are given to its model; they are saved with it."""
    kind = takes(processor)
    if kind == "features":
        processor.inputs = list(inputs)
    elif kind == "media":
        processor.video_processor.num_frames, processor.video_processor.fps = num_frames, fps


def require_readable(processor: Any, clips: Sequence[Clip]) -> None:
    """Refuse rows with media if the model reads text alone.

    Raises:
        InputError: names every such row.
    """
    if takes(processor) == "words":
        require_words(clips)
