"""The command `affectgpt chat`: a conversation with a model about a clip, or one question."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

from affectgpt.inference.conversation import Conversation
from affectgpt.problems import InputError

_NOTES = """
Without --question, each line of standard input is a question; what was said before is remembered. Commands:
  /video PATH   talk about another clip, from the start
  /quit         end, as Ctrl-D does
With --empathy each line is what you say: the plugins' evidence is shown, the emotion decided, and you are answered.
"""


def main(argv: list[str]) -> int:
    """Talk with a model about a clip, or ask it one question."""
    options = _parse(argv)
    media = {name: getattr(options, name) for name in ("video", "audio", "face") if getattr(options, name) is not None}
    _require_sense(options, media)

    conversation = _open(options, media)
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
    for line in lines():
        try:
            if not line.startswith("/"):
                conversation.ask(line)
            elif not conversation.obey(line):
                break
        except InputError as error:
            print(error, file=sys.stderr)
    return 0


def _open(options: argparse.Namespace, media: dict[str, str]) -> Conversation:
    """The conversation that was asked for; what takes seconds is imported here."""
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
    """What the user types, or standard input holds, line by line; empty ones are passed over."""
    if not sys.stdin.isatty():
        yield from filter(None, map(str.strip, sys.stdin))
        return
    with suppress(ImportError):
        import readline  # noqa: F401  (gives `input` its arrow keys)
    while True:
        try:
            line = input("> ").strip()
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
    models = "a stage's checkpoint, an exported model, an adapter, or a video-language or language model of the Hub"
    parser.add_argument("--model", required=True, metavar="DIR", help=models)
    parser.add_argument("--video", metavar="FILE", help="the clip")
    parser.add_argument("--audio", metavar="FILE", help="its sound (default: that of the video)")
    parser.add_argument("--face", metavar="FILE.npy", help="crops of its face (default: looked for in the video)")
    parser.add_argument("--subtitle", metavar="TEXT", help="what is said in it")
    parser.add_argument("--text", action="store_true", help="there is no clip: words alone")
    plugins = "talk, with these trained plugins"
    parser.add_argument("--empathy", nargs="+", metavar="PLUGIN", help=plugins)
    texts = "with --empathy: settings such as mode=prompt top=5 (docs/plugins.md)"
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help=texts)
    parser.add_argument("--question", metavar="Q", help="answer this and end")
    parser.add_argument("--max-new-tokens", type=int, default=512, metavar="N", help="longest answer (512)")
    temperatures = "0 takes the likeliest words, more draws them (0)"
    parser.add_argument("--temperature", type=float, default=0.0, metavar="T", help=temperatures)
    parser.add_argument("--top-p", type=float, default=1.0, metavar="P", help="draw among the likeliest P of words (1)")
    parser.add_argument("--device", default="auto", help="cpu, cuda or auto (auto)")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--json", action="store_true", help="with --question: print one JSON object")
    return parser.parse_args(argv)


def _require_sense(options: argparse.Namespace, media: dict[str, str]) -> None:
    """Refuse, before a model is loaded, options that do not go together."""
    problems = []
    if options.text and media:
        problems.append(f"--text: expected no clip beside it, got --{', --'.join(media)}. Leave one of them out.")
    if options.set and options.empathy is None:
        problems.append("--set: expected --empathy beside it. Leave it out.")
    if options.empathy and (options.temperature or options.top_p != 1):
        problems.append("--empathy: answers are not drawn. Leave --temperature and --top-p out.")
    if options.question is not None and not (options.text or media or options.subtitle or options.empathy):
        problems.append("--question: expected a clip, got none. Name one with --video, or say --text.")
    if options.question is not None and not options.question.strip():
        problems.append("--question: expected words, got none.")
    if options.json and options.question is None:
        problems.append("--json: expected --question beside it: a conversation is no JSON object.")
    if options.max_new_tokens < 1:
        problems.append(f"--max-new-tokens: expected 1 or more, got {options.max_new_tokens}.")
    if options.temperature < 0:
        problems.append(f"--temperature: expected 0 or more, got {options.temperature:g}.")
    if not 0 < options.top_p <= 1:
        problems.append(f"--top-p: expected more than 0, at most 1, got {options.top_p:g}.")
    if problems:
        raise InputError(problems)
