"""From clips to tensors: prompts with placeholders, pictures, batches.

Shapes: B rows, L tokens, N clips that have a stream, F pictures, T features over time, D their width.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoImageProcessor, ProcessorMixin

from affectgpt.model.configuration import STREAMS
from affectgpt.problems import InputError
from affectgpt.prompt_safety import defuse, special_tokens
from affectgpt.prompts import PAPER, with_subtitle

PLACEHOLDERS = {"multi": "<|multi|>", "audio": "<|audio|>", "face": "<|face|>", "frame": "<|frame|>"}
"""In the order in which they stand before the text, as in AffectGPT's prompt."""

MODALITIES = ("video", "audio", "text")
"""What a clip can be given as."""
Turn = dict[str, str]
_TAG = re.compile(r"</?\w+>")


@dataclass(frozen=True, slots=True)
class Tokenised:
    """One row as ids: the prompt, and what is to be said, its end token included."""

    prompt_ids: list[int]
    target_ids: list[int]


class AffectGPTProcessor(ProcessorMixin):
    """Joins a tokenizer, an image processor and an audio feature extractor.

    Args:
        num_tokens: soft tokens per clip of every stream that the model has, and of 'multi' where it pre-fuses.
        prompt_style: 'chat' renders the tokenizer's own template, 'paper' AffectGPT's plain prompt.
        inputs: which of 'video', 'audio' and 'text' the model was trained to take of a clip.
        wording: the fields of the plain prompt (`affectgpt.prompts.PAPER`) in other words.
    """

    def __init__(
        self,
        image_processor: Any = None,
        feature_extractor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        num_tokens: dict[str, int] | None = None,
        prompt_style: Literal["chat", "paper"] = "chat",
        inputs: Sequence[str] = MODALITIES,
        wording: dict[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.num_tokens = num_tokens or {}
        self.prompt_style = prompt_style
        self.inputs = list(inputs)
        self.wording = PAPER | (wording or {})
        super().__init__(image_processor, feature_extractor, tokenizer, chat_template=chat_template)

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """A model without a tower has no preprocessing for it."""
        return None if argument is None else super().check_argument_for_proper_class(argument_name, argument)

    @classmethod
    def _get_arguments_from_pretrained(  # type: ignore[override]
        cls, source: Any, processor_dict: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        saved, kwargs = processor_dict or {}, {**kwargs, "trust_remote_code": False}
        image = AutoImageProcessor.from_pretrained(source, **kwargs) if saved.get("image_processor") else None
        sound = AutoFeatureExtractor.from_pretrained(source, **kwargs) if saved.get("feature_extractor") else None
        return [image, sound, cls._load_tokenizer_from_pretrained("tokenizer", source, **kwargs)]

    def save_pretrained(self, save_directory: Any, push_to_hub: bool = False, **kwargs: Any) -> list[str]:
        """Save what there is; transformers would ask a part that is absent for its class."""
        parts = [name for name in type(self).get_attributes() if getattr(self, name) is not None]
        self.get_attributes = lambda: parts  # type: ignore[method-assign]
        try:
            return super().save_pretrained(save_directory, push_to_hub, **kwargs)
        finally:
            del self.get_attributes

    @property
    def stop_strings(self) -> list[str]:
        """What ends an answer besides the end token."""
        return [self.wording["stop"]] if self.prompt_style == "paper" else []

    def marks(self, streams: Collection[str]) -> dict[str, str]:
        """The placeholders of a clip that has those streams, by name, in their order; 'multi' needs both that it fuses.

        Names without a placeholder are left out.
        """
        pictures = next((stream for stream in STREAMS if stream != "audio" and stream in self.num_tokens), None)
        has = set(streams) | ({"multi"} if {"audio", pictures} <= set(streams) else set())
        return {
            name: mark * self.num_tokens[name]
            for name, mark in PLACEHOLDERS.items()
            if name in has and name in self.num_tokens
        }

    def render(self, prompt: Sequence[Turn], streams: Collection[str] = (), subtitle: str | None = None) -> str:
        """A conversation as the language model reads it, ready for its answer; media stand in the first user turn.

        Raises:
            InputError: prompt style 'chat' for a tokenizer without a chat template.
        """
        turns = [{"role": turn["role"], "content": self.defuse(turn["content"])} for turn in prompt]
        subtitle = self.defuse(subtitle) if subtitle else None
        marks = self.marks(streams)
        if self.prompt_style == "paper":
            return self._render_plain(turns, marks, subtitle)
        for turn in turns:
            if turn["role"] == "user":
                turn["content"] = "".join(marks.values()) + with_subtitle(turn["content"], subtitle)
                break
        return self._render_chat(turns)

    def _render_chat(self, turns: list[Turn]) -> str:
        if not (self.chat_template or self.tokenizer.chat_template):
            raise InputError(
                f"{self.tokenizer.name_or_path or 'the tokenizer'}: expected a chat template, there is none. "
                "Set model.prompt_style to paper, which needs none, or take an instruction-tuned language model."
            )
        return render_chat(self.tokenizer, turns)

    def _render_plain(self, turns: list[Turn], marks: dict[str, str], subtitle: str | None) -> str:
        words = self.wording
        fields = [words[name].replace(f"{{{name}}}", mark) for name, mark in marks.items()]
        fields += [words["subtitle"].replace("{subtitle}", subtitle)] if subtitle else []
        lead = "".join([*fields, words["request"] if fields else ""])
        text = ""
        for turn in turns:
            if turn["role"] == "system":
                lead = f"{turn['content']} {lead}"
            elif turn["role"] == "assistant":
                text += turn["content"] + words["stop"]
            else:
                text += words["human"] + lead + turn["content"] + words["assistant"]
                lead = ""
        return text

    def tokenise(
        self,
        prompt: Sequence[Turn],
        target: str = "",
        streams: Collection[str] = (),
        subtitle: str | None = None,
    ) -> Tokenised:
        """Ids of a prompt and of its target; the target is tokenised by itself, as generation will produce it."""
        rendered = self.render(prompt, streams, subtitle)
        prompt_ids = self.tokenizer(rendered, add_special_tokens=False)["input_ids"]
        said = self.defuse(target) + self.wording["stop"] * bool(target and self.stop_strings) if target else ""
        target_ids = self.tokenizer(said, add_special_tokens=False)["input_ids"] if said else []
        return Tokenised(prompt_ids, [*target_ids, self.tokenizer.eos_token_id])

    def pictures(self, frames: np.ndarray) -> dict[str, Tensor]:
        """(F, H, W, 3) uint8 pictures to what the vision tower takes of them."""
        inputs = self.image_processor(list(frames), return_tensors="pt")
        return {name: torch.as_tensor(value) for name, value in inputs.items()}

    @property
    def model_input_names(self) -> list[str]:
        """What a model forward takes from here."""
        return ["input_ids", "attention_mask", *(f"{stream}_features" for stream in STREAMS)]

    @cached_property
    def _special(self) -> re.Pattern[str]:
        tags = _TAG.findall(" ".join(self.wording.values())) if self.prompt_style == "paper" else []
        return special_tokens(self.tokenizer, *self.stop_strings, *tags)

    def defuse(self, text: str) -> str:
        """Text in which nothing is spelt out that has a meaning: a subtitle must not end a turn, nor its own field."""
        return defuse(text, self._special)


def render_chat(tokenizer: Any, turns: Sequence[Turn], **settings: Any) -> str:
    """Render turns by a tokenizer's chat template, ready for the answer.

    Args:
        settings: variables of the template.
    """
    settings |= {"tokenize": False, "add_generation_prompt": True}
    try:
        return str(tokenizer.apply_chat_template(turns, **settings))
    except TemplateError:
        # Some templates (Gemma's) know no system turn: what it says goes before the user's first words.
        if turns[0]["role"] != "system" or len(turns) < 2:
            raise
        system, user, *rest = turns
        merged = {"role": "user", "content": f"{system['content']}\n\n{user['content']}"}
        return str(tokenizer.apply_chat_template([merged, *rest], **settings))
