"""Contents of a row file: rows by task and label, groups, media, seconds of sound and pictures."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affectgpt.clip import MEDIA_FIELDS, Clip
from affectgpt.features.sources import media_of, rows_by_media
from affectgpt.problems import LONGEST, presentable
from affectgpt.tasks import TASKS
from data_recipes.check.measure import Measured, MeasuredMedia

_MOST_NAMES = 12
"""Number of labels that a line of text lists; it counts the rest."""
_WIDTH = 110


def labels_of(clip: Clip) -> list[str]:
    """Return the labels in a row's answer; none where its task asks for something else."""
    kind = TASKS[clip.task].answer
    if kind == "label":
        return [clip.answer]
    return list(clip.answer) if kind in ("labels", "intensities", "distribution") else []


@dataclass(frozen=True, slots=True)
class Length:
    """Seconds of the clips that have a stream."""

    clips: int
    seconds: float
    shortest: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Length | None:
        """Return the lengths of some clips in sum; None where there are none."""
        return cls(len(seconds), sum(seconds), min(seconds), max(seconds)) if seconds else None

    def to_json(self) -> dict[str, float]:
        """Return the numbers by name, in seconds, rounded to milliseconds."""
        return {
            "clips": self.clips,
            "seconds": round(self.seconds, 3),
            "shortest": round(self.shortest, 3),
            "longest": round(self.longest, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """Contents of one row file, of its valid rows alone."""

    file: str
    rows: int
    clips: int
    """Number of different clips that the rows are about."""
    tasks: dict[str, int]
    labels: dict[str, dict[str, int]]
    """Task -> label -> rows whose answer has it, the most frequent first."""
    unused_options: dict[str, list[str]]
    """Task -> labels that rows offer and that no row has."""
    option_sets: dict[str, int]
    """Task -> number of different closed sets."""
    numbers: dict[str, tuple[float, float, float]]
    """Task -> lowest, mean and highest of answers that are numbers."""
    groups: tuple[int, ...]
    """Numbers of rows of each group, in rising order."""
    ungrouped: int
    media: dict[str, int]
    """Medium -> rows that name it."""
    subtitles: int
    evidence: dict[str, int]
    """Name of evidence -> rows that carry it."""
    sound: Length | None = None
    """Length of the sound that was decoded."""
    video: Length | None = None
    """Length of the videos that were decoded."""

    def to_json(self) -> dict[str, Any]:
        """Return the contents as JSON."""
        return {
            "file": self.file,
            "rows": self.rows,
            "clips": self.clips,
            "tasks": self.tasks,
            "labels": self.labels,
            "unused_options": self.unused_options,
            "option_sets": self.option_sets,
            "numbers": {
                task: dict(zip(("lowest", "mean", "highest"), numbers, strict=True))
                for task, numbers in self.numbers.items()
            },
            "groups": {
                "count": len(self.groups),
                "fewest_rows": self.groups[0] if self.groups else None,
                "most_rows": self.groups[-1] if self.groups else None,
                "rows_without": self.ungrouped,
            },
            "media": self.media,
            "subtitles": self.subtitles,
            "evidence": self.evidence,
            "sound": None if self.sound is None else self.sound.to_json(),
            "video": None if self.video is None else self.video.to_json(),
        }

    def describe(self) -> str:
        """Write the contents as a few lines of text."""
        if not self.rows:
            return presentable(f"{self.file}: no valid rows", LONGEST)
        about = f" about {counted(self.clips, 'clip')}" if self.clips else ""
        lines = [presentable(f"{self.file}: {counted(self.rows, 'row')}{about}", LONGEST)]
        lines += _lines("tasks", _counts(self.tasks.items()))
        for task, counts in self.labels.items():
            unused = self.unused_options.get(task, [])
            never = f"; never: {_some(unused)}" if unused else ""
            sets = f"; {self.option_sets[task]} different sets of options" if self.option_sets.get(task, 0) > 1 else ""
            lines += _lines("labels", f"{task}: {_counts(counts.items())}{never}{sets}")
        for task, (low, mean, high) in self.numbers.items():
            lines += _lines("numbers", f"{task}: {low:g} to {high:g}, mean {mean:.3g}")
        if self.groups:
            sizes = (
                f"{self.groups[0]} to {self.groups[-1]}" if self.groups[0] < self.groups[-1] else f"{self.groups[0]}"
            )
            without = f"; {self.ungrouped} rows without one" if self.ungrouped else ""
            lines += _lines("groups", f"{len(self.groups)}, of {sizes} rows{without}")
        else:
            lines += _lines("groups", "none; every row counts as a person of its own")
        beside = {**self.media, "subtitle": self.subtitles, **{f"evidence {k}": n for k, n in self.evidence.items()}}
        lines += _lines("with", _counts((name, count) for name, count in beside.items() if count) or "text alone")
        for name, length in (("sound", self.sound), ("video", self.video)):
            if length is not None:
                each = f"{length.shortest:.2f} to {length.longest:.2f} s each"
                lines += _lines(name, f"{_duration(length.seconds)} in {counted(length.clips, 'clip')}, {each}")
        return "\n".join(lines)


def contents_of(path: Path, clips: Sequence[Clip], measured: MeasuredMedia) -> Contents:
    """Count what is in the rows of a file.

    Args:
        measured: measurements of the media that were decoded; the lengths are theirs.
    """
    tasks = dict(Counter(clip.task for clip in clips).most_common())
    labels: dict[str, Counter[str]] = {}
    offered: dict[str, set[tuple[str, ...]]] = {}
    numbers: dict[str, list[float]] = {}
    for clip in clips:
        if named := labels_of(clip):
            labels.setdefault(clip.task, Counter()).update(named)
            offered.setdefault(clip.task, set()).add(tuple(sorted(clip.options or ())))
        if TASKS[clip.task].answer == "number":
            numbers.setdefault(clip.task, []).append(float(clip.answer))
    unused = {
        task: sorted({label for names in sets for label in names} - {*labels[task]}) for task, sets in offered.items()
    }
    lengths = [measured[media] for media in rows_by_media(clips) if media in measured]
    return Contents(
        file=str(path),
        rows=len(clips),
        clips=len({media for clip in clips if (media := media_of(clip)) is not None}),
        tasks=tasks,
        labels={task: dict(counts.most_common()) for task, counts in labels.items()},
        unused_options={task: names for task, names in unused.items() if names},
        option_sets={task: len(sets) for task, sets in offered.items()},
        numbers={task: (min(values), sum(values) / len(values), max(values)) for task, values in numbers.items()},
        groups=tuple(sorted(Counter(clip.group for clip in clips if clip.group).values())),
        ungrouped=sum(not clip.group for clip in clips),
        media={name: count for name in MEDIA_FIELDS if (count := sum(getattr(c, name) is not None for c in clips))},
        subtitles=sum(bool(clip.subtitle) for clip in clips),
        evidence=dict(Counter(kind for clip in clips for kind in clip.evidence or ())),
        sound=_length(lengths, "sound_s"),
        video=_length(lengths, "video_s"),
    )


def counted(count: int, noun: str) -> str:
    """Write a number with its noun."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _length(measured: Sequence[Measured], name: str) -> Length | None:
    return Length.of([seconds for item in measured if (seconds := getattr(item, name)) is not None])


def _lines(name: str, text: str) -> list[str]:
    text = presentable(text, LONGEST)
    return textwrap.wrap(text, _WIDTH, initial_indent=f"  {name:8} ", subsequent_indent=" " * 11)


def _counts(counts: Iterable[tuple[str, int]]) -> str:
    return _some([f"{name} {count}" for name, count in counts])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + more


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
