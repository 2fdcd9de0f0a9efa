"""Conversion of EmpatheticDialogues (Rashkin et al., ACL 2019; CC BY-NC 4.0) from its public tables to rows.

A table is no CSV of the usual kind: fields are split at every comma, quotation marks mean nothing, and a comma of the
text is written `_comma_`. Every turn of the listener becomes a row: the turns before it are the dialogue, its target is
the emotion and the response, a line each. The speaker's description of the situation stays outside the
dialogue (`situation`), since it gives the emotion away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import EMOTIONS
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten

SPLITS = {"train": "train.csv", "dev": "valid.csv", "test": "test.csv"}
_FIELDS = ("conv_id", "utterance_idx", "context", "prompt", "speaker_idx", "utterance")
_COMMA = "_comma_"


@dataclass(frozen=True, slots=True)
class Turn:
    """Turn of a conversation: a line of a table."""

    line: int
    conversation: str
    number: int
    emotion: str
    situation: str
    text: str


def read_turns(path: Path) -> list[Turn]:
    """Read the lines of a table.

    Raises:
        InputError: with every line that has too few fields, an unknown emotion, no words or no number.
    """
    path = require_file(path, "a table of EmpatheticDialogues", "It is in empatheticdialogues.tar.gz.")
    turns: list[Turn] = []
    problems: list[Problem | str] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fields = raw.split(",")
        if number == 1 and tuple(fields[: len(_FIELDS)]) == _FIELDS:
            continue
        if len(fields) < len(_FIELDS):
            expected = f"at least {len(_FIELDS)} fields"
            problems.append(Problem(str(path), f"line {number}", expected, f"{len(fields)}: {shorten(raw)}"))
            continue
        conversation, turn, emotion, situation, _, text = (field.strip() for field in fields[: len(_FIELDS)])
        text, situation = text.replace(_COMMA, ",").strip(), situation.replace(_COMMA, ",").strip()
        if emotion not in EMOTIONS:
            fix = nearest(emotion, EMOTIONS)
            problems.append(Problem(str(path), f"line {number}, 'context'", "an emotion", shorten(emotion), fix))
        elif not turn.isdigit() or not text:
            expected = "a number from 1 and words"
            problems.append(Problem(str(path), f"line {number}, 'utterance'", expected, shorten(f"{turn}, {text}")))
        else:
            turns.append(Turn(number, conversation, int(turn), emotion, situation, text))
    if not turns and not problems:
        problems.append(Problem(str(path), "the file", "at least one turn", "none"))
    if problems:
        raise InputError(problems)
    return turns


def whole_conversations(turns: list[Turn]) -> tuple[list[list[Turn]], int]:
    """Return the conversations in the order of the table, each up to its first gap, and how many turns follow a gap."""
    spoken: dict[str, list[Turn]] = {}
    for turn in turns:
        spoken.setdefault(turn.conversation, []).append(turn)
    whole = []
    for found in spoken.values():
        ordered = sorted(found, key=lambda turn: turn.number)
        in_order = takewhile(lambda pair: pair[0] == pair[1].number, enumerate(ordered, start=1))
        whole.append([turn for _, turn in in_order])
    return whole, len(turns) - sum(map(len, whole))


def rows_of(conversations: list[list[Turn]]) -> Iterator[Clip]:
    """Yield a row for each turn of a listener."""
    for ordered in conversations:
        for place, turn in enumerate(ordered):
            if place % 2 == 0:
                continue
            messages = [
                {"role": "assistant" if index % 2 else "user", "content": before.text}
                for index, before in enumerate(ordered[:place])
            ]
            emotion = ordered[0].emotion
            target = {"role": "assistant", "content": f"Emotion: {emotion}\nResponse: {turn.text}"}
            name = turn.conversation
            yield Clip(
                id=f"{name}/{turn.number}",
                messages=[*messages, target],
                task="dialogue",
                answer=emotion,
                options=list(EMOTIONS),
                group=name,
                source="empathetic_dialogues",
                situation=ordered[0].situation or None,
            )
