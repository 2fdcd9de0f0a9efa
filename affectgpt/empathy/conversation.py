"""`affectgpt chat --empathy`: a dialogue in which the model and the user see the plugins' evidence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from affectgpt.clip import Clip
from affectgpt.empathy.two_stage import Selection, decide
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.evidence import Evidence
from affectgpt.evidence.prompting import evidence_summaries
from affectgpt.inference.conversation import Conversation
from affectgpt.inputs.open import shown_prompt
from affectgpt.plugins.plugin import Plugin, load_plugin, names_emotion, with_evidence
from affectgpt.plugins.rows import evidence_of, is_read
from affectgpt.problems import InputError, Problem
from affectgpt.terminal import printable

if TYPE_CHECKING:
    from affectgpt.inference.assistant import Assistant

_NOTHING = "nothing, the answer was outside the format"


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
        self.plugins, self.selection, self.cues, self.limit = plugins, selection, cues, limit
        super().__init__(assistant, media, subtitle)

    def open(self, media: dict[str, str], subtitle: str | None = None) -> None:
        """Start a new conversation about a clip, whose media plugins may read.

        A model that reads text alone is given what plugins predict about the clip, not the clip.

        Raises:
            InputError: a medium that neither the model nor a plugin takes.
        """
        alone = self.assistant.takes == "words"
        read = {medium for plugin in self.plugins for medium in plugin.reads}
        unread = [name for name in media if name not in read]
        if alone and unread:
            expected = f"none: the model reads text alone, and the plugins read {' and '.join(sorted(read))}"
            raise InputError([Problem(f"--{name}", "the clip", expected, media[name]) for name in unread])
        super().open({} if alone else media, subtitle)
        self.media = {name: Path(path) for name, path in media.items()}

    def ask(self, question: str) -> str:
        """Answer and return the response; print it, and before it the evidence on standard error."""
        report = self.answer(question)
        print(f"  {printable(report['shown'])}", file=sys.stderr)
        print(printable(str(report["answer"])), flush=True)
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
        predicted: list[str] = []
        for plugin in self.plugins:
            seen = replace(row, **self.media)  # type: ignore[arg-type]
            (item,) = evidence_of(plugin, [seen])
            (row,) = with_evidence([row], plugin.name, [item])
            predicted += self._summaries(plugin, seen, item)
        reader = self.assistant.reader(self.features)
        reader.cues = self.cues
        if self.shows_prompt:
            self.show_prompt(shown_prompt(reader, reader.read([row])[0]))
        (decision,) = decide(self.assistant.model, reader, [row], self.selection, 1, self.limit)
        response = decision.response or decision.said
        if response:
            self.history = [*turns, {"role": "assistant", "content": response}]
        return {
            "answer": response,
            "emotion": decision.emotion,
            "stage": decision.stage,
            "evidence": row.evidence or {},
            "shown": " | ".join([*predicted, f"decided: {decision.emotion or _NOTHING}"]),
        }

    def _summaries(self, plugin: Plugin, seen: Clip, evidence: Evidence | None) -> list[str]:
        """Return what a plugin predicts about a turn, or why it predicts nothing; its name where kinds are alike."""
        if evidence is None:
            lacking = f"it reads {' and '.join(plugin.reads)}, and there is none of that"
            reason = "it had nothing to say about this" if is_read(plugin, seen) else lacking
            return [f"{plugin.name}: nothing, {reason}"]
        (row,) = with_evidence([replace(seen, evidence=None)], plugin.name, [evidence])
        alike = sum(other.kind == plugin.kind for other in self.plugins) > 1
        return [f"{plugin.name}: {line}" if alike else line for line in evidence_summaries(row, self.cues)]


def load_plugins(folders: Sequence[str]) -> list[Plugin]:
    """Load trained plugins for a conversation.

    Raises:
        InputError: a plugin cannot be loaded, or none is of kind emotion.
    """
    plugins = [load_plugin(Path(folder)) for folder in folders]
    if not any(map(names_emotion, plugins)):
        kinds = ", ".join(f"{plugin.name} ({plugin.kind})" for plugin in plugins)
        fix = "It names the emotion that is answered to; for a question about the clip, leave --empathy out."
        raise InputError(f"--empathy: expected a plugin of kind emotion among them, got {kinds}. {fix}")
    return plugins
