"""Warnings about rows that are valid and may yet be wrong. They refuse nothing."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectgpt.clip import MEDIA_FIELDS, Clip
from affectgpt.emotions.lemmas import tidy
from affectgpt.features.sources import media_of, rows_by_media
from affectgpt.problems import LONGEST, nearest, presentable, shorten
from affectgpt.tables import is_missing
from affectgpt.tasks import TASKS
from data_recipes.check.contents import counted, labels_of
from data_recipes.check.measure import MeasuredMedia

EXAMPLES = 3
"""Number of rows that a warning names; it counts the rest."""
_FEW_ROWS, _OFTEN = 10, 5
"""Rows of a task, and rows for each label on average, from which on a label is expected more than once."""
_BEYOND_S = 1.0
"""Seconds by which `end` may lie behind the end of a file, as rounded times do."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LIKE_UTF_8 = re.compile(r"[\xc2-\xf4\u0192\u02c6][\u0080-\uffff]+")


@dataclass(frozen=True, slots=True)
class Example:
    """Row that a warning is about, and what stands in it."""

    file: str
    row: int
    id: str
    detail: str

    def to_json(self) -> dict[str, Any]:
        """Return the example as JSON."""
        detail = presentable(self.detail, LONGEST)
        return {"file": self.file, "row": self.row, "id": presentable(self.id, LONGEST), "detail": detail}


@dataclass(slots=True)
class Warning:
    """Warning about some rows: its name, what is meant in words, and the rows."""

    kind: str
    meaning: str
    count: int = 0
    examples: list[Example] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the warning as JSON."""
        examples = [example.to_json() for example in self.examples]
        return {"kind": self.kind, "meaning": self.meaning, "count": self.count, "examples": examples}

    def describe(self, with_files: bool) -> str:
        """Write the warning as one line for each example, below one of its own.

        Args:
            with_files: whether the rows of several files were checked, so that examples name theirs.
        """
        lines = [f"  {self.kind}, {counted(self.count, 'row')}: {self.meaning}"]
        for example in self.examples:
            file = f"{example.file} " if with_files else ""
            lines.append(presentable(f"    {file}row {example.row} ({example.id}): {example.detail}", LONGEST))
        return "\n".join(lines)


MEANINGS = {
    "missing_value": "a text that usually stands for a missing value; leave the field or the row out",
    "label_spelling": "a label that other rows spell otherwise; each spelling is a class of its own",
    "group_spelling": "a group that other rows spell otherwise; each spelling is a person of its own",
    "rare_label": "a label that no other row of the task has",
    "control_character": "characters that no text has; often of a table in Windows-1252 that was read as Latin-1",
    "garbled_text": "text that was read in the wrong encoding",
    "told_label": "the subtitle is the label, so that nothing else need be looked at",
    "repeated_row": "the same question about the same clip or text, with the same answer, in a row before",
    "contradiction": "the same question about the same clip or text, with another label, in a row before",
    "shared_clip": "a media file that rows of another file use too; what is trained on must not be tested on",
    "shared_group": "a group that rows of another file belong to too; people who are trained on must not be tested on",
    "no_sound_track": 'a video without sound; say so in the row: "audio": false',
    "silence": "sound that is digital silence throughout",
    "blank_picture": "pictures of one colour throughout",
    "still_video": "a video whose picture never changes",
    "end_behind_file": "'end' far behind the end of the file; times are seconds",
}
"""Kind of a warning -> what it means, and what to do."""

_Found = Iterator[tuple[str, Clip, str]]
"""Kind, row and detail of what a check found."""
_Check = Callable[[Sequence[Clip], Sequence[Clip]], _Found]
"""Check of the rows of a file, given those of all files."""


def warnings_of(files: Sequence[tuple[Path, Sequence[Clip]]], measured: Sequence[MeasuredMedia]) -> list[Warning]:
    """Return the warnings about the rows of some files, in the order of `MEANINGS`.

    Args:
        files: each file with its valid rows. Spellings and rows are compared across all of them.
        measured: measurements of the media of each file, as far as they were decoded.
    """
    warnings = {kind: Warning(kind, meaning) for kind, meaning in MEANINGS.items()}
    everything = [clip for _, clips in files for clip in clips]
    for (path, clips), lengths in zip(files, measured, strict=True):
        named: set[tuple[str, str]] = set()
        for found in (*(check(clips, everything) for check in _CHECKS), _media(clips, lengths)):
            for kind, clip, detail in found:
                if (kind, clip.id) not in named:
                    named.add((kind, clip.id))
                    _add(warnings[kind], path, clip, detail)
    for kind, path, clip, detail in _shared(files):
        _add(warnings[kind], path, clip, detail)
    return [warning for warning in warnings.values() if warning.count]


def _add(warning: Warning, path: Path, clip: Clip, detail: str) -> None:
    """Count a row, and keep it as an example while there are few."""
    warning.count += 1
    if len(warning.examples) < EXAMPLES:
        warning.examples.append(Example(str(path), clip.line, clip.id, detail))


def _texts(clips: Sequence[Clip], everything: Sequence[Clip]) -> _Found:
    for clip in clips:
        labels = labels_of(clip)
        for name, text in [
            *(("answer", label) for label in labels),
            ("subtitle", clip.subtitle),
            ("group", clip.group),
        ]:
            if text is not None and _is_missing(text, clip):
                yield "missing_value", clip, f"{name} {text!r}"
        if clip.subtitle and tidy(clip.subtitle) in map(tidy, labels):
            yield "told_label", clip, f"subtitle {shorten(clip.subtitle)}"
        for name, text in _written(clip):
            if odd := _CONTROLS.search(text):
                yield "control_character", clip, f"{name}: {_control(odd[0])} in {_around(text, odd)}"
            if (mended := _mended(text)) is not None:
                yield "garbled_text", clip, f"{name}: {mended}"


def _is_missing(text: str, clip: Clip) -> bool:
    """Tell whether a text stands for a missing value; 'none' is an answer where an attribute is asked for."""
    none = text.strip().casefold() == "none"
    return bool(text.strip()) and is_missing(text) and not (none and TASKS[clip.task].level == "attribute")


def _written(clip: Clip) -> Iterator[tuple[str, str]]:
    """Yield every text of a row with the name of its field."""
    for index, turn in enumerate(clip.messages):
        yield f"messages[{index}]", turn["content"]
    answers = labels_of(clip) or ([clip.answer] if isinstance(clip.answer, str) else [])
    for name, texts in (("answer", answers), ("options", clip.options or [])):
        yield from ((name, text) for text in texts)
    for name in ("subtitle", "group", "situation"):
        if text := getattr(clip, name):
            yield name, text


def _control(sign: str) -> str:
    meant = bytes([ord(sign)]).decode("cp1252", errors="ignore") if "\x80" <= sign <= "\x9f" else ""
    return f"U+{ord(sign):04X}{f' ({meant} in Windows-1252)' if meant else ''}"


def _around(text: str, odd: re.Match[str]) -> str:
    return shorten(text[max(0, odd.start() - 15) : odd.end() + 15])


def _mended(text: str) -> str | None:
    """Return what a text that was decoded wrongly meant, in words; None if nothing shows that it was."""
    if "\ufffd" in text:
        at = text.index("\ufffd")
        return f"U+FFFD, a character that was lost, in {shorten(text[max(0, at - 15) : at + 15])}"
    odd = _LIKE_UTF_8.search(text)
    if odd is None:
        return None
    for encoding in ("cp1252", "latin-1"):
        try:
            return f"{_around(text, odd)}, probably {shorten(text.encode(encoding).decode('utf-8'))}"
        except UnicodeError:
            continue
    return None


def _spelling_key(name: str) -> str:
    """Return what all spellings have in common that evaluators take for one name."""
    shown = "".join(sign for sign in name if unicodedata.category(sign) != "Cf")
    return tidy(shown.replace("-", " ")) or name


def _spellings(kind: str, names: Callable[[Clip], list[str]]) -> _Check:
    """Return a check for names that are spelt otherwise than most rows spell them."""

    def check(clips: Sequence[Clip], everything: Sequence[Clip]) -> _Found:
        counts: dict[str, Counter[str]] = {}
        for clip in everything:
            for name in names(clip):
                counts.setdefault(_spelling_key(name), Counter())[name] += 1
        for clip in clips:
            for name in names(clip):
                usual = counts[_spelling_key(name)].most_common(1)[0][0]
                if usual != name:
                    yield kind, clip, f"{name!r}, elsewhere {usual!r}"
                elif name != name.strip():
                    yield kind, clip, f"{name!r}, with space around it"

    return check


def _twin_options(clips: Sequence[Clip], everything: Sequence[Clip]) -> _Found:
    for clip in clips:
        spelt: dict[str, list[str]] = {}
        for label in clip.options or ():
            spelt.setdefault(_spelling_key(label), []).append(label)
        for twins in spelt.values():
            if len(twins) > 1:
                yield "label_spelling", clip, f"its options {', '.join(map(repr, twins))}"


def _rare_labels(clips: Sequence[Clip], everything: Sequence[Clip]) -> _Found:
    rows = Counter(clip.task for clip in clips)
    counts: dict[str, Counter[str]] = {}
    for clip in clips:
        counts.setdefault(clip.task, Counter()).update(labels_of(clip))
    for clip in clips:
        # Words that are free to choose are often said once.
        expected = max(_FEW_ROWS, _OFTEN * len(counts[clip.task]))
        if rows[clip.task] < expected or (TASKS[clip.task].answer == "labels" and not clip.options):
            continue
        for label in labels_of(clip):
            if counts[clip.task][label] == 1:
                others = [name for name in counts[clip.task] if name != label]
                close = nearest(label, others)
                yield "rare_label", clip, f"{label!r}. {close}" if close.startswith("Did") else repr(label)


def _repeats(clips: Sequence[Clip], everything: Sequence[Clip]) -> _Found:
    first: dict[object, Clip] = {}
    for clip in clips:
        prompt = tuple((turn["role"], turn["content"]) for turn in clip.prompt)
        asked = (clip.task, media_of(clip), clip.recording, clip.subtitle, clip.situation, prompt)
        before = first.setdefault(asked, clip)
        if before is clip:
            continue
        if (before.answer, before.messages[-1:]) == (clip.answer, clip.messages[-1:]):
            yield "repeated_row", clip, f"as row {before.line} ({before.id})"
        elif TASKS[clip.task].answer == "label" and tidy(before.answer) != tidy(clip.answer):
            yield "contradiction", clip, f"{clip.answer!r}, in row {before.line} ({before.id}) {before.answer!r}"


def _shared(files: Sequence[tuple[Path, Sequence[Clip]]]) -> Iterator[tuple[str, Path, Clip, str]]:
    """Yield the rows whose media files or groups a file before theirs has too."""
    first: dict[object, Path] = {}
    for path, clips in files:
        for clip in clips:
            used = [item for name in MEDIA_FIELDS if (item := getattr(clip, name)) is not None]
            for kind, values in (("shared_clip", used), ("shared_group", [clip.group] if clip.group else [])):
                known = [(value, first.setdefault((kind, value), path)) for value in values]
                also = [(value, before) for value, before in known if before != path]
                if also:
                    yield kind, path, clip, f"{getattr(also[0][0], 'name', also[0][0])}, also in {also[0][1]}"


def _media(clips: Sequence[Clip], measured: MeasuredMedia) -> _Found:
    by_id = {clip.id: clip for clip in clips}
    for media, rows in rows_by_media(clips).items():
        found = measured.get(media)
        if found is None:
            continue
        sound, picture = media.audio or media.video, media.image or media.video or media.face
        for row in rows:
            clip = by_id[row]
            if found.has_no_sound_track:
                yield "no_sound_track", clip, _name(media.video)
            if found.is_silent:
                yield "silence", clip, _name(sound)
            if found.is_one_colour:
                yield "blank_picture", clip, f"{_name(picture)}{', black' if found.is_black else ''}"
            if found.is_still:
                yield "still_video", clip, _name(media.video)
            if media.end is not None and found.file_s is not None and media.end > found.file_s + _BEYOND_S:
                unit = "; milliseconds?" if media.end >= 100 and media.end / 1000 <= found.file_s + _BEYOND_S else ""
                yield "end_behind_file", clip, f"end {media.end:g}, the file ends at {found.file_s:.2f} s{unit}"


def _name(path: Path | None) -> str:
    return "" if path is None else path.name


_CHECKS: tuple[_Check, ...] = (
    _texts,
    _spellings("label_spelling", labels_of),
    _twin_options,
    _spellings("group_spelling", lambda clip: [clip.group] if clip.group else []),
    _rare_labels,
    _repeats,
)
