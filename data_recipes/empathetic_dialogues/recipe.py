"""Conversion of EmpatheticDialogues (Rashkin et al., ACL 2019; CC BY-NC 4.0) from its public tables to rows.

A table as it was published is no CSV of the usual kind: fields are split at every comma, quotation marks mean nothing,
and a comma of the text is written `_comma_`. One that pandas or a spreadsheet saved is a CSV (facebookresearch/
EmpatheticDialogues#40); its lines cannot be split at every comma, which tells the two apart. Every turn of the listener
becomes a row: the turns before it are the dialogue, its target is the emotion and the response, a line each. The
speaker's description of the situation stays outside the dialogue (`situation`), since it gives the emotion away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from affectgpt.clip import Clip
from affectgpt.encoding import decode
from affectgpt.evidence.dialogue import EMOTIONS
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten
from affectgpt.tables import read_table

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
    """Read the lines of a table, as it was published or as pandas saved it.

    Raises:
        InputError: with every line that has too few fields, an unknown emotion, no words or no number.
    """
    path = require_file(path, "a table of EmpatheticDialogues", "It is in empatheticdialogues.tar.gz.")
    text = decode(path.read_bytes(), path, "a table")
    if isinstance(text, Problem):
        raise InputError(text)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    lines = [(number, line.removesuffix("\r").split(",")) for number, line in enumerate(text.split("\n"), start=1)]
    lines = [(number, fields) for number, fields in lines if fields != [""]]
    header = [name.strip('"') for name in lines[0][1]] if lines else []
    if len(header) == 1 and all(name in header[0] for name in _FIELDS):
        raise InputError(read_table(path, _FIELDS)[1])
    turns, problems = _read([(n, fields) for n, fields in lines if tuple(fields[: len(_FIELDS)]) != _FIELDS], path)
    if {*_FIELDS} <= {*header} and (problems or any(_is_quoted(field) for _, fields in lines for field in fields)):
        rows, open_cells = read_table(path, _FIELDS)
        saved, others = _read([(line, [cells[name] for name in _FIELDS]) for line, cells in rows], path)
        others = [*open_cells, *others]
        if not others or (len(saved) > len(turns) and len(others) < len(problems)):
            turns, problems = saved, others
    if not turns and not problems:
        problems.append(Problem(str(path), "the file", "at least one turn", "none"))
    if problems:
        raise InputError(problems)
    return turns


def _is_quoted(field: str) -> bool:
    """Tell whether a field is in quotation marks and has doubled ones inside, as a CSV alone has."""
    return len(field) > 3 and field[0] == field[-1] == '"' and '""' in field[1:-1]


def _read(lines: list[tuple[int, list[str]]], path: Path) -> tuple[list[Turn], list[Problem]]:
    read = [_turn(path, number, fields) for number, fields in lines]
    return [item for item in read if isinstance(item, Turn)], [item for item in read if isinstance(item, Problem)]


def _turn(path: Path, number: int, fields: list[str]) -> Turn | Problem:
    """Return the turn that the fields of a line make, or the problem with them."""
    if len(fields) < len(_FIELDS):
        got = f"{len(fields)}: {shorten(','.join(fields))}"
        return Problem(str(path), f"line {number}", f"at least {len(_FIELDS)} fields", got)
    conversation, turn, emotion, situation, speaker, text = (field.strip() for field in fields[: len(_FIELDS)])
    ratings = fields[len(_FIELDS)] if len(fields) > len(_FIELDS) else ""
    text, situation = text.replace(_COMMA, ",").strip(), situation.replace(_COMMA, ",").strip()
    if emotion not in EMOTIONS:
        fix = nearest(emotion, EMOTIONS)
        return Problem(str(path), f"line {number}, 'context'", "an emotion", shorten(emotion), fix)
    fix = "Is a comma of the text before it not written _comma_?"
    if not _is_number(speaker):
        return Problem(str(path), f"line {number}, 'speaker_idx'", "a number", shorten(speaker), fix)
    if any(sign.isalpha() for sign in ratings):
        return Problem(str(path), f"line {number}, 'selfeval'", "ratings such as 5|5|5_2|2|5", shorten(ratings), fix)
    if not _is_number(turn) or not text:
        return Problem(
            str(path), f"line {number}, 'utterance'", "a number from 1 and words", shorten(f"{turn}, {text}")
        )
    return Turn(number, conversation, int(turn), emotion, situation, text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def whole_conversations(turns: list[Turn]) -> tuple[list[list[Turn]], int]:
    """Return the conversations in the order of the table, each up to its first gap, and how many turns follow a gap.

    A turn that stands in the table twice, word for word, is one.
    """
    spoken: dict[str, list[Turn]] = {}
    for turn in turns:
        spoken.setdefault(turn.conversation, []).append(turn)
    whole, different = [], 0
    for found in spoken.values():
        distinct = {(turn.number, turn.text, turn.emotion): turn for turn in reversed(found)}
        different += len(distinct)
        ordered = sorted(distinct.values(), key=lambda turn: (turn.number, turn.line))
        in_order = takewhile(lambda pair: pair[0] == pair[1].number, enumerate(ordered, start=1))
        whole.append([turn for _, turn in in_order])
    return whole, different - sum(map(len, whole))


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
