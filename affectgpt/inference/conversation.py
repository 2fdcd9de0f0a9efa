"""A conversation with a model about a clip, turn by turn, as in `affectgpt chat`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from affectgpt.problems import InputError, nearest
from affectgpt.terminal import printable

if TYPE_CHECKING:
    from affectgpt.inference.assistant import Assistant
    from affectgpt.inputs.reader import Reader

COMMANDS = ("/video", "/quit")
MODELS = (
    "a stage's checkpoint, an exported model, an adapter, a video-language or language model of the Hub, a GGUF file, "
    "or http://HOST/v1#NAME for a language model behind an OpenAI-compatible URL (token in AFFECTGPT_LLM_TOKEN)"
)
"""Help on the option that names a model."""


class Conversation:
    """Questions about one clip, each asked with the earlier turns.

    Args:
        assistant: the model that answers.
        media: paths of the clip's 'video' or 'image', 'audio' and 'face', as far as it has them.
        subtitle: words said in the clip.
        settings: settings of generation, see `Assistant.ask`.
    """

    def __init__(self, assistant: Assistant, media: dict[str, str], subtitle: str | None, **settings: Any) -> None:
        self.assistant, self.settings = assistant, settings
        self.shows_prompt = False
        """Whether each prompt is printed on standard error before it is answered."""
        self.open(media, subtitle)

    def open(self, media: dict[str, str], subtitle: str | None = None) -> None:
        """Start a new conversation about a clip."""
        self.features = self.assistant.encode(**media)  # type: ignore[arg-type]
        self.subtitle = subtitle
        self.history: list[dict[str, str]] = []

    def ask(self, question: str) -> str:
        """Answer a question and print the answer; in a terminal word by word, else when it is complete.

        Words of a model that would steer the terminal are written out.
        """
        if sys.stdout.isatty() and (reader := self.assistant.reader(self.features)).tokenizer is not None:
            return self._answer(question, answer_printer(reader))
        text = self._answer(question)
        print(printable(text), flush=True)
        return text

    def answer(self, question: str) -> dict[str, Any]:
        """Answer a question, and remember question and answer for later turns.

        Returns:
            'answer', and further JSON values that a subclass adds.
        """
        return {"answer": self._answer(question)}

    def _answer(self, question: str, streamer: Any = None) -> str:
        given: dict[str, Any] = {"features": self.features, "subtitle": self.subtitle, "history": self.history}
        if self.shows_prompt:
            self.show_prompt(self.assistant.prompt(question, **given))
        text = self.assistant.ask(question, **given, streamer=streamer, **self.settings)
        if text:
            self.history += [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
        return text

    def show_prompt(self, prompt: str) -> None:
        """Print what the model is about to read on standard error."""
        print(f"--- prompt\n{printable(prompt)}\n---", file=sys.stderr)

    def obey(self, line: str) -> bool:
        """Run a command of the user; return False if it ends the conversation."""
        command, _, rest = line.partition(" ")
        if command == "/video" and rest.strip():
            self.open({"video": rest.strip()})
            print(f"{rest.strip()}: a new conversation.", file=sys.stderr)
        elif command == "/video":
            raise InputError("/video: expected a path after it, got nothing.")
        elif command != "/quit":
            raise InputError(f"{command}: expected a question or a command. {nearest(command, COMMANDS)}")
        return command != "/quit"


def answer_printer(reader: Reader) -> Any:
    """Make a streamer that prints an answer while it is generated, without the stop string."""
    from transformers import TextStreamer

    class Printer(TextStreamer):
        """Streamer of whole words, so that a stop string comes last."""

        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            """Print the next words."""
            if stream_end:
                stop = next((stop for stop in reader.stop_strings if text.rstrip().endswith(stop)), "")
                text = text.rstrip().removesuffix(stop)
            super().on_finalized_text(printable(text), stream_end)

    return Printer(reader.tokenizer, skip_prompt=True, skip_special_tokens=True)
