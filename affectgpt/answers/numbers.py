"""Reading of a number, such as a valence, from a free answer."""

from __future__ import annotations

import math
import re

from affectgpt.answers.assertion import judge_spans
from affectgpt.answers.statement import answer_text, is_stated

_NUMBER = re.compile(
    r"(?:(?<![\w.,—+-])|(?<=[为是は]))(?<![\w)]-)(?P<sign>[+-]\s?|(?:minus|negative|moins|meno|menos)\s|负|マイナス|마이너스)?"
    r"(?P<digits>[0-9]{1,300}(?:[.,][0-9]{1,300})?|[.,][0-9]{1,300})\.?(?P<power>e[+-]?[0-9]{1,3})?(?:(?![\w%‰°]|[.,][0-9])|(?=分|点|です|점))",
    re.IGNORECASE,
)
_SCALE = re.compile(
    r"(?i)[\s,(]{0,3}\b(?:on|in|using|within)?\s?(?:an?|the)?\s?(?:scale|range|interval)\s?(?:is|of|from|between|:|-|\s){0,3}"
    r"\[?[+-]?\d+(?:\.\d+)?\s?(?:to|and|-|,|\.\.)\s?[+-]?\d+(?:\.\d+)?[\])]{0,2}"
)
_INEXACT = re.compile(
    r"(?i)(?:[<>≤≥±]|\b(?:at least|at most|less than|more than|under|over|above|below|up to|between|from|out of|half|"
    r"percent|per cent))\s?$"
)
_DASH_BEFORE = re.compile(r"(?i)[^\W\d_]\s$(?<!is\s)(?<!of\s)")
_AFTER = re.compile(
    r"(?i)\s?(?:%|percent|per cent|/|\\|÷|out of|of \d|±|\+/-|\.\.|to [+-]?[.\d]|- ?[.\d]|x 10|[*^]\s?[0-9])"
)


def read_number(answer: object) -> float | None:
    """Return the one finite number that an answer gives; None if there is none, or none that is sure.

    A comma may stand for the point, any Unicode minus for the sign. Of several numbers the last stated counts (`the
    valence is 0.1`). Ranges, fractions, percentages, bounds, `1,000`, `1_0` and what is denied are not read.

    >>> read_number("The valence is 0.1."), read_number("−0,5"), read_number("between 0.2 and 0.4")
    (0.1, -0.5, None)
    """
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        return float(answer) if -math.inf < answer < math.inf and abs(answer) < 1e300 else None
    text = _SCALE.sub(" ", answer_text(answer))
    matches = list(_NUMBER.finditer(text))
    if not matches or len(matches) > 50:
        return None
    judged = judge_spans(text, [match.span() for match in matches])
    held = [match for match, judgement in zip(matches, judged, strict=True) if judgement.holds]
    said = [match for match in held if _is_stated(text, match.start())] or held
    numbers = {_value(match, text) for match in (said[-1:] if len(said) < len(held) else said)}
    covered = sum(len(re.findall(r"\d+", match[0])) for match in matches)
    if len(numbers) != 1 or (said is held and covered != len(re.findall(r"\d+", text))):
        return None
    return numbers.pop()


def _is_stated(text: str, start: int) -> bool:
    return is_stated(text, start) or bool(
        re.search(r"(?i)\b(?:valence|arousal|dominance|score|rating|value|intensity|estimate)\W{0,3}(?:is|of|:|=)\s?(?:about|around|"
                  r"approximately|roughly|~|≈)?\s?\W{0,3}$", text[max(0, start - 50) : start])
    )  # fmt: skip


def _value(match: re.Match[str], text: str) -> float | None:
    digits = match["digits"]
    if "," in digits and len(digits.partition(",")[2]) == 3:
        return None  # 1,000: a thousand or one
    before = text[max(0, match.start() - 20) : match.start()]
    if _INEXACT.search(before) or before.rstrip().endswith("/") or _AFTER.match(text, match.end()):
        return None
    written = (match["sign"] or "+").lower()
    if written in ("- ", "-\n") and _DASH_BEFORE.search(before):
        return None  # `valence - 0.2`: a dash or a minus
    sign = 1.0 if written.strip() == "+" else -1.0
    value = sign * float(digits.replace(",", ".") + (match["power"] or ""))
    return value if math.isfinite(value) else None
