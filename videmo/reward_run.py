"""Run-time guard of a reward: calls it with the rows' columns, limits its time, and explains its failures.

A reward fails if it raises, returns a wrong number of values or a value that is not finite, or does not return in time.
The error names the reward, the row and the completion. It then stops the run, or the reward is left out: for the whole
group of its prompt, since within a group a completion without a reward would count as one with 0.
"""

from __future__ import annotations

import math
import threading
import traceback
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch

from affectgpt.answers.judge import closed_sets
from affectgpt.clip import FIELDS, Clip
from affectgpt.problems import InputError, shorten
from videmo.rewards import RewardFunction

OnFailure = Literal["stop", "drop"]
_LARGEST = 1e6
"""Largest reward that is not taken for a mistake: beyond it, float32 would lose the other rewards."""


class RewardError(InputError):
    """Error of a failed reward; says which one, how it failed, and at which row and completion."""


class _LateError(RewardError):
    """Error of a reward that did not return in time; calling it again is useless."""


class BoundReward:
    """Reward as TRL calls it: completions as texts, fields of the rows as columns, failures explained.

    A call that fails is repeated with each row by itself, to find the rows that cause it.

    Args:
        name: name in the recipe and in the log.
        clips: rows that the column `row` indexes.
        on_failure: 'stop' raises `RewardError`; 'drop' gives None to the groups of the failed rows.
        limit_s: seconds that a call may take. A call that takes longer cannot be ended from here; it is abandoned, and
            the reward is not called again before it returned.
        say: callback with a line for the user, called when something is dropped for the first time.
    """

    def __init__(
        self,
        name: str,
        reward: RewardFunction,
        clips: Sequence[Clip],
        on_failure: OnFailure = "stop",
        limit_s: float | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.__name__ = name
        self.reward, self.clips, self.on_failure, self.limit_s, self.say = reward, clips, on_failure, limit_s, say
        self.closed_sets = closed_sets((clip.task, clip.answer) for clip in clips)
        self.scored = self.dropped = 0
        """Completions that were to be scored, and those among them that got None because the reward failed."""
        self._late: threading.Thread | None = None

    def __call__(self, prompts: list[Any], completions: list[Any], row: list[int], **given: Any) -> list[float | None]:
        """Return one value per completion, None where the reward does not apply."""
        rows = [self.clips[index] for index in row]
        texts = [completion[0]["content"] for completion in completions]
        columns = {field: [getattr(clip, field) for clip in rows] for field in FIELDS}
        columns["options"] = [clip.options or self.closed_sets.get(clip.task) for clip in rows]
        lists = {key: value for key, value in given.items() if isinstance(value, list) and len(value) == len(row)}
        columns = {**lists, **columns, "prompts": prompts, "completions": texts}
        constants = {key: value for key, value in given.items() if key not in columns}

        def score(indices: Sequence[int]) -> list[Any]:
            # Copies: what a reward does to its arguments must not reach the rows, nor the next reward.
            picked = {key: deepcopy([column[index] for index in indices]) for key, column in columns.items()}
            return _as_list(self._in_time({**constants, **picked}), len(indices))

        self.scored += len(row)
        values, faults = _score(score, len(row))
        if not faults:
            return values
        index, error = next(iter(faults.items()))
        message = f"reward '{self.__name__}' {error}: row {rows[index].id}, completion {shorten(texts[index], 200)}"
        if len(faults) > 1:
            message += f", and {len(faults) - 1} more of {len(row)}"
        if self.on_failure == "stop":
            raise RewardError(f"{message}. Fix it, or continue without such rows: reward_failure: drop") from error
        if not self.dropped:
            self.say(f"      {message}. Left out with its group; reported once, then counted")
        groups = {row[index] for index in faults}
        self.dropped += sum(index in groups for index in row)
        return [None if index in groups else value for index, value in zip(row, values, strict=True)]

    def _in_time(self, arguments: dict[str, Any]) -> Any:
        if self._late is not None and self._late.is_alive():
            raise _LateError("has not returned from an earlier call")
        outcome: dict[str, Any] = {}
        device = torch.cuda.current_device() if torch.cuda.is_available() else None

        def run() -> None:
            try:
                if device is not None:  # a thread starts on the first GPU
                    torch.cuda.set_device(device)
                outcome["values"] = self.reward(**arguments)
            except BaseException as error:  # also SystemExit, which would end the thread unseen
                outcome["error"] = error

        thread = threading.Thread(target=run, name=f"reward {self.__name__}", daemon=True)
        thread.start()
        thread.join(self.limit_s)
        if thread.is_alive():
            self._late = thread
            raise _LateError(f"did not return within {self.limit_s:g} s")
        if "error" in outcome:
            raise RewardError(_description(outcome["error"])) from outcome["error"]
        return outcome["values"]


def _score(
    score: Callable[[Sequence[int]], list[Any]], count: int
) -> tuple[list[float | None], dict[int, RewardError]]:
    """Return a number or None for every row, and the error of each row that failed."""
    values, faults = _values(score, count)
    numbers: list[float | None] = [None] * count
    for index, value in enumerate(values):
        try:
            numbers[index] = _number(value)
        except RewardError as error:
            faults.setdefault(index, error)
    return numbers, dict(sorted(faults.items()))


def _values(score: Callable[[Sequence[int]], list[Any]], count: int) -> tuple[list[Any], dict[int, RewardError]]:
    """Return the values of a reward; if it fails as a whole, those of the rows that do not fail by themselves."""
    nothing: list[Any] = [None] * count
    try:
        return score(range(count)), {}
    except _LateError as late:
        return nothing, dict.fromkeys(range(count), late)
    except RewardError as error:
        faults = dict.fromkeys(range(count), error)
    alone: dict[int, RewardError] = {}
    for index in range(count):
        try:
            score([index])
        except _LateError:
            return nothing, faults
        except RewardError as error:
            alone[index] = error
    sound = [index for index in range(count) if index not in alone]
    if not alone or not sound:
        return nothing, faults
    try:
        values = dict(zip(sound, score(sound), strict=True))
    except RewardError:
        return nothing, faults
    return [values.get(index) for index in range(count)], alone


def _as_list(values: Any, count: int) -> list[Any]:
    try:
        listed = list(values)
    except TypeError:
        raise RewardError(f"returned {shorten(values)} where a list of {count} values was expected") from None
    if len(listed) != count:
        raise RewardError(f"returned {len(listed)} values for {count} completions")
    return listed


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not -_LARGEST < number < _LARGEST:
        raise RewardError(f"gave {shorten(value)}")
    return number


def _description(error: BaseException) -> str:
    """Describe an exception and where it was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"raised {type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"
