"""Text that a plugin reads of a row: the turns of a dialogue, or the words said in a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.clip import Clip, read_clips
from affectgpt.emotions.lemmas import tidy
from affectgpt.json_files import iterate_json
from affectgpt.problems import InputError, Problem, nearest, require_file, shorten

EMOTIONS = (
    *("surprised", "excited", "annoyed", "proud", "angry", "sad", "grateful", "lonely", "impressed", "afraid"),
    *("disgusted", "confident", "terrified", "hopeful", "anxious", "disappointed", "joyful", "prepared", "guilty"),
    *("furious", "nostalgic", "jealous", "anticipating", "embarrassed", "content", "devastated", "sentimental"),
    *("caring", "trusting", "ashamed", "apprehensive", "faithful"),
)
"""The 32 emotions of EmpatheticDialogues, in the order of CEM, ESCM and IAMM."""
TASKS = ("dialogue", "emotion_label")
"""Tasks whose answer is the emotion."""
_LABEL = "a label of the plugin"


@dataclass(frozen=True, slots=True)
class Dialogue:
    """Turns of two people; the last turn is by the one whose emotion is asked for."""

    turns: tuple[str, ...]
    emotion: str | None = None
    """Gold emotion of the last speaker; None if unknown."""
    group: str | None = None
    """Name shared by dialogues of one conversation, which training and test data must not share."""


def read_dialogues(path: str | Path, labels: Sequence[str] | None = None) -> list[Dialogue]:
    """Read the dialogues of a JSONL file: `context`, a list of turns, and `emotion`.

    Other keys are ignored. Dialogues that open with the same turn form one group.

    Args:
        labels: the emotions allowed; any, if None.

    Raises:
        InputError: with every problem of every line.
    """
    path = require_file(path, "a file of dialogues", "A line is {'context': [turn, ...], 'emotion': label}.")
    dialogues: list[Dialogue] = []
    problems: list[Problem | str] = []
    for number, row in iterate_json(path):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        place, before = f"row {number}", len(problems)
        context, emotion = row.get("context"), row.get("emotion")
        turns = context if isinstance(context, list) else []
        if not turns or not all(isinstance(turn, str) and turn.strip() for turn in turns):
            expected = "a list of turns, none of them empty"
            problems.append(Problem(str(path), f"{place}, field 'context'", expected, shorten(context)))
        if not isinstance(emotion, str) or not emotion.strip():
            problems.append(Problem(str(path), f"{place}, field 'emotion'", "a label", shorten(emotion)))
        elif labels is not None and tidy(emotion) not in labels:
            fix = nearest(emotion, labels)
            problems.append(Problem(str(path), f"{place}, field 'emotion'", _LABEL, emotion, fix))
        if len(problems) == before:
            assert isinstance(emotion, str)
            dialogues.append(Dialogue(tuple(turns), tidy(emotion), turns[0]))
    if not dialogues and not problems:
        problems.append(Problem(str(path), "the file", "at least one dialogue", "none"))
    if problems:
        raise InputError(problems)
    return dialogues


def rows_with_emotion(
    path: Path, labels: Sequence[str] | None = None, media_root: Path | None = None, tasks: Sequence[str] = TASKS
) -> list[Clip]:
    """Read the rows of a file whose emotion is known: lines of `context` and `emotion`, or rows with words or media.

    Args:
        labels: the emotions allowed; any, if None.
        tasks: tasks of the rows to keep.

    Raises:
        InputError: with every problem of every line, or no row whose emotion is known.
    """
    return known_rows(read_rows(path, labels, media_root), path, tasks, labels)


def known_rows(
    rows: Sequence[Clip], path: Path, tasks: Sequence[str], labels: Sequence[str] | None = None
) -> list[Clip]:
    """Return the rows of some tasks that have words or media.

    Args:
        path: the file that they come from, for messages.
        labels: the labels allowed in their answers; any, if None.

    Raises:
        InputError: labels that are unknown, each with its first row, or no row at all.
    """
    chosen = [row for row in rows if row.task in tasks and (row.has_media or dialogue_of(row) is not None)]
    unknown: dict[str, list[Clip]] = {}
    for row in chosen:
        for label in row.answer if isinstance(row.answer, list | dict) else [row.answer]:
            if labels is not None and isinstance(label, str) and not {label, tidy(label)} & {*labels}:
                unknown.setdefault(label, []).append(row)
    problems: list[Problem | str] = []
    for label, named in unknown.items():
        where = f"row {named[0].line}, 'answer'" + (f", and {len(named) - 1} more" if len(named) > 1 else "")
        problems.append(Problem(str(path), where, _LABEL, label, nearest(label, labels or ())))
    if not chosen:
        expected = f"some of task {' or '.join(tasks)}, with words or media"
        problems.append(Problem(str(path), "its rows", expected, "none"))
    if problems:
        raise InputError(problems)
    return chosen


def read_rows(path: Path, labels: Sequence[str] | None = None, media_root: Path | None = None) -> list[Clip]:
    """Read all rows of a row file; lines of `context` and `emotion` become rows of task `dialogue`.

    Args:
        labels: the emotions allowed in such lines; any, if None.

    Raises:
        InputError: with every problem of every line.
    """
    path = require_file(path, "a file of dialogues", "A line is {'context': [turn, ...], 'emotion': label}.")
    first: dict[str, Any] = next((row for _, row in iterate_json(path) if isinstance(row, dict)), {})
    if {"messages", "task"} & first.keys():
        return read_clips(path, media_root)
    dialogues = read_dialogues(path, labels)
    named = {dialogue.emotion or "" for dialogue in dialogues}
    options = list(EMOTIONS) if named <= {*EMOTIONS} else sorted(named)
    return [_row(index, dialogue, options) for index, dialogue in enumerate(dialogues)]


def _row(index: int, dialogue: Dialogue, options: list[str]) -> Clip:
    """Make a row of a dialogue. Turns of its last speaker are the user's, those of the other person the assistant's."""
    count = len(dialogue.turns)
    roles = ["user" if (count - 1 - turn) % 2 == 0 else "assistant" for turn in range(count)]
    turns = [{"role": role, "content": text} for role, text in zip(roles, dialogue.turns, strict=True)]
    target = {"role": "assistant", "content": f"Emotion: {dialogue.emotion}"}
    return Clip(
        id=f"dialogue-{index}",
        messages=[*turns, target],
        task="dialogue",
        answer=dialogue.emotion,
        options=options if len(options) > 1 else None,
        group=dialogue.group,
    )


def dialogue_of(clip: Clip) -> Dialogue | None:
    """Return what people say in a row: the turns of a dialogue, or the subtitle of a clip; None where there is neither.

    The question that a row asks about a clip is not part of it.
    """
    if clip.task == "dialogue":
        turns = tuple(turn["content"] for turn in clip.prompt if turn["role"] != "system")
        return Dialogue(turns, clip.answer, clip.group or turns[0]) if turns else None
    words = (clip.subtitle or "").strip()
    emotion = clip.answer if clip.task == "emotion_label" else None
    return Dialogue((words,), emotion, clip.group) if words else None


def known_emotions(clips: Sequence[Clip], plugin: str) -> tuple[list[Dialogue], list[str], list[int]]:
    """Return a plugin's training data: dialogues with a known emotion, the sorted labels, each dialogue's label index.
    Raises:
        InputError: fewer than two emotions; names the plugin.
    """
    dialogues = [known for clip in clips if (known := dialogue_of(clip)) is not None and known.emotion]
    emotions = [tidy(known.emotion or "") for known in dialogues]
    labels = sorted(set(emotions))
    if len(labels) < 2:
        raise InputError(f"{plugin} plugin: expected rows of two emotions or more, got {len(labels)}")
    return dialogues, labels, [labels.index(emotion) for emotion in emotions]
