"""Rows of text for a language model without video or audio input (Qwen2.5, Llama, Gemma, SmolLM, ...).

The conversation is rendered by the tokenizer's chat template. Without a template it becomes a plain transcript, which
ends where the answer begins:

    You listen to somebody and answer with empathy.

    User: I lost my keys.
    Assistant:
    ...
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from affectgpt.clip import MEDIA_FIELDS, Clip
from affectgpt.evidence.prompting import Cues, prompt_of
from affectgpt.inputs.reader import EncodedRow
from affectgpt.model.processing import MODALITIES, Turn, render_chat
from affectgpt.problems import InputError, Problem
from affectgpt.prompt_safety import defuse, special_tokens
from affectgpt.prompts import TRANSCRIPT, with_subtitle


class TextReader:
    """Reader of rows for a causal language model that takes text alone.

    Args:
        tokenizer: the model's tokenizer; without a padding token, its end token pads.
        inputs: with 'text' among them, the prompt shows the words said in a clip (`subtitle`).
        cues: limits on the evidence that a prompt shows.
    """

    def __init__(
        self,
        tokenizer: Any,
        inputs: Sequence[str] = MODALITIES,
        cues: Cues = Cues(),  # noqa: B008 (frozen)
    ) -> None:
        self.processor = self.tokenizer = tokenizer
        self.inputs, self.cues = tuple(inputs), cues
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.has_template = bool(tokenizer.chat_template)
        # In a transcript, the marker of the next speaker ends the answer.
        roles = () if self.has_template else (TRANSCRIPT["stop"], TRANSCRIPT["answer"])
        self.stop_strings = [] if self.has_template else [TRANSCRIPT["stop"]]
        self._special = special_tokens(tokenizer, *roles)

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Count the tokens of each row.

        Raises:
            InputError: rows with media; names every one.
        """
        return [len(row) for row in self.read(clips)]

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]] | None = None) -> list[EncodedRow]:
        """Encode rows as ids; `hidden` may hide the subtitle ('text') of a row from the model.

        Raises:
            InputError: rows with media; names every one.
        """
        require_words(clips)
        return [self._row(clip, hide) for clip, hide in zip(clips, hidden or [()] * len(clips), strict=True)]

    def _row(self, clip: Clip, hide: Collection[str]) -> EncodedRow:
        turns = prompt_turns(clip, self.cues, "text" in self.inputs and "text" not in hide, self._special)
        target = self._ids(self._defuse(clip.target)) if clip.target else []
        return EncodedRow(clip.id, self._prompt_ids(turns), [*target, self.tokenizer.eos_token_id])

    def _prompt_ids(self, turns: Sequence[Turn]) -> list[int]:
        if self.has_template:
            # Models that think aloud (Qwen3) are asked for the answer alone; other templates have no such variable.
            return self._ids(render_chat(self.tokenizer, turns, enable_thinking=False))
        # No template writes the token that a tokenizer opens every text with.
        first = [token for token in self.tokenizer("")["input_ids"] if token == self.tokenizer.bos_token_id]
        return [*first, *self._ids(render_transcript(turns))]

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _defuse(self, text: str) -> str:
        return defuse(text, self._special)


def prompt_turns(clip: Clip, cues: Cues, with_words: bool, special: re.Pattern[str]) -> list[Turn]:
    """Return the turns of a row's prompt, in which nothing that the row says has a meaning for the model.

    Args:
        with_words: whether the first turn of the user quotes the words said in the clip.
        special: pattern of what has a meaning, see `affectgpt.prompt_safety`.
    """
    turns = [{**turn, "content": defuse(turn["content"], special)} for turn in prompt_of(clip, cues)]
    asked = next((turn for turn in turns if turn["role"] == "user"), None)
    if clip.subtitle and with_words and asked is not None:
        asked["content"] = with_subtitle(asked["content"], defuse(clip.subtitle, special))
    return turns


def render_transcript(turns: Sequence[Turn]) -> str:
    """Render turns without a chat template, ready for the answer, which comes on a line of its own."""
    return "".join(TRANSCRIPT[turn["role"]].format(text=turn["content"]) for turn in turns) + TRANSCRIPT["answer"]


def require_words(clips: Sequence[Clip]) -> None:
    """Refuse rows with media, which a text-only model cannot take.

    Raises:
        InputError: names every such row.
    """
    expected, fix = "none: the model reads text alone", "Leave the row out, or take a model that looks and listens."
    problems = []
    for clip in clips:
        media = [f"{name} {path.name}" for name in MEDIA_FIELDS if (path := getattr(clip, name)) is not None]
        if media:
            problems.append(Problem(f"row {clip.id}", "its media", expected, ", ".join(media), fix))
    if problems:
        raise InputError(problems)
