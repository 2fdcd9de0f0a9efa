"""The commands `affectgpt data import` and `affectgpt data from-csv`: convert other data formats to a row file."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from affectgpt.clip import Clip, media_outside, write_clips
from affectgpt.media_root import check_command, media_folder
from affectgpt.problems import InputError, Problem
from affectgpt.tasks import SPOKEN
from data_recipes.imports.conversations import from_ms_swift, from_sharegpt
from data_recipes.imports.mer_caption import from_mer_caption
from data_recipes.imports.tables import from_csv


def import_main(argv: list[str]) -> int:
    """Convert ms-swift, ShareGPT or MER-Caption data to rows."""
    parser = argparse.ArgumentParser(prog="affectgpt data import", description=import_main.__doc__)
    parser.add_argument("path", metavar="PATH", type=Path, help="a JSON or JSONL file; for mer-caption, its folder")
    parser.add_argument("--from", dest="format", required=True, choices=("ms-swift", "sharegpt", "mer-caption"))
    tasks = f"what the rows ask, caption by default: {', '.join(SPOKEN)}"
    parser.add_argument("--task", choices=SPOKEN, metavar="TASK", help=tasks)
    _add_common(parser)
    args = parser.parse_args(argv)
    if args.format == "mer-caption":
        if args.task:
            raise InputError(Problem("--task", "its use", "ms-swift or sharegpt data", "mer-caption, which sets tasks"))
        clips = from_mer_caption(args.path)
    else:
        importer = from_ms_swift if args.format == "ms-swift" else from_sharegpt
        clips = importer(args.path, args.task or "caption", args.media_root)
    return _finish(clips, args)


def from_csv_main(argv: list[str]) -> int:
    """Convert a CSV of labelled clips to rows."""
    parser = argparse.ArgumentParser(prog="affectgpt data from-csv", description=from_csv_main.__doc__)
    parser.add_argument("path", metavar="CLIPS.csv", type=Path)
    parser.add_argument("--label", required=True, metavar="COLUMN", help="column of the labels")
    parser.add_argument(
        "--file", default="file", metavar="COLUMN", help="column of the videos, sounds or pictures: file"
    )
    parser.add_argument("--subtitle", metavar="COLUMN", help="column of the subtitles: subtitle, if there is one")
    parser.add_argument("--group", metavar="COLUMN", help="column of speaker or dialogue: group, if there is one")
    _add_common(parser)
    args = parser.parse_args(argv)
    clips = from_csv(args.path, args.label, args.file, args.subtitle, args.group, args.media_root)
    return _finish(clips, args)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="ROWS.jsonl", type=Path, help="row file to write")
    parser.add_argument(
        "--media-root",
        metavar="DIR",
        type=Path,
        help="folder that relative media paths start from, in PATH and in ROWS.jsonl; by default the folder of each",
    )
    mute = 'the videos have no sound: rows say "audio": false, and nothing looks for it'
    parser.add_argument("--no-sound", action="store_true", help=mute)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the number of rows")


def _finish(clips: list[Clip], args: argparse.Namespace) -> int:
    if args.no_sound:
        clips = [replace(clip, has_sound=clip.video is None or clip.audio is not None) for clip in clips]
    root = media_folder(args.out, args.media_root)
    if problem := media_outside(clips, args.out, root):
        raise InputError(problem)
    write_clips(args.out, clips, root)
    check = check_command(args.out, args.media_root)
    print(f"Wrote {len(clips)} rows to {args.out}. Check them with: {check}", file=sys.stderr)
    if args.json:
        print(json.dumps({"rows": len(clips), "out": str(args.out)}))
    return 0
