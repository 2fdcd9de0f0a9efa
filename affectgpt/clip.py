"""A row of data: one clip, a conversation about it if its task has one, and what the answer is compared with.

Rows live in JSONL files, one object a line; `docs/data.md` describes every field. `read_clips` is the only parser:
training, evaluation and `affectgpt data check` all call it, so they refuse the same rows in the same words.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from affectgpt.encoding import half_characters
from affectgpt.json_files import iterate_json
from affectgpt.media.media import DECODED, MEDIA
from affectgpt.media.recording import Recording
from affectgpt.media_root import check_command, media_folder, path_below, where_it_is
from affectgpt.problems import MOST, InputError, Problem, nearest, require_file, shorten
from affectgpt.tasks import ANSWER_TYPES, LEVELS, TASKS, Task, is_label_list, is_number

MEDIA_FIELDS = tuple(MEDIA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """One row. Media paths are absolute once parsed; `None` means that the row has no such modality.

    `audio` is None where the video's own track is to be used; a row without media that models take is text only.
    """

    id: str
    messages: list[dict[str, str]] = field(default_factory=list)
    """The conversation; empty where the task needs none, see `AnswerType.spoken`."""
    task: str
    answer: Any = None
    video: Path | None = None
    audio: Path | None = None
    face: Path | None = None
    image: Path | None = None
    signal: Path | None = None
    signal_rate: float | None = None
    """Samples per second of a signal in an .npy file; other formats record it themselves."""
    signal_channels: list[str] | None = None
    """Names of the signal's channels, likewise."""
    has_sound: bool = True
    """False where the row declares that its video has no sound; in a file, `"audio": false`."""
    start: float | None = None
    end: float | None = None
    subtitle: str | None = None
    level: str | None = None
    options: list[str] | None = None
    group: str | None = None
    evidence: dict[str, Any] | None = None
    situation: str | None = None
    """Description written apart from the dialogue; it may give the answer away."""
    source: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    """Values that an importer or a generator keeps; nothing in the project depends on them."""
    line: int = 0
    """Line of the file it came from, from 1."""

    @property
    def prompt(self) -> list[dict[str, str]]:
        """The conversation without its last turn; empty where there is none."""
        return self.messages[:-1]

    @property
    def question(self) -> str:
        """The last turn of the user: what was asked."""
        return next((turn["content"] for turn in reversed(self.prompt) if turn["role"] == "user"), "")

    @property
    def target(self) -> str:
        """The last turn: the text that the model learns to write.

        Raises:
            InputError: the row has no conversation.
        """
        require_conversations([self])
        return self.messages[-1]["content"]

    @property
    def has_media(self) -> bool:
        """Whether there is anything to look at or listen to; a signal is neither."""
        return any(getattr(self, name) is not None for name in DECODED)

    @property
    def recording(self) -> Recording | None:
        """Its signal, to be read by `affectgpt.media.signals.read_signal`; None where it has none."""
        if self.signal is None:
            return None
        channels = None if self.signal_channels is None else tuple(self.signal_channels)
        return Recording(self.signal, self.signal_rate, channels, self.start, self.end)

    def to_json(self, folder: Path | None = None) -> dict[str, Any]:
        """Return the row as JSON, unset fields left out, media paths relative to `folder`."""
        row: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name == "has_sound":
                row |= {} if value else {"audio": False}
            if value is None or value == {} or item.name in _NOT_WRITTEN or (item.name == "messages" and not value):
                continue
            if isinstance(value, Path):
                below = path_below(value, folder) or Path(os.path.relpath(value, folder)) if folder else value
                value = below.as_posix()
            row[item.name] = value
        return row


_NOT_WRITTEN = ("line", "has_sound")
_ABSENT = ", which is not there"
_LOOKED, _OUTSIDE = "Looked in", "Move the file there"
"""Beginnings of the advice on a file that is nowhere below the root, however its name is spelt."""
_FEW_LOST = 3
"""Number of lost media of a file, all of its media, up to which each is named; of more the media root is doubted."""
FIELDS = tuple(item.name for item in fields(Clip) if item.name not in _NOT_WRITTEN)


def require_conversations(clips: Iterable[Clip]) -> None:
    """Refuse rows that have nothing to ask or to answer.

    Raises:
        InputError: names every row without a conversation, and its task.
    """
    problems = [
        f"row {clip.id}: expected a conversation, got none, its task is '{clip.task}'"
        for clip in clips
        if not clip.messages
    ]
    if problems:
        raise InputError(problems, advice="Such rows ask a language model nothing. Leave them out.")


def clip_key(clip: Clip) -> tuple[object, ...] | None:
    """Return what rows about the same clip share, its files and its span; None for a row of words alone."""
    files = tuple(getattr(clip, name) for name in MEDIA_FIELDS)
    return (*files, clip.start, clip.end) if any(files) else None


def count_clips(rows: Iterable[Clip]) -> int:
    """Count the different clips that rows are about: several questions about one are one clip, words alone are none."""
    return len({clip_key(row) for row in rows} - {None})


def write_clips(path: Path, clips: Iterable[Clip], root: Path | None = None) -> None:
    """Write rows to a JSONL file, whole or not at all; media paths are relative to `root`, by default its folder.

    Raises:
        InputError: a text or a path of a row holds half a character, which no file in UTF-8 can hold.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    root = root or media_folder(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with draft.open("w", encoding="utf-8") as file:
            for clip in clips:
                row = clip.to_json(root)
                try:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                except UnicodeEncodeError:
                    fields = ", ".join(half_characters(row))
                    where, got = f"row {clip.id!a}", f"half of one, or a byte that is not UTF-8, in {fields}"
                    raise InputError(Problem(str(path), where, "whole characters", got)) from None
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def media_outside(clips: Iterable[Clip], out: Path, root: Path) -> Problem | None:
    """Return the problem of rows in `out` whose media lie outside `root`, the folder of relative paths; else None."""
    media = (getattr(clip, name) for clip in clips for name in MEDIA_FIELDS)
    outside = {path for path in media if path is not None and path_below(path, root) is None}
    if not outside:
        return None
    got = f"{len(outside)} elsewhere, such as {min(outside)}"
    fix = "Name a folder that holds them all with --media-root, or write the row file to one."
    return Problem(str(out), "its media", f"files below {root}", got, fix)


def scan_clips(path: str | Path, media_root: str | Path | None = None) -> tuple[list[Clip], list[Problem]]:
    """Parse a row file; return the valid rows and every problem of the others.

    Args:
        path: the JSONL file.
        media_root: folder that media paths are relative to and may not leave; the file's own folder by default.

    Raises:
        InputError: `path` is not a file, or `media_root` not a folder.
    """
    path = require_file(path, "a row file", "Make one with 'affectgpt data synthetic' or 'affectgpt data from-csv'.")
    root = media_folder(path, media_root, is_read=True)
    clips: list[Clip] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    lost: list[Problem] = []
    kept = 0
    for number, row in iterate_json(path):
        if isinstance(row, Problem):
            problems.append(row)
            continue
        checker = _RowChecker(str(path), number, root, looks=len(lost) < MOST)
        clip = checker.parse(row)
        identifier = row.get("id")
        if isinstance(identifier, str):
            if identifier in seen:
                checker.add("id", "a name used once", f"{identifier!r}, also in row {seen[identifier]}")
            seen.setdefault(identifier, number)
        lost += checker.lost
        kept += checker.kept
        if checker.problems:
            problems += checker.problems
        elif clip is not None:
            clips.append(clip)
    if not clips and not problems:
        problems.append(Problem(str(path), "the file", "at least one row", "none"))
    if len(lost) > _FEW_LOST and not kept:
        rows = {id(problem) for problem in lost}
        problems = [_wrong_root(path, root, lost), *(item for item in problems if id(item) not in rows)]
    return clips, problems


def _wrong_root(path: Path, root: Path, lost: Sequence[Problem]) -> Problem:
    """Return the one problem of a file none of whose media are below the root."""
    got = f"none of the {len(lost)} files named, such as {lost[0].got.removesuffix(_ABSENT)} ({lost[0].where})"
    fix = "Name the folder that their paths are relative to: --media-root, or data.media_root of a recipe."
    if not lost[0].fix.startswith((_LOOKED, _OUTSIDE)):
        fix = f"{lost[0].fix} {fix}"
    return Problem(str(path), "its media", f"files below {root}", got, fix)


def read_clips(path: str | Path, media_root: str | Path | None = None) -> list[Clip]:
    """Read the rows of a file, all of which must be valid.

    Raises:
        InputError: with every problem of every row.
    """
    clips, problems = scan_clips(path, media_root)
    if problems:
        raise InputError(problems, advice=f"List them again with: {check_command(Path(path), media_root)}")
    return clips


class _RowChecker:
    """Checker of one row's fields; collects every problem."""

    def __init__(self, file: str, number: int, root: Path, looks: bool) -> None:
        self.file, self.number, self.root, self.looks = file, number, root, looks
        self.problems: list[Problem] = []
        self.lost: list[Problem] = []
        """Problems of media that are not below the root."""
        self.kept = 0
        """Number of media that are."""

    def add(self, name: str, expected: str, got: str, fix: str = "") -> None:
        self.problems.append(Problem(self.file, f"row {self.number}, field '{name}'", expected, got, fix))

    def parse(self, row: dict[str, Any]) -> Clip | None:
        for name in row:
            if name not in FIELDS:
                self.add(name, "a known field", "an unknown one", nearest(name, FIELDS))
        if not (isinstance(row.get("id"), str) and row["id"]):
            self.add("id", "a non-empty string", self._got(row, "id"))
        for name in ("subtitle", "group", "situation", "source"):
            if not isinstance(row.get(name), str | None):
                self.add(name, "a string", self._got(row, name))
        for name in ("evidence", "extra"):
            if not isinstance(row.get(name), dict | None):
                self.add(name, "an object", self._got(row, name))
        self._choice(row, "task", TASKS, required=True)
        self._choice(row, "level", LEVELS)
        self._span(row)
        task = TASKS.get(row["task"]) if isinstance(row.get("task"), str) else None
        if row.get("messages") is not None or task is None or ANSWER_TYPES[task.answer].spoken:
            self._messages(row)
        self._answer(row, task)
        has_sound = self._has_sound(row)
        media = {name: self._media(row, name) for name in MEDIA_FIELDS if has_sound or name != "audio"}
        self._signal(row)
        if row.get("image") is not None and row.get("video") is not None:
            self.add("image", "a picture or a video", "both", "Leave one out; sound may stand beside a picture.")
        if task is not None and task.answer == "none" and not any(row.get(name) for name in MEDIA_FIELDS):
            self.add("task", f"a row with media (task '{row['task']}')", "none of them")
        if self.problems:
            return None
        given = {name: value for name, value in row.items() if value is not None and name != "audio"}
        return Clip(**{**given, **media}, has_sound=has_sound, line=self.number)

    @staticmethod
    def _got(row: dict[str, Any], name: str) -> str:
        return shorten(row[name]) if name in row else "nothing"

    def _choice(self, row: dict[str, Any], name: str, known: Iterable[str], required: bool = False) -> None:
        value = row.get(name)
        if value is None and not required:
            return
        if not isinstance(value, str) or value not in known:
            self.add(name, f"one of {', '.join(known)}", self._got(row, name), nearest(value, known))

    def _span(self, row: dict[str, Any]) -> None:
        for name in ("start", "end"):
            value = row.get(name)
            if value is not None and not (is_number(value) and value >= 0):
                self.add(name, "seconds, 0 or more", self._got(row, name))
                return
        if row.get("end") is not None and row["end"] <= (row.get("start") or 0.0):
            self.add("end", f"more than start ({row.get('start') or 0.0} s)", self._got(row, "end"))

    def _messages(self, row: dict[str, Any]) -> None:
        messages = row.get("messages")
        if not isinstance(messages, list) or len(messages) < 2:
            self.add("messages", "a list of at least two chat turns", self._got(row, "messages"))
            return
        for index, turn in enumerate(messages):
            well_formed = isinstance(turn, dict) and set(turn) == {"role", "content"}
            if not well_formed or turn["role"] not in ("system", "user", "assistant"):
                self.add(f"messages[{index}]", "{'role': system | user | assistant, 'content': text}", shorten(turn))
            elif not isinstance(turn["content"], str) or not turn["content"].strip():
                self.add(f"messages[{index}].content", "a non-empty string", shorten(turn["content"]))
        last = messages[-1]
        if isinstance(last, dict) and last.get("role") in ("system", "user"):
            self.add(f"messages[{len(messages) - 1}].role", "'assistant': the last turn is the target", last["role"])

    def _answer(self, row: dict[str, Any], task: Task | None) -> None:
        options = row.get("options")
        if options is not None and not (is_label_list(options) and len(options) > 1):
            self.add("options", "a list of at least two distinct strings", self._got(row, "options"))
            options = None
        if task is None or (row["task"] == "text" and row.get("answer") is None):
            return
        answer: Any = row.get("answer")
        form = ANSWER_TYPES[task.answer]
        if not form.accepts(answer):
            self.add("answer", f"{form.expected} (task '{row['task']}')", self._got(row, "answer"))
        elif options and task.answer in ("label", "labels"):
            for label in [answer] if task.answer == "label" else answer:
                if label not in options:
                    self.add("answer", f"one of its options: {', '.join(options)}", label, nearest(label, options))

    def _has_sound(self, row: dict[str, Any]) -> bool:
        """Return False if the row says `"audio": false`, else True."""
        if row.get("audio") is not False:
            return True
        if row.get("video") is None:
            self.add("audio", "a path, or false beside a video that has no sound", "false without a video")
        return False

    def _signal(self, row: dict[str, Any]) -> None:
        """Check the fields of a signal: the rate and channels of an .npy file, which does not record them itself."""
        rate, channels, path = row.get("signal_rate"), row.get("signal_channels"), row.get("signal")
        if rate is not None and not (is_number(rate) and rate > 0):
            self.add("signal_rate", "samples per second, more than 0", self._got(row, "signal_rate"))
        if channels is not None and not is_label_list(channels):
            self.add("signal_channels", "a list of distinct names", self._got(row, "signal_channels"))
        is_array = isinstance(path, str) and path.lower().endswith(".npy")
        for name, value in (("signal_rate", rate), ("signal_channels", channels)):
            if is_array and value is None:
                self.add(name, "what an .npy file does not tell", "nothing")
            elif value is not None and not is_array:
                got = "one without a signal" if path is None else f"one beside {shorten(path)}, which tells its own"
                self.add(name, "one for a signal in an .npy file", got, "Leave it out.")

    def _media(self, row: dict[str, Any], name: str) -> Path | None:
        value = row.get(name)
        if value is None:
            return None
        if not isinstance(value, str) or not value:
            expected = "a path, or false for a video without sound" if name == "audio" else "a path"
            self.add(name, expected, self._got(row, name))
            return None
        path = Path(os.path.normpath(self.root / value))
        if Path(value).is_absolute() or not path.is_relative_to(self.root):
            below = path_below(path, self.root)
            fix = f"{_OUTSIDE}, or name its folder: --media-root, or data.media_root of a recipe."
            if below is not None:
                fix = f"Write {below.as_posix()}."
            self.add(name, f"a path inside {self.root}", value, fix)
            self.lost.append(self.problems[-1])
        elif not os.path.isfile(path):  # Path.is_file raises on names that are too long
            fix = where_it_is(self.root, value, path, looks=self.looks)
            self.add(name, "a file", f"{value}{_ABSENT}", fix)
            self.lost.append(self.problems[-1])
        elif not path.resolve().is_relative_to(self.root.resolve()):
            self.add(name, f"a path inside {self.root}", f"{value}, a link that leaves it", "Copy the file there.")
        elif (medium := MEDIA[name]).only and not path.name.lower().endswith(medium.suffixes):
            self.add(name, medium.only, value)
        else:
            self.kept += 1
        return path
