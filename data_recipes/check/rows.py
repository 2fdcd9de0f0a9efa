"""Checks of row files: all that training would refuse, listed at once, before any time is spent."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from affectgpt.clip import Clip, scan_clips
from affectgpt.evidence.prompting import require_prompts
from affectgpt.media_root import check_command
from affectgpt.problems import InputError, Problem
from videmo.tree import explain_syntax_errors


def scan_rows(path: Path, media_root: Path | None = None) -> tuple[list[Clip], list[Problem]]:
    """Return the valid rows of a file, and the problems of the others: fields, files, answers, syntax of gold trees."""
    clips, problems = scan_clips(path, media_root)
    right = []
    for clip in clips:
        errors = explain_syntax_errors(clip.answer) if clip.task == "tree" else []
        found = [
            Problem(str(path), f"row {clip.line}, field 'answer'", "a written tree", error, "See docs/tree.md.")
            for error in errors
        ]
        found += _evidence_problems(path, clip)
        problems += found
        if not found:
            right.append(clip)
    return right, sorted(problems, key=_line_of)


def _evidence_problems(path: Path, clip: Clip) -> list[Problem]:
    """Return the problems that keep the evidence of a row from being shown."""
    try:
        require_prompts([clip])
    except InputError as error:
        where = f"row {clip.line}, field 'evidence'"
        return [
            Problem(str(path), where, "evidence that can be shown", str(problem), "See docs/plugins.md.")
            for problem in error.problems
        ]
    return []


def load_rows(paths: Sequence[Path], media_root: Path | None = None) -> list[list[Clip]]:
    """Read the rows of several files.

    Raises:
        InputError: with every problem of every file.
    """
    scanned = [scan_rows(path, media_root) for path in paths]
    problems = [problem for _, found in scanned for problem in found]
    if problems:
        refused = [path for path, (_, found) in zip(paths, scanned, strict=True) if found]
        raise InputError(problems, advice=f"List them again with: {check_command(refused[0], media_root)}")
    return [clips for clips, _ in scanned]


def _line_of(problem: Problem) -> int:
    digits = problem.where.removeprefix("row ").split(",")[0]
    return int(digits) if digits.isdigit() else 0
