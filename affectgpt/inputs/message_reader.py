"""Rows of text for a chat model behind a URL, which renders the conversation by its own template."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from affectgpt.clip import Clip
from affectgpt.evidence.prompting import Cues
from affectgpt.inputs.reader import EncodedRow
from affectgpt.inputs.text_reader import prompt_turns, render_transcript, require_words
from affectgpt.llm.endpoint import ChatEndpoint
from affectgpt.model.processing import MODALITIES, Turn
from affectgpt.prompt_safety import defuse, markers
from affectgpt.prompts import TRANSCRIPT

SPECIAL = markers(TRANSCRIPT["stop"], TRANSCRIPT["answer"])
"""Pattern of what has a meaning for a model whose tokenizer is unknown, and in a transcript."""


@dataclass(frozen=True, slots=True)
class MessageRow(EncodedRow):
    """Row as turns; the server makes the ids."""

    turns: list[Turn] = field(default_factory=list)
    begun: str = ""
    """Beginning of the answer, which the model continues."""

    def begin(self, text: str) -> MessageRow:
        """Return a row whose answer begins with a text, which the model continues."""
        return replace(self, begun=self.begun + defuse(text, SPECIAL))

    @property
    def transcript(self) -> str:
        """The turns and the beginning of the answer as one text, for what a server does without its chat template."""
        return render_transcript(self.turns) + self.begun


class MessageReader:
    """Reader of rows for a model behind a URL that takes text alone.

    Args:
        endpoint: the client of the model.
        inputs: with 'text' among them, the prompt shows the words said in a clip (`subtitle`).
        cues: limits on the evidence that a prompt shows.
    """

    def __init__(
        self,
        endpoint: ChatEndpoint,
        inputs: Sequence[str] = MODALITIES,
        cues: Cues = Cues(),  # noqa: B008 (frozen)
    ) -> None:
        self.processor: Any = endpoint
        self.tokenizer: Any = None
        self.inputs, self.cues = tuple(inputs), cues
        self.stop_strings = [TRANSCRIPT["stop"]]

    def lengths(self, clips: Sequence[Clip]) -> list[int]:
        """Count the characters of each row: its tokens are unknown here.

        Raises:
            InputError: rows with media; names every one.
        """
        return [len(row.transcript) for row in self.read(clips) if isinstance(row, MessageRow)]

    def read(self, clips: Sequence[Clip], hidden: Sequence[Collection[str]] | None = None) -> list[EncodedRow]:
        """Read rows as turns; `hidden` may hide the subtitle ('text') of a row from the model.

        Raises:
            InputError: rows with media; names every one.
        """
        require_words(clips)
        rows: list[EncodedRow] = []
        for clip, hide in zip(clips, hidden or [()] * len(clips), strict=True):
            turns = prompt_turns(clip, self.cues, "text" in self.inputs and "text" not in hide, SPECIAL)
            rows.append(MessageRow(clip.id, [], [], turns=turns))
        return rows
