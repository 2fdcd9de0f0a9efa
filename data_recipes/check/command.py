"""The command `affectgpt data check`: list every problem of row files, undecodable media included."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from affectgpt.problems import LONGEST, InputError, presentable
from data_recipes.check.rows import media_problems, scan_rows


def main(argv: list[str]) -> int:
    """List every problem of a row file: fields, answers, missing and undecodable media."""
    parser = argparse.ArgumentParser(prog="affectgpt data check", description=main.__doc__)
    parser.add_argument("rows", type=Path, metavar="ROWS", help="a row file (JSONL)")
    parser.add_argument("--media-root", type=Path, help="folder that media paths are relative to (default: the file's)")
    parser.add_argument("--no-decode", action="store_true", help="check the rows only, without decoding their media")
    parser.add_argument("--timeout", type=float, default=20.0, metavar="S", help="seconds to decode one clip (20)")
    parser.add_argument("--workers", type=int, default=2, help="processes that decode (2)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    clips, problems = scan_rows(options.rows, options.media_root)
    if not options.no_decode:
        problems += media_problems(options.rows, clips, options.timeout, options.workers)
    if options.json:
        listed = [{name: presentable(text, LONGEST) for name, text in asdict(item).items()} for item in problems]
        print(json.dumps({"rows": len(clips), "problems": listed}))
        return 2 if problems else 0
    if problems:
        raise InputError(problems, most=None)
    print(f"{options.rows}: {len(clips)} rows, no problems.", file=sys.stderr)
    return 0
