"""Comparison of two models on the same clips, by paired differences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from affectgpt.problems import InputError, Problem, shorten
from eval.answers.fields import GOLD, PREDICTIONS, RESPONSES, Role
from eval.answers.labelled_file import SHOWN, lines_of, read_entries, require_same_names
from eval.answers.rows import AnsweredRow, read_rows
from eval.benchmarks.recognition.rows import Recognition, read_recognition
from eval.metrics.evaluation import describe_groups, number
from eval.metrics.stats import PERMUTATIONS, RESAMPLES, Difference, Tally, compare
from eval.metrics.task_scores import TaskScore, score_task


class Compared(TypedDict):
    """Scores of both models by one metric, and the second minus the first."""

    a: float | None
    b: float | None
    difference: Difference


def compare_tallies(
    first: Mapping[str, Tally],
    second: Mapping[str, Tally],
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
) -> dict[str, Compared]:
    """Compare every score that both have, of the same clips in the same order."""
    return {
        name: {
            "a": _rounded(first[name].value),
            "b": _rounded(second[name].value),
            "difference": compare(first[name], second[name], clusters, resamples, permutations),
        }
        for name in first
        if name in second
    }


def _rounded(value: float) -> float | None:
    return None if value != value else round(value, 6)


def read_pair(
    gold: Path,
    first: Path,
    second: Path,
    kind: str | None = None,
    label_field: str | None = None,
    prediction_field: str | None = None,
) -> tuple[Recognition, Recognition]:
    """Read two files of predictions and the gold labels of a third.

    Raises:
        InputError: the files are of different clips.
    """
    role = PREDICTIONS.named(prediction_field)
    entries = [lines_of(read_entries(path, role)) for path in (first, second)]
    require_same_names(first, entries[0], second, entries[1], "Compare predictions of the same clips.")
    before, after = (
        read_recognition(gold, path, kind=kind, label_field=label_field, prediction_field=prediction_field)
        for path in (first, second)
    )
    return before, after


def compare_labels(before: Recognition, after: Recognition, resamples: int = RESAMPLES) -> dict[str, Compared]:
    """Compare two models on the clips that both are scored on."""
    both = before.scorable & after.scorable
    if not both.any():
        raise InputError("expected clips with a readable answer of both models, got none")
    before, after = before.only(both), after.only(both)
    return compare_tallies(before.tallies(), after.tallies(), before.groups, resamples)


def paired_scores(
    first: Sequence[Path],
    second: Sequence[Path],
    task: str | None = None,
    responses: Role = RESPONSES,
    gold: Role = GOLD,
) -> dict[str, tuple[TaskScore, TaskScore]]:
    """Score two models by task, from result files with gold answers; both lists of rows in the same order.

    Raises:
        InputError: rows that only one of them has, or with different gold answers.
    """
    before, after = (read_rows(paths, task, responses=responses, gold=gold) for paths in (first, second))
    for have, lack in ((before, after), (after, before)):
        for name in have.keys() - lack.keys():
            row, other = have[name][0], next(iter(lack.values()))[0].file
            expected = f"a task that {other} also has"
            raise InputError(
                Problem(row.file, f"line {row.line}", expected, name, "Compare results on the same tasks.")
            )
    pairs = {}
    for name, rows in before.items():
        keyed, others = _by_key(rows), _by_key(after[name])
        known, compared = ({key: row.line for key, row in side.items()} for side in (keyed, others))
        fix = f"Compare results on the same clips ({name})."
        require_same_names(Path(rows[0].file), known, Path(after[name][0].file), compared, fix)
        aligned = [others[key] for key in keyed]
        problems = [
            Problem(
                right.file,
                f"line {right.line}",
                f"the gold answer of {left.file}, line {left.line}",
                shorten(right.gold),
            )
            for left, right in zip(rows, aligned, strict=True)
            if left.gold != right.gold
        ]
        if problems:
            raise InputError(problems[:SHOWN], f"{len(problems)} rows of {name} have another gold answer.")
        # Both models share the grouping of the clips, so that of the first is used.
        pairs[name] = (
            score_task(rows),
            score_task([replace(right, group=left.group) for left, right in zip(rows, aligned, strict=True)]),
        )
    return pairs


def _by_key(rows: Sequence[AnsweredRow]) -> dict[str, AnsweredRow]:
    """Index rows by key; a repeated question gets a number."""
    seen: Counter[str] = Counter()
    indexed = {}
    for row in rows:
        seen[row.key] += 1
        indexed[row.key if seen[row.key] == 1 else f"{row.key} ({seen[row.key]})"] = row
    return indexed


def describe_comparison(metrics: Mapping[str, Compared]) -> str:
    """Describe the comparison as a table of text."""
    width = max(map(len, metrics), default=0)
    lines = [f"{'':{width}}  {'A':>7}  {'B':>7}  B - A [95 % interval]              p      n"]
    for name, compared in metrics.items():
        apart = compared["difference"]
        interval = f"[{_signed(apart['low'])}, {_signed(apart['high'])}]"
        lines.append(
            f"{name:{width}}  {number(compared['a']):>7}  {number(compared['b']):>7}  "
            f"{_signed(apart['value'])} {interval:20}  {number(apart['p'])}  {apart['n']:5}"
        )
    lines.append("Paired bootstrap; p by permuting the two answers, not corrected for multiple scores.")
    return "\n".join([*lines, *_groups(metrics)])


def _groups(metrics: Mapping[str, Compared]) -> list[str]:
    """Say how many groups are drawn and exchanged, and where no p can be below 0.05."""
    differences = [compared["difference"] for compared in metrics.values()]
    groups = min((apart["groups"] for apart in differences if "groups" in apart), default=None)
    lines = describe_groups(groups)
    least = max((apart["least_p"] for apart in differences), default=0.0)
    if least > 0.05:
        lines.append(f"With so few of them no p can be below {least:.3g}: it cannot show that A and B differ.")
    return lines


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.4f}"
