"""The command `affectgpt chat`: a conversation with a model about a clip, or one question."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from io import TextIOWrapper

from affectgpt.inference.conversation import MODELS, Conversation
from affectgpt.media.media import DECODED
from affectgpt.problems import InputError
from affectgpt.terminal import without_surrogates

_NOTES = """
Without --question, each line of standard input is a question; earlier turns are remembered. Commands:
  /video PATH   start a new conversation about another clip
  /quit         end, as Ctrl-D does
With --empathy, each line is your turn of a dialogue: the plugins' evidence is shown, your emotion is decided, and the
model responds.
"""

_BLANK = " \t\r\n\v\f\x00\ufeff"
"""Characters that say nothing at either end of a line; a file may open with a byte order mark."""


def main(argv: list[str]) -> int:
    """Chat with a model about a clip, or ask it one question."""
    options = _parse(argv)
    media = {name: getattr(options, name) for name in DECODED if getattr(options, name) is not None}
    _require_sense(options, media)

    conversation = _open(options, media)
    conversation.shows_prompt = options.show_prompt
    if options.json:
        started = time.monotonic()
        report = conversation.answer(options.question)
        seconds = round(time.monotonic() - started, 3)
        report.pop("shown", None)
        print(json.dumps({"question": options.question, **report, "seconds": seconds}, ensure_ascii=False))
        return 0
    if options.question is not None:
        conversation.ask(options.question)
        return 0
    for line in map(without_surrogates, lines()):
        try:
            if not line.startswith("/"):
                conversation.ask(line)
            elif not conversation.obey(line):
                break
        except InputError as error:
            print(error, file=sys.stderr)
    return 0


def _open(options: argparse.Namespace, media: dict[str, str]) -> Conversation:
    """Open the conversation that the options describe; slow imports happen here."""
    settings = {name: getattr(options, name) for name in ("max_new_tokens", "temperature", "top_p")}
    if options.empathy is None:
        from affectgpt.inference.assistant import Assistant

        assistant = Assistant.from_pretrained(options.model, options.device, options.dtype)
        return Conversation(assistant, media, options.subtitle, **settings)
    from affectgpt.empathy.conversation import EmpatheticConversation, load_plugins
    from affectgpt.empathy.options import read_options

    selection, cues = read_options(options.set)
    plugins = load_plugins(options.empathy)
    from affectgpt.inference.assistant import Assistant

    assistant = Assistant.from_pretrained(options.model, options.device, options.dtype)
    return EmpatheticConversation(assistant, media, options.subtitle, plugins, selection, cues, options.max_new_tokens)


def lines() -> Iterator[str]:
    """Yield the lines that the user types or standard input holds; empty ones are skipped."""
    if not sys.stdin.isatty():
        if isinstance(sys.stdin, TextIOWrapper):
            sys.stdin.reconfigure(errors="replace")
        yield from filter(None, (line.strip(_BLANK) for line in sys.stdin))
        return
    with suppress(ImportError):
        import readline  # noqa: F401  (gives `input` its arrow keys)
    while True:
        try:
            line = input("> ").strip(_BLANK)
        except EOFError:
            print()
            return
        if line:
            yield line


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="affectgpt chat",
        description=f"{main.__doc__}\n{_NOTES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, metavar="DIR", help=MODELS)
    parser.add_argument("--video", metavar="FILE", help="video of the clip")
    parser.add_argument("--audio", metavar="FILE", help="sound of the clip (default: that of the video)")
    parser.add_argument("--face", metavar="FILE.npy", help="face crops of the clip (default: detected in the video)")
    parser.add_argument("--image", metavar="FILE", help="a still picture instead of a video")
    parser.add_argument("--subtitle", metavar="TEXT", help="words said in the clip")
    parser.add_argument("--text", action="store_true", help="chat about text alone, without a clip")
    plugins = "respond with empathy, using the evidence of these trained plugins"
    parser.add_argument("--empathy", nargs="+", metavar="PLUGIN", help=plugins)
    texts = "with --empathy: settings such as mode=prompt top=5 (docs/plugins.md)"
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=texts)
    parser.add_argument("--question", metavar="Q", help="answer this question and exit")
    parser.add_argument("--max-new-tokens", type=int, default=512, metavar="N", help="most tokens of an answer (512)")
    temperatures = "sampling temperature; 0 always takes the likeliest token (0)"
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help=temperatures)
    parser.add_argument(
        "--top-p",
        type=float,
        default=1.0,
        metavar="P",
        help="sample among the likeliest tokens with total probability P (1)",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--show-prompt", action="store_true", help="print what the model reads, on standard error")
    parser.add_argument("--json", action="store_true", help="with --question: print one JSON object")
    return parser.parse_args([without_surrogates(word) for word in argv])


def _require_sense(options: argparse.Namespace, media: dict[str, str]) -> None:
    """Refuse incompatible options before a model is loaded."""
    problems = []
    if options.text and media:
        problems.append(f"--text: expected no clip with it, got --{', --'.join(media)}. Leave one of them out.")
    if "image" in media and "video" in media:
        problems.append("--image: expected a picture or a video, got both. Leave one of them out.")
    if options.set and options.empathy is None:
        problems.append("--set: expected --empathy with it. Leave it out.")
    if options.empathy and (options.temperature or options.top_p != 1):
        problems.append("--empathy: answers are not sampled. Leave --temperature and --top-p out.")
    if options.question is not None and not (options.text or media or options.subtitle or options.empathy):
        problems.append("--question: expected a clip, got none. Name one with --video, or add --text.")
    if options.question is not None and not options.question.strip():
        problems.append("--question: expected words, got none.")
    if options.json and options.question is None:
        problems.append("--json: expected --question with it: a conversation has no JSON output.")
    if options.max_new_tokens < 1:
        problems.append(f"--max-new-tokens: expected 1 or more, got {options.max_new_tokens}.")
    if options.temperature < 0:
        problems.append(f"--temperature: expected 0 or more, got {options.temperature:g}.")
    if not 0 < options.top_p <= 1:
        problems.append(f"--top-p: expected more than 0 and at most 1, got {options.top_p:g}.")
    if problems:
        raise InputError(problems)
