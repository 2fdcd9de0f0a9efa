"""Words of a dialogue with their positions; the text that an encoder reads, shortened in the middle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

WORD = re.compile(r"[\u3400-\u9fff\u3040-\u30ff\uac00-\ud7af]|[^\W_]+(?:['’][^\W_]+)*")
LONGEST_TURN = 2_000
"""Most characters of a turn that are read."""
MOST_TURNS = 32
"""Most turns that are read: the first, which usually says what happened, and the last ones."""
_BREAK = "\n"


@dataclass(frozen=True, slots=True)
class Text:
    """Turns of a dialogue as one text."""

    text: str
    turns: tuple[tuple[int, int], ...]
    """Index in the dialogue, and start in the text, of each turn that is read."""

    def words(self) -> list[tuple[int, int, int, str]]:
        """Return (start in the text, turn, start in the turn, word) of every word."""
        found = []
        for place, (number, start) in enumerate(self.turns):
            end = self.turns[place + 1][1] - len(_BREAK) if place + 1 < len(self.turns) else len(self.text)
            for match in WORD.finditer(self.text, start, end):
                found.append((match.start(), number, match.start() - start, match.group()))
        return found


def read_text(turns: Sequence[str]) -> Text:
    """Join turns into one text: long ones cut; of many turns the first and the last ones."""
    numbers = [*range(len(turns))]
    if len(numbers) > MOST_TURNS:
        numbers = [0, *numbers[-MOST_TURNS + 1 :]]
    starts: list[tuple[int, int]] = []
    text = ""
    for number in numbers:
        text += _BREAK if starts else ""
        starts.append((number, len(text)))
        text += turns[number][:LONGEST_TURN]
    return Text(text, tuple(starts))
