"""Surveys of the files that were read last, so that the cuts of a long film cost one survey in a process."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

from affectgpt.media.container import open_container, require_content
from affectgpt.media.packets import survey_packets
from affectgpt.media.survey import Survey

_KEPT_SURVEYS = 8
"""Files whose surveys a process keeps; that of an hour of film takes about 8 MB."""


class SurveyCache:
    """Surveys of the files that were read last, as long as they do not change."""

    def __init__(self) -> None:
        self._surveys: OrderedDict[tuple[str | int, ...], Survey] = OrderedDict()

    def get(self, path: Path) -> Survey | None:
        """Return the survey of a file; None if there is none of the file as it is now."""
        state = _state_of(path)
        if state in self._surveys:
            self._surveys.move_to_end(state)
        return self._surveys.get(state)

    def keep(self, survey: Survey) -> None:
        """Keep a survey; that of the file not read for longest is dropped."""
        if state := _state_of(survey.path):
            self._surveys[state] = survey
        while len(self._surveys) > _KEPT_SURVEYS:
            self._surveys.popitem(last=False)


def _state_of(path: Path) -> tuple[str | int, ...]:
    """Return what changes when a file does; nothing of a file that is gone."""
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return os.path.abspath(path), state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


SURVEYS = SurveyCache()
"""Surveys of this process: the cuts of a long film cost one survey."""


def survey_of(path: str | Path) -> Survey:
    """Return the survey of a file, from the cache if it is there: its streams and its length, nothing decoded.

    Raises:
        MediaError: the file cannot be opened.
    """
    path = Path(path)
    require_content(path)
    if (known := SURVEYS.get(path)) is not None:
        return known
    with open_container(path) as container:
        survey, _ = survey_packets(path, container)
    SURVEYS.keep(survey)
    return survey
