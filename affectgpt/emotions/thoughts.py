"""The answer in a response: what a model says after, before or between its thoughts.

Models write thoughts between tags such as `<think>` and `</think>`. What follows an opening tag is thought until its
end, so that a response that was cut off while its model was thinking holds no answer.
"""

from __future__ import annotations

import re

LONGEST = 200_000
"""Longest part of an answer, in characters, that is read; only a model that never stopped writes more."""

_THOUGHT = (
    r"(?:[a-z]{1,12}[:_])?(?P<name>think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|scratch_?pad|analysis|rationale|"
    r"cot|chain_of_thought|(?:inner|internal)_monologue)(?:_[a-z]{1,12})?"
)
_OPEN, _CLOSE = "(?:<|＜|〈|◁|&lt;)", "(?:>|＞|〉|▷|&gt;)"
_MARK = re.compile(
    # <think>, </think>, <think effort="high">, <|begin_of_thought|>, ＜think＞, ◁think▷
    rf"{_OPEN}\s{{0,3}}\|?(?P<slash>[/／]\s{{0,3}})?\|?(?:(?P<bound>begin|start|end)_(?:of_)?)?{_THOUGHT}\|?"
    rf"(?![\w-])(?:[^<>＜＞〈〉◁▷&]{{0,200}}?(?P<empty>/\s{{0,3}})?{_CLOSE}|[^<>＜＞〈〉◁▷&]{{0,200}}\Z)"
    # [THINK], [/THINK]
    r"|[\[［【](?P<slash2>[/／])?(?P<name2>think(?:ing)?|thoughts?|reasoning|reflection)[\]］】]"
    # channels: <|channel|>analysis<|message|> ... <|end|>, <|channel>thought ... <channel|>
    r"|<\|channel\|?>\s{0,3}(?P<channel>[a-z]{1,20})(?:\s{0,3}<\|message\|>)?|(?P<leave><channel\|>|<\|end\|>)"
    # <unused94>thought ... <unused95>
    r"|(?P<unused><unused94>(?:\s{0,3}thought)?)|(?P<used><unused95>)",
    re.IGNORECASE,
)
_MAY_HOLD = re.compile(r"[＜〈◁［【]")
_TAGGED = re.compile(
    rf"{_OPEN}\s{{0,3}}(?P<end>[/／]\s{{0,3}})?(?:final[_ ]?)?answer(?![\w-])[^<>＜＞〈〉&]{{0,200}}{_CLOSE}"
    r"|<\|(?:(?P<end2>end)|begin)_of_box\|>",
    re.IGNORECASE,
)


def answer_of(text: str) -> str:
    """Return the beginning of `uncut_answer`, as far as extractors read."""
    return uncut_answer(text)[:LONGEST]


def uncut_answer(text: str) -> str:
    """Return the answer in a response: the text in the last `<answer>` tags, else what stands last outside thoughts.

    A closing tag without an opening one, which the prompt may have held, ends a thought from before the response.

    >>> [uncut_answer(text) for text in ("<think>Sad, or</think>angry", "<think>Sad, or", "sad?</think>angry")]
    ['angry', '', 'angry']
    """
    if "<" not in text and "[" not in text and "&lt;" not in text and (text.isascii() or not _MAY_HOLD.search(text)):
        return text
    outside = _outside_thoughts(text)
    answer = _tagged_answer("\n".join(outside))
    return next((part for part in reversed(outside) if part.strip()), "") if answer is None else answer


def _outside_thoughts(text: str) -> list[str]:
    """Split a response at its thoughts, and return what stands outside them."""
    outside: list[str] = []
    open_thoughts: list[str] = []
    start = 0
    for match in _MARK.finditer(text):
        name, opens = _meaning(match)
        if name is None or (match["leave"] and name not in open_thoughts):
            continue
        if opens:
            if not open_thoughts:
                outside.append(text[start : match.start()])
            if name not in open_thoughts:
                open_thoughts.append(name)
        elif name in open_thoughts:
            del open_thoughts[open_thoughts.index(name) :]
        else:  # it ends what was opened under another name, or before the response
            outside = outside if open_thoughts else []
            open_thoughts.clear()
        start = match.end()
    return outside if open_thoughts else [*outside, text[start:]]


def _meaning(match: re.Match[str]) -> tuple[str | None, bool]:
    """Return the kind of thought of a mark, None for an empty one (`<think/>`), and whether the mark opens it."""
    if channel := match["channel"]:
        return "channel", channel.lower() in ("analysis", "commentary", "thought", "thinking")
    if match["leave"]:
        return "channel", False
    if match["unused"] or match["used"]:
        return "unused", bool(match["unused"])
    name = (match["name"] or match["name2"]).lower()
    ends = match["slash"] or match["slash2"] or (match["bound"] or "").lower() == "end"
    return (None if match["empty"] else name), not ends


def _tagged_answer(text: str) -> str | None:
    """Return the text in the last `<answer>` tags, up to the end if they are not closed; None if there are none."""
    start = end = None
    for match in _TAGGED.finditer(text):
        if match["end"] or match["end2"]:
            if start is not None and end is None:
                end = match.start()
        else:
            start, end = match.end(), None
    return None if start is None else text[start:end]
