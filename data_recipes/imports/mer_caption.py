"""Importer of MER-Caption, AffectGPT's training data."""

from __future__ import annotations

from pathlib import Path

from affectgpt.clip import Clip
from affectgpt.problems import InputError, Problem, require_file, shorten
from affectgpt.tasks import TASKS
from data_recipes.imports.label_lists import read_labels
from data_recipes.imports.tables import conversation, read_column


def from_mer_caption(folder: str | Path, name: str = "mercaptionplus") -> list[Clip]:
    """Read the training set of MER2025: an `emotion_open` row for each clip, and a `caption` row if it has a reason.

    Args:
        folder: holds track2_train_NAME.csv (name, openset); and, if they are there, track3_train_NAME.csv (name,
            reason), subtitle_chieng.csv (name, english), audio/ and openface_face/. Videos are video/<name>.mp4.
        name: "mercaptionplus" or "ovmerd".

    Raises:
        InputError: a file is missing or invalid.
    """
    folder = Path(folder).absolute()
    labels_file, reasons_file = (folder / f"track{track}_train_{name}.csv" for track in (2, 3))
    require_file(labels_file, "the labels of MER-Caption", "Name the folder that holds it.")
    problems: list[Problem] = []
    labels = read_column(labels_file, "openset", problems)
    reasons = read_column(reasons_file, "reason", problems) if reasons_file.is_file() else {}
    subtitle_file = folder / "subtitle_chieng.csv"
    subtitles = read_column(subtitle_file, "english", problems) if subtitle_file.is_file() else {}
    if problems:
        raise InputError(problems)

    def row(clip: str, task: str, target: str, answer: str | list[str]) -> Clip:
        audio, face = folder / "audio" / f"{clip}.wav", folder / "openface_face" / clip / f"{clip}.npy"
        return Clip(
            id=f"{clip}/{task}",
            video=folder / "video" / f"{clip}.mp4",
            audio=audio if audio.is_file() else None,
            face=face if face.is_file() else None,
            subtitle=subtitles.get(clip) or None,
            messages=conversation(TASKS[task].questions[0], target),
            task=task,
            level="emotion",
            answer=answer,
            source=name,
        )

    clips = []
    for clip, text in labels.items():
        try:
            openset = parse_openset(text)
        except ValueError:
            expected = "labels with commas between them"
            problems.append(Problem(str(labels_file), f"clip {clip}, column 'openset'", expected, shorten(text)))
            continue
        clips.append(row(clip, "emotion_open", ", ".join(openset), openset))
    if problems:
        raise InputError(problems)
    clips += [row(clip, "caption", reason, reason) for clip, reason in reasons.items() if reason]
    return clips


def parse_openset(text: str) -> list[str]:
    """Read the labels of a list-like string such as "['happy', 'proud']" or "[happy, proud]"; ["neutral"] for none.

    Raises:
        ValueError: the list is written in some other way.
    """
    return read_labels(text) or ["neutral"]
