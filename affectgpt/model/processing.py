"""From clips to tensors: prompts with placeholders, images, batches.

Shapes: B rows, L tokens, N clips that have a stream, F images, T features over time, D their width.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoImageProcessor, ProcessorMixin

from affectgpt.model.configuration import STREAMS
from affectgpt.problems import InputError, Problem, shorten
from affectgpt.prompt_safety import defuse, special_tokens
from affectgpt.prompts import PAPER, with_subtitle

PLACEHOLDERS = {"multi": "<|multi|>", "audio": "<|audio|>", "face": "<|face|>", "frame": "<|frame|>"}
"""Placeholders in the order in which they precede the text, as in AffectGPT's prompt."""

MODALITIES = ("video", "audio", "text")
"""Modalities in which a clip can be presented."""
Turn = dict[str, str]
_TAG = re.compile(r"</?\w+>")


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Token ids of one row: the prompt, and the target with its end token."""

    prompt_ids: list[int]
    target_ids: list[int]


class AffectGPTProcessor(ProcessorMixin):
    """Processor that joins a tokenizer, an image processor and an audio feature extractor.

    Args:
        num_tokens: soft tokens per clip for every stream of the model, and for 'multi' if it pre-fuses.
        prompt_style: 'chat' renders the tokenizer's own template, 'paper' AffectGPT's plain prompt.
        inputs: modalities of a clip that the model was trained on: 'video', 'audio', 'text'.
        wording: fields of the plain prompt that differ from `affectgpt.prompts.PAPER`.
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
        """Accept None for a part: a model without a tower has no preprocessing for it."""
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
        """Save the parts that exist; transformers would ask an absent part for its class."""
        parts = [name for name in type(self).get_attributes() if getattr(self, name) is not None]
        self.get_attributes = lambda: parts  # type: ignore[method-assign]
        try:
            return super().save_pretrained(save_directory, push_to_hub, **kwargs)
        finally:
            del self.get_attributes

    @property
    def stop_strings(self) -> list[str]:
        """Strings that end an answer, besides the end token."""
        return [self.wording["stop"]] if self.prompt_style == "paper" else []

    def marks(self, streams: Collection[str]) -> dict[str, str]:
        """Return the placeholders of a clip with those streams, by name and in order; 'multi' needs both it fuses.

        Streams without a placeholder are left out.
        """
        images = next((stream for stream in STREAMS if stream != "audio" and stream in self.num_tokens), None)
        has = set(streams) | ({"multi"} if {"audio", images} <= set(streams) else set())
        return {
            name: placeholder * self.num_tokens[name]
            for name, placeholder in PLACEHOLDERS.items()
            if name in has and name in self.num_tokens
        }

    def render(self, prompt: Sequence[Turn], streams: Collection[str] = (), subtitle: str | None = None) -> str:
        """Render a conversation up to the answer, as the language model reads it; media go into the first user turn.

        Raises:
            InputError: prompt style 'chat' for a tokenizer without a chat template.
        """
        turns = [{"role": turn["role"], "content": self.defuse(turn["content"])} for turn in prompt]
        subtitle = self.defuse(subtitle) if subtitle else None
        placeholders = self.marks(streams)
        if self.prompt_style == "paper":
            return self._render_plain(turns, placeholders, subtitle)
        for turn in turns:
            if turn["role"] == "user":
                turn["content"] = "".join(placeholders.values()) + with_subtitle(turn["content"], subtitle)
                break
        return self._render_chat(turns)

    def _render_chat(self, turns: list[Turn]) -> str:
        if not (self.chat_template or self.tokenizer.chat_template):
            raise InputError(
                f"{self.tokenizer.name_or_path or 'the tokenizer'}: expected a chat template, found none. "
                "Set model.prompt_style to paper, which needs none, or use an instruction-tuned language model."
            )
        return render_chat(self.tokenizer, turns)

    def _render_plain(self, turns: list[Turn], placeholders: dict[str, str], subtitle: str | None) -> str:
        words = self.wording
        fields = [words[name].replace(f"{{{name}}}", placeholder) for name, placeholder in placeholders.items()]
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
        """Tokenise a prompt and, separately, its target, as generation will produce it."""
        rendered = self.render(prompt, streams, subtitle)
        prompt_ids = self.tokenizer(rendered, add_special_tokens=False)["input_ids"]
        answer = self.defuse(target) + self.wording["stop"] * bool(target and self.stop_strings) if target else ""
        target_ids = self.tokenizer(answer, add_special_tokens=False)["input_ids"] if answer else []
        return Tokenised(prompt_ids, [*target_ids, self.tokenizer.eos_token_id])

    def pictures(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Convert (F, H, W, 3) uint8 images to the inputs of the vision tower."""
        inputs = self.image_processor(list(frames), return_tensors="pt")
        return {name: torch.as_tensor(value) for name, value in inputs.items()}

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that a model's forward takes from this processor."""
        return ["input_ids", "attention_mask", *(f"{stream}_features" for stream in STREAMS)]

    @cached_property
    def _special(self) -> re.Pattern[str]:
        tags = _TAG.findall(" ".join(self.wording.values())) if self.prompt_style == "paper" else []
        return special_tokens(self.tokenizer, *self.stop_strings, *tags)

    def defuse(self, text: str) -> str:
        """Break up special tokens and markers that a text spells out: a subtitle must not end a turn or its field."""
        return defuse(text, self._special)


def render_chat(tokenizer: Any, turns: Sequence[Turn], **settings: Any) -> str:
    """Render turns by a tokenizer's chat template, ready for the answer.

    Args:
        settings: variables of the template.

    Raises:
        InputError: the template is broken, or refuses the conversation.
    """
    settings |= {"tokenize": False, "add_generation_prompt": True}
    try:
        return str(tokenizer.apply_chat_template(turns, **settings))
    except TemplateError as error:
        refused = error
    # Some templates (Gemma's) know no system turn: what it says goes before the user's first words.
    if turns[0]["role"] == "system" and len(turns) > 1:
        system, first, *rest = turns
        opened = [{"role": "user", "content": system["content"]}, first, *rest]
        if first["role"] == "user":
            opened = [{"role": "user", "content": f"{system['content']}\n\n{first['content']}"}, *rest]
        with suppress(TemplateError):
            return str(tokenizer.apply_chat_template(opened, **settings))
    fix = "Take another template for the model's tokenizer, or none (a plain transcript)."
    expected = "one that renders the conversation"
    name, got = str(getattr(tokenizer, "name_or_path", "")) or "the model", shorten(str(refused), 200)
    raise InputError(Problem(name, "its chat template", expected, got, fix)) from refused
