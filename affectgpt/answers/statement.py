"""The statement of an answer: the value in its JSON, and what stands after `the answer is`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from affectgpt.answers.assertion import Named, asserted
from affectgpt.answers.plain import lines_of

_KEYS = (
    "answer", "final_answer", "finalanswer", "final answer", "choice", "option", "prediction", "predicted", "label",
    "labels", "emotion", "emotions", "sentiment", "result", "response", "output", "答案",
)  # fmt: skip
_STATES = re.compile(
    r"(?:(?:(?<![A-Za-z])(?:"
    r"(?:answers?|antwort|réponse|respuesta)(?: (?:choice|option|letter|key))?|"
    r"(?:correct|right|best|final|true|chosen|most likely) (?:options?|choices?|labels?|emotions?)|"
    r"choose|chose|select|selected|pick|picked|go with|going with|settle on|decide on|opt for|(?:option|choice)(?= is))"
    r"|答案|选择?|应选|回答|结论|答え|정답)"
    r"(?:\s{0,3}(?:is|are|would be|must be|should be|has to be|ist|est|es|应该是|应该|应为|为|是|就是|は|는|은))?"
    r"[\s:=*\"'(\[{$#>-]{0,12}(?:(?:the|option|choice|letter|answer|选项)[\s:*\"'(\[]{1,4}){0,3}"
    r"|\\boxed\s?\{[\s(\[\"']{0,3}(?:\\(?:text|mathrm|textbf|mathbf)\s?\{[\s(\[\"']{0,3})?)\Z",
    re.IGNORECASE,
)
_LOOK_BACK = 60


def answer_text(answer: object) -> str:
    """Return the plain lines of an answer; of an answer in JSON, those of the field that holds it.

    >>> answer_text('{"reason": "The brows are drawn.", "answer": "B"}')
    'B'
    """
    text = lines_of(answer)
    start, end = text.find("{"), text.rfind("}") + 1
    if start < 0 or text[:start].strip() or text[end:].strip():
        return text
    try:
        fields = json.loads(text[start:end])
    except (ValueError, RecursionError):
        return text
    if not isinstance(fields, dict):
        return text
    by_key = {str(key).casefold().strip(): value for key, value in fields.items()}
    value = next((by_key[key] for key in _KEYS if key in by_key), None)
    if value is None and len(by_key) == 1:
        [value] = by_key.values()
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, str | int | float) and not isinstance(item, bool) for item in items):
        return text
    return "\n".join(map(str, items))


def is_stated(text: str, start: int) -> bool:
    """Tell whether what starts here is stated to be the answer: `The answer is B`, `选择 B`, `\\boxed{B}`."""
    return bool(_STATES.search(text[max(0, start - _LOOK_BACK) : start]))


def stated(text: str, named: Sequence[Named]) -> list[Named]:
    """Return what a text states to be the answer: of what it asserts, the last that it states, else all.

    A list (`B and F`) is stated as a whole; what `or` joins is not.
    """
    held = [(one, judged.chain) for one, judged in asserted(text, named) if not judged.alternative]
    last = next((chain for one, chain in reversed(held) if is_stated(text, one.start)), None)
    if last is not None:
        return [one for one, chain in held if chain == last]
    return [one for one, _ in held]
