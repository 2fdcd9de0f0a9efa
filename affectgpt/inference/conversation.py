"""A conversation with a model about a clip, turn by turn; what `affectgpt chat` holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from affectgpt.problems import InputError, nearest

if TYPE_CHECKING:
    from affectgpt.inference.assistant import Assistant
    from affectgpt.inputs.reader import Reader

COMMANDS = ("/video", "/quit")


class Conversation:
    """Questions about one clip, each with what was said before.

    Args:
        assistant: who answers.
        media: 'video', 'audio' and 'face' of the clip; files that it has.
        subtitle: what is said in it.
        settings: how answers are generated, see `Assistant.ask`.
    """

    def __init__(self, assistant: Assistant, media: dict[str, str], subtitle: str | None, **settings: Any) -> None:
        self.assistant, self.settings = assistant, settings
        self.open(media, subtitle)

    def open(self, media: dict[str, str], subtitle: str | None = None) -> None:
        """Turn to a clip, and begin anew."""
        self.features = self.assistant.encode(**media)  # type: ignore[arg-type]
        self.subtitle = subtitle
        self.history: list[dict[str, str]] = []

    def ask(self, question: str) -> str:
        """Answer and print it; in a terminal word by word as it comes, else at its end."""
        if sys.stdout.isatty():
            return self._answer(question, answer_printer(self.assistant.reader(self.features)))
        text = self._answer(question)
        print(text, flush=True)
        return text

    def answer(self, question: str) -> dict[str, Any]:
        """Answer, and remember question and answer for the turns to come.

        Returns:
            'answer', and whatever else a kind of conversation tells about it, as JSON.
        """
        return {"answer": self._answer(question)}

    def _answer(self, question: str, streamer: Any = None) -> str:
        text = self.assistant.ask(
            question,
            features=self.features,
            subtitle=self.subtitle,
            history=self.history,
            streamer=streamer,
            **self.settings,
        )
        if text:
            self.history += [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
        return text

    def obey(self, line: str) -> bool:
        """Follow a command of the user; False where it ends the conversation."""
        command, _, rest = line.partition(" ")
        if command == "/video" and rest.strip():
            self.open({"video": rest.strip()})
            print(f"{rest.strip()}: a new conversation.", file=sys.stderr)
        elif command == "/video":
            raise InputError("/video: expected a path behind it, got nothing.")
        elif command != "/quit":
            raise InputError(f"{command}: expected a question or a command. {nearest(command, COMMANDS)}")
        return command != "/quit"


def answer_printer(reader: Reader) -> Any:
    """A streamer that prints an answer while it is generated, without what ends it."""
    from transformers import TextStreamer

    class Printer(TextStreamer):
        """Prints whole words, so that what ends an answer comes last."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            """Print the next words."""
            if stream_end:
                stop = next((stop for stop in reader.stop_strings if text.rstrip().endswith(stop)), "")
                text = text.rstrip().removesuffix(stop)
            super().on_finalized_text(text, stream_end)

    return Printer(reader.tokenizer, skip_prompt=True, skip_special_tokens=True)
