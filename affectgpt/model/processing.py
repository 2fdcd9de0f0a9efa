"""From clips to tensors: chat prompts with placeholders, pictures and spectrograms, batches.

Shapes: B rows, L tokens, F frames, W audio windows, M mel bands, T spectrogram frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import ProcessorMixin

PLACEHOLDERS = {"multi": "<|multi|>", "audio": "<|audio|>", "video": "<|video|>"}
"""In the order in which they stand before the text, as in AffectGPT's prompt."""


@dataclass(frozen=True, slots=True)
class Tokenised:
    """One row as ids: the prompt, and what is to be said, its end token included."""

    prompt_ids: list[int]
    target_ids: list[int]


class AffectGPTProcessor(ProcessorMixin):
    """Joins a tokenizer, an image processor and an audio feature extractor.

    Args:
        num_tokens: soft tokens of 'multi', 'audio' and 'video' per clip; 0 or absent where there are none.
        num_frames: pictures per clip.
    """

    def __init__(
        self,
        image_processor: Any = None,
        feature_extractor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        num_tokens: dict[str, int] | None = None,
        num_frames: int = 8,
        **kwargs: Any,
    ) -> None:
        self.num_tokens = num_tokens or {}
        self.num_frames = num_frames
        super().__init__(image_processor, feature_extractor, tokenizer, chat_template=chat_template)

    def placeholders(self, video: bool, audio: bool) -> str:
        """What stands in a prompt for a clip that has those modalities; 'multi' needs both."""
        has = {"video": video, "audio": audio, "multi": video and audio}
        return "".join(mark * self.num_tokens.get(name, 0) for name, mark in PLACEHOLDERS.items() if has[name])

    def render(self, prompt: Sequence[dict[str, str]], video: bool, audio: bool) -> str:
        """A conversation as the language model reads it, ready for its answer; media stand in the first user turn."""
        turns = [{"role": turn["role"], "content": _defuse(turn["content"])} for turn in prompt]
        for turn in turns:
            if turn["role"] == "user":
                turn["content"] = self.placeholders(video, audio) + turn["content"]
                break
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))

    def tokenise(
        self, prompt: Sequence[dict[str, str]], target: str = "", video: bool = False, audio: bool = False
    ) -> Tokenised:
        """Ids of a prompt and of its target; the target is tokenised by itself, as generation will produce it."""
        prompt_ids = self.tokenizer(self.render(prompt, video, audio), add_special_tokens=False)["input_ids"]
        target_ids = self.tokenizer(_defuse(target), add_special_tokens=False)["input_ids"] if target else []
        return Tokenised(prompt_ids, [*target_ids, self.tokenizer.eos_token_id])

    def pictures(self, frames: np.ndarray) -> Tensor:
        """(F, H, W, 3) uint8 pictures to what the vision tower takes, (F, 3, h, w)."""
        return torch.as_tensor(self.image_processor(list(frames), return_tensors="pt")["pixel_values"])

    def spectrogram(self, wave: np.ndarray) -> tuple[Tensor, int]:
        """(samples,) float32 sound to (W, M, T) windows that follow each other, and the number of frames of sound."""
        extractor = self.feature_extractor
        size = extractor.n_samples
        windows = [wave[start : start + size] for start in range(0, len(wave), size)]
        mel = extractor(windows, sampling_rate=extractor.sampling_rate, return_tensors="pt")["input_features"]
        return mel, max(1, len(wave) // extractor.hop_length)

    def pad(self, rows: Sequence[Sequence[int]], side: str) -> dict[str, Tensor]:
        """Unequal rows of ids to 'input_ids' and 'attention_mask', (B, L), padded on the 'left' or the 'right'."""
        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for index, row in enumerate(rows):
            place = slice(width - len(row), width) if side == "left" else slice(0, len(row))
            ids[index, place] = torch.tensor(row)
            mask[index, place] = 1
        return {"input_ids": ids, "attention_mask": mask}

    @property
    def model_input_names(self) -> list[str]:
        """What a model forward takes from here."""
        return ["input_ids", "attention_mask", "video_features", "audio_features"]


def _defuse(text: str) -> str:
    """Text in which no special token can be spelt out: a subtitle must not end a turn."""
    return text.replace("<|", "< |")
