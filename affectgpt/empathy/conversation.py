"""`affectgpt chat --empathy`: a dialogue in which the model and the user see the plugins' evidence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectgpt.clip import Clip
from affectgpt.empathy.two_stage import Decision, Selection, decide
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.prompting import evidence_summaries
from affectgpt.inference.conversation import Conversation
from affectgpt.plugins.plugin import Plugin, load_plugin, names_emotion, with_evidence
from affectgpt.plugins.rows import evidence_of
from affectgpt.problems import InputError

if TYPE_CHECKING:
    from affectgpt.inference.assistant import Assistant


class EmpatheticConversation(Conversation):
    """Conversation in which each turn of the user is answered with empathy.

    Args:
        plugins: at least one of kind emotion.
        selection, cues: how the emotion is decided, and how much of the evidence the model is shown.
        limit: most tokens of an answer.
    """

    def __init__(
        self,
        assistant: Assistant,
        media: dict[str, str],
        subtitle: str | None,
        plugins: Sequence[Plugin],
        selection: Selection,
        cues: Cues,
        limit: int,
    ) -> None:
        super().__init__(assistant, media, subtitle)
        self.plugins, self.selection, self.cues, self.limit = plugins, selection, cues, limit

    def open(self, media: dict[str, str], subtitle: str | None = None) -> None:
        """Start a new conversation about a clip, whose media plugins may read."""
        super().open(media, subtitle)
        self.media = {name: Path(path) for name, path in media.items()}

    def ask(self, question: str) -> str:
        """Answer and return the response; print it, and before it the evidence on standard error."""
        report = self.answer(question)
        print(f"  {report['shown']}", file=sys.stderr)
        print(report["answer"], flush=True)
        return str(report["answer"])

    def answer(self, question: str) -> dict[str, Any]:
        """Answer a turn of the user, and remember both.

        Returns:
            'answer', 'emotion', 'stage', 'evidence', and 'shown', a line for the user.
        """
        turns = [*self.history, {"role": "user", "content": question}]
        row = Clip(
            id="turn",
            messages=[*turns, {"role": "assistant", "content": ""}],
            task="dialogue",
            subtitle=self.subtitle,
        )
        for plugin in self.plugins:
            (row,) = with_evidence([row], plugin.name, evidence_of(plugin, [replace(row, **self.media)]))  # type: ignore[arg-type]
        reader = self.assistant.reader(self.features)
        reader.cues = self.cues
        (decision,) = decide(self.assistant.model, reader, [row], self.selection, 1, self.limit)
        response = decision.response or decision.said
        if response:
            self.history = [*turns, {"role": "assistant", "content": response}]
        return {
            "answer": response,
            "emotion": decision.emotion,
            "stage": decision.stage,
            "evidence": row.evidence or {},
            "shown": self._shown(row, decision),
        }

    def _shown(self, row: Clip, decision: Decision) -> str:
        """Return the evidence and the decision as one line."""
        decided = decision.emotion or "nothing, the answer was outside the format"
        return " | ".join([*evidence_summaries(row, self.cues), f"decided: {decided}"])


def load_plugins(folders: Sequence[str]) -> list[Plugin]:
    """Load trained plugins for a conversation.

    Raises:
        InputError: a plugin cannot be loaded, or none is of kind emotion.
    """
    plugins = [load_plugin(Path(folder)) for folder in folders]
    if not any(map(names_emotion, plugins)):
        kinds = ", ".join(f"{plugin.name} ({plugin.kind})" for plugin in plugins)
        raise InputError(f"--empathy: expected a plugin of kind emotion among them, got {kinds}.")
    return plugins
