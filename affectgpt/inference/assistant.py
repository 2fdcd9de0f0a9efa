"""A model that answers questions about a clip; it reads a question exactly as training reads a row.

Shapes: F pictures, H and W pixels, T features over time, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.generation.streamers import BaseStreamer

from affectgpt.clip import Clip
from affectgpt.inference.generate import answer
from affectgpt.inference.media_inputs import Given, read_given
from affectgpt.inputs.open import Encoded, open_reader, shown_prompt, takes, wanted_of
from affectgpt.inputs.reader import Reader
from affectgpt.llm.endpoint import ChatEndpoint, open_endpoint
from affectgpt.media.bundle import Decoded, Wanted
from affectgpt.model.clip_encoder import ClipEncoder
from affectgpt.model.loading import Attention, Precision, load_model, load_processor, model_folder
from affectgpt.model.modeling import feature_widths
from affectgpt.model.processing import Turn
from affectgpt.problems import InputError, Problem, shorten


class Assistant:
    """Model with its processor and towers, ready to answer questions; `from_pretrained` makes one.

    Args:
        model: an AffectGPT model, a video-language or language model of the Hub, or the client of one behind a URL.
        processor: the model's processor; the tokenizer of a language model; the client of one behind a URL.
        source: folder or Hub id with the model's towers, which are loaded for the first clip.
        timeout_s: most seconds to decode the media of a question.
    """

    def __init__(
        self, model: PreTrainedModel | ChatEndpoint, processor: Any, source: str | Path, timeout_s: float = 20.0
    ) -> None:
        self.model: Any = model
        self.processor, self.source, self.timeout_s = processor, source, timeout_s
        self.takes = takes(processor)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        device: str = "auto",
        dtype: Precision = "auto",
        attention: Attention = "auto",
    ) -> Assistant:
        """Load a saved model, a LoRA adapter, a folder of parts, or a model of the Hub; or ask one behind a URL.

        Args:
            source: folder or Hub id, a GGUF file, or `http://localhost:8000/v1#name` for a model behind an
                OpenAI-compatible URL, see `affectgpt.llm.endpoint`.
            device: 'auto' is the GPU if there is one.
            dtype, attention: see `affectgpt.model.loading`.

        Raises:
            InputError: there is no such model; names what is missing.
        """
        if (endpoint := open_endpoint(str(source))) is not None:
            return cls(endpoint, endpoint, source)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        model: Any = load_model(source, dtype, attention)
        return cls(model.to(device).eval(), load_processor(source), model_folder(source))

    @cached_property
    def encoder(self) -> ClipEncoder:
        """The frozen towers of an AffectGPT model."""
        return ClipEncoder.from_pretrained(self.source, self.model.device)

    @cached_property
    def wanted(self) -> Wanted:
        """Streams and sampling to decode of a clip; may be replaced for a model of the Hub, which takes any frames."""
        return wanted_of(self.processor, getattr(self.model, "config", None))

    def encode(
        self,
        video: Given | None = None,
        audio: Given | None = None,
        face: Given | None = None,
        sample_rate: int = 16_000,
        image: Given | None = None,
    ) -> Encoded:
        """Encode a clip once for `ask(features=...)`, to ask many questions about it.

        Args:
            video: a file, or (F, H, W, 3) uint8 RGB; an array has no sound of its own.
            audio: a file, or (samples,) float at `sample_rate`; by default the sound of the video file.
            face: an .npy file of face crops, or the crops (F, H, W, 3) uint8 RGB; by default faces are detected in
                the video.
            image: a still picture instead of a video: a file, or (H, W, 3) uint8 RGB.

        Raises:
            InputError: a medium that the model does not take, or that cannot be used.
        """
        given = {"video": video, "audio": audio, "face": face, "image": image}
        media = {name: value for name, value in given.items() if value is not None}
        decoded = read_given(self.wanted, media, sample_rate, self.timeout_s) if media else {}
        return self.encode_decoded(decoded) if decoded else decoded

    def encode_decoded(self, decoded: Decoded) -> Encoded:
        """Return the model's input for decoded media: their features, or the media themselves."""
        return self.encoder.encode(decoded) if self.takes == "features" else decoded

    def ask(
        self,
        question: str,
        *,
        video: Given | None = None,
        audio: Given | None = None,
        face: Given | None = None,
        image: Given | None = None,
        sample_rate: int = 16_000,
        subtitle: str | None = None,
        features: Encoded | None = None,
        history: Sequence[Turn] | None = None,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        streamer: BaseStreamer | None = None,
    ) -> str:
        """Answer a question.

        Args:
            video, audio, face, image, sample_rate: the clip, see `encode`; none for a question about text alone.
            subtitle: words said in the clip.
            features: the clip as `encode` or a `ClipEncoder` returns it, instead of its media.
            history: earlier turns, {'role': 'system' | 'user' | 'assistant', 'content': text}; the clip belongs to the
                first turn of the user.
            temperature, top_p, streamer: see `affectgpt.inference.generate.answer`.

        Raises:
            InputError: an input that the model cannot take.
        """
        media = {"video": video, "audio": audio, "face": face, "image": image}
        if features is not None and any(value is not None for value in media.values()):
            raise InputError("features: expected features or media of the clip, got both. Leave one of them out.")
        turns = question_turns(question, history)
        if features is None:
            features = self.encode(video, audio, face, sample_rate, image)
        reader = self.reader(features)
        rows = reader.read([question_row(turns, subtitle)])
        return answer(self.model, reader, rows, max_new_tokens, temperature, top_p, streamer)[0].text

    def prompt(
        self,
        question: str,
        *,
        features: Encoded | None = None,
        subtitle: str | None = None,
        history: Sequence[Turn] | None = None,
    ) -> str:
        """Return the prompt of a question as `ask` gives it to the model, for people to read.

        Raises:
            InputError: see `ask`.
        """
        reader = self.reader(features or {})
        (row,) = reader.read([question_row(question_turns(question, history), subtitle)])
        return shown_prompt(reader, row)

    def reader(self, features: Encoded) -> Reader:
        """Make a reader that reads every row as one about the clip with these features.

        Raises:
            InputError: features of a different model.
        """
        if problems := self._feature_problems(features):
            raise InputError(problems)
        return open_reader(self.processor, features)

    def _feature_problems(self, features: Encoded) -> list[Problem]:
        if self.takes == "media":
            return []
        widths = feature_widths(self.model.config) if self.takes == "features" else {}
        wanted = {f"{stream}_features": (2, width) for stream, width in widths.items()}
        expected = f"{' or '.join(wanted)}: tensors (T, D), D {_widths(widths)}" if wanted else "none: it reads text"
        return [
            Problem("features", name, expected, _shape(value))
            for name, value in features.items()
            if not isinstance(value, Tensor) or (value.ndim, value.shape[-1]) != wanted.get(name)
        ]


def question_turns(question: str, history: Sequence[Turn] | None) -> list[Turn]:
    """Return the earlier turns and the question.

    Raises:
        InputError: turns that are none, or that say nothing; every one is named.
    """
    turns = [*(history or []), {"role": "user", "content": question}]
    if problems := [_turn_problem(number, turn) for number, turn in enumerate(turns, 1) if not _is_turn(turn)]:
        raise InputError(problems)
    return turns


def question_row(turns: Sequence[Turn], subtitle: str | None) -> Clip:
    """Return turns that await an answer as a row."""
    unanswered = {"role": "assistant", "content": ""}
    return Clip(id="question", messages=[*turns, unanswered], task="text", subtitle=subtitle)


def _is_turn(turn: Any) -> bool:
    right = isinstance(turn, dict) and turn.get("role") in ("system", "user", "assistant")
    return right and isinstance(turn.get("content"), str) and bool(turn["content"].strip())


def _turn_problem(number: int, turn: Any) -> Problem:
    expected = "{'role': system | user | assistant, 'content': words}"
    return Problem("history and question", f"turn {number}", expected, shorten(turn))


def _widths(widths: dict[str, int]) -> str:
    return ", ".join(f"{width} of {stream}" for stream, width in widths.items()) or "of none"


def _shape(value: Any) -> str:
    return f"{tuple(value.shape)} {type(value).__name__}" if hasattr(value, "shape") else shorten(value)
