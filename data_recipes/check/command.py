"""The command `affectgpt data check`: what is in row files, what would be refused, and what is odd."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from affectgpt.media_root import add_media_root
from affectgpt.problems import LONGEST, InputError, Problem, presentable
from data_recipes.check.contents import contents_of, counted
from data_recipes.check.measure import MeasuredMedia
from data_recipes.check.media import measure_media
from data_recipes.check.rows import scan_rows
from data_recipes.check.warnings import warnings_of

_NOTES = """
Problems are what training would refuse: the exit code is 2 if there is one, otherwise 0. Warnings refuse nothing. Of
several files it also says which clips and groups they share, as training and test data must not.
"""


def main(argv: list[str]) -> int:
    """Say what is in row files, and list every problem: fields, answers, missing and undecodable media."""
    parser = argparse.ArgumentParser(prog="affectgpt data check", description=main.__doc__, epilog=_NOTES)
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a row file (JSONL)")
    parser.add_argument(
        "more", type=Path, nargs="*", default=[], metavar="ROWS2", help="more row files, such as those for test"
    )
    add_media_root(parser)
    parser.add_argument("--no-decode", action="store_true", help="check the rows only, without decoding their media")
    parser.add_argument("--timeout", type=float, default=20.0, metavar="S", help="seconds to decode one clip (20)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_intermixed_args(argv)
    problems: list[Problem] = []
    files = []
    measured: list[MeasuredMedia] = []
    for path in (options.rows, *options.more):
        clips, found = scan_rows(path, options.media_root)
        lengths: MeasuredMedia = {}
        if not options.no_decode:
            more, lengths = measure_media(path, clips, options.timeout, options.workers)
            found += more
        problems += found
        files.append((path, clips))
        measured.append(lengths)
    contents = [contents_of(path, clips, lengths) for (path, clips), lengths in zip(files, measured, strict=True)]
    warnings = warnings_of(files, measured)
    if options.json:
        report = {
            "rows": sum(len(clips) for _, clips in files),
            "problems": [
                {name: presentable(text, LONGEST) for name, text in asdict(item).items()} for item in problems
            ],
            "contents": [item.to_json() for item in contents],
            "warnings": [warning.to_json() for warning in warnings],
        }
        print(json.dumps(report))
        return 2 if problems else 0
    for item in contents:
        print(item.describe(), file=sys.stderr)
    if warnings:
        print("Warnings:", file=sys.stderr)
        for warning in warnings:
            print(warning.describe(len(files) > 1), file=sys.stderr)
    if problems:
        raise InputError(problems, most=None)
    for path, clips in files:
        print(f"{path}: {counted(len(clips), 'row')}, no problems.", file=sys.stderr)
    return 0
