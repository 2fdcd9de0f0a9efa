"""Measurement of the media of a file's rows, in processes that can be killed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from affectgpt.clip import Clip
from affectgpt.features.sources import rows_by_media
from affectgpt.media.recording import Recording
from affectgpt.media.sandbox import map_sandboxed
from affectgpt.media.signals import check_signal
from affectgpt.media.source import MediaError
from affectgpt.problems import MOST, Problem
from data_recipes.check.measure import MUTE, MeasuredMedia, measure

_MUTE_FIX = 'A row says "audio": false of a video that has none; from-csv and import write that with --no-sound.'


def measure_media(
    path: Path, clips: Sequence[Clip], timeout_s: float, workers: int
) -> tuple[list[Problem], MeasuredMedia]:
    """Decode the media of every row as training would, and read its signal as plugins would.

    Returns:
        A problem for each clip and each signal that fails, at its first row, and the measurements of the other clips.
    """
    lines = {clip.id: clip.line for clip in clips}
    problems: list[Problem] = []
    mute: list[Problem] = []
    measured: MeasuredMedia = {}
    rows = rows_by_media(clips)
    for media, outcome in map_sandboxed(measure, rows, workers, timeout_s):
        if not isinstance(outcome, MediaError):
            measured[media] = outcome
            continue
        first = rows[media][0]
        lacks_sound = outcome.args[1:] == (MUTE,)
        fix = _MUTE_FIX if lacks_sound else ""
        problem = Problem(str(path), f"row {lines[first]} ({first})", "media that decode", str(outcome.args[0]), fix)
        (mute if lacks_sound else problems).append(problem)
    if len(mute) > MOST and not any(media.source("audio") == "video" for media in measured):
        got = f"none in any of the {len(mute)} videos, such as {mute[0].got} ({mute[0].where})"
        mute = [Problem(str(path), "its media", "videos with sound", got, _MUTE_FIX)]
    return problems + mute + _signal_problems(path, clips, timeout_s, workers), measured


def _signal_problems(path: Path, clips: Sequence[Clip], timeout_s: float, workers: int) -> list[Problem]:
    signals: dict[Recording, Clip] = {}
    for clip in clips:
        if (recording := clip.recording) is not None:
            signals.setdefault(recording, clip)
    return [
        Problem(str(path), f"row {clip.line} ({clip.id})", "a signal that can be read", str(outcome))
        for clip, (_, outcome) in zip(
            signals.values(), map_sandboxed(check_signal, signals, workers, timeout_s), strict=True
        )
        if isinstance(outcome, MediaError)
    ]
