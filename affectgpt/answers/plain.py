"""Plain text of an answer, and the form in which labels are compared."""

from __future__ import annotations

import html
import re
import unicodedata

from affectgpt.emotions.thoughts import uncut_answer

LIMIT = 20_000
"""Characters of an answer that are read, half from its beginning and half from its end."""
_LONGEST = 400_000
"""Characters of a response in which thoughts are looked for, half from its beginning and half from its end."""

_BLOCK = re.compile(r"(?i)</?(?:br|p|li|ul|ol|div|tr)\b[^<>]{0,200}>")
_TAG = re.compile(r"</?[A-Za-z][^<>]{0,200}>|<\|[^<>|]{1,60}\|>")
_STRUCK = re.compile(r"~~[^~\n]{1,200}~~|(?i:<(s|del|strike)\b[^<>]{0,50}>[^<>]{0,200}</\1>)")
_FENCE = re.compile(r"```[a-z]{0,10}")
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe0e\ufe0f\ufeff]")
_SIGNS = str.maketrans(
    dict.fromkeys("‐‑‒–−﹣－", "-") | dict.fromkeys("‘’‚‛ʼ`´′", "'") | dict.fromkeys("“”„‟«»「」『』″", '"')
)
_CONTROL = re.compile("[\x00-\x09\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ue000-\uf8ff]")
_LINE_END = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_WITHIN = re.compile(r"(?<=[^\W_])-+(?=[^\W_])|_+")
_AROUND = " \t\n.,;:!\"'*()[]{}<>#|。、，；：！・「」『』【】《》〈〉“”„‟«»"
_BULLETS = dict(zip("❶❷❸❹❺❻❼❽❾❿➊➋➌➍➎➏➐➑➒➓", [*range(1, 11)] * 2, strict=True))
_CIRCLED = re.compile(f"[①-⑳Ⓐ-ⓩ{''.join(_BULLETS)}]")

_WORD = re.compile(r"[\u3400-\u9fff\u3040-\u30ff]|[^\W_]+(?:['’][^\W_]+)*")
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        "a an and are as at be been being but by for from had has have he her his i in into is it its of on or our she "
        "so that the their them there they these this those to was we were which while who will with you your"
    )
)


def lines_of(answer: object) -> str:
    """Return an answer as plain lines: no thoughts, HTML or control characters, one way of writing signs and quotes.

    A value that is no text has no lines.
    """
    if not isinstance(answer, str):
        return ""
    text = uncut_answer(_ends(answer, _LONGEST))
    text = _ends(text, LIMIT)
    if "~~" in text or "</" in text:
        text = _STRUCK.sub(" ", text)
    text = without_tags(text)
    if "&" in text:
        text = html.unescape(text)
    if "```" in text:
        text = _FENCE.sub("\n", text)
    if "**" in text:
        text = text.replace("**", "")
    return unify(text)


def without_tags(text: str) -> str:
    """Return text without tags of HTML and of prompts, of which `<br>` and the like end a line."""
    return _TAG.sub(" ", _BLOCK.sub("\n", text)) if "<" in text else text


def unify(text: str) -> str:
    """Return text in one Unicode form, with one kind of spaces, line ends, hyphens and quotes, and nothing unseen."""
    if not text.isascii():
        text = _CIRCLED.sub(lambda match: f"({_circled(match[0])}) ", _UNSEEN.sub("", text))
        text = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS)
    else:
        text = text.replace("`", "'")
    return text if text.isprintable() else _CONTROL.sub(" ", _LINE_END.sub("\n", text))


def _ends(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2]} {text[-limit // 2 :]}"


def _circled(sign: str) -> str:
    return str(_BULLETS[sign]) if sign in _BULLETS else unicodedata.normalize("NFKC", sign)


def clean(answer: object) -> str:
    """Return an answer as one line of plain text, with single spaces; "" if it is no text."""
    return " ".join(lines_of(answer).split())


def normalise(text: str) -> str:
    """Normalise a label for comparison: one Unicode form, lower case, spaces for underscores and hyphens within it.

    Punctuation around it goes, unless there is nothing else. A minus before it stays.

    >>> normalise("Very_Happy."), normalise("ＶＥＲＹ-ＨＡＰＰＹ"), normalise("-1")
    ('very happy', 'very happy', '-1')
    """
    folded = " ".join(fold(unify(text)).split())
    return folded.strip(_AROUND) or folded


def fold(text: str) -> str:
    """Return unified text in lower case, with spaces for underscores and for hyphens within words."""
    text = _WITHIN.sub(" ", text)
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", text.casefold()).replace("i\u0307", "i").replace("ı", "i")


def words(text: str) -> list[str]:
    """List the content words of a text in lower case; the characters of Chinese and Japanese text."""
    return [word for word in _WORD.findall(text.casefold()) if word not in _FUNCTION_WORDS]
