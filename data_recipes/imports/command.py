"""The commands `affectgpt data import` and `affectgpt data from-csv`: convert other data formats to a row file."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from affectgpt.clip import Clip, media_outside, write_clips
from affectgpt.media_root import check_command, media_folder
from affectgpt.problems import InputError, Problem, shorten
from affectgpt.tasks import SPOKEN
from data_recipes.imports.conversations import from_ms_swift, from_sharegpt
from data_recipes.imports.divide import divide, group_of, read_shares
from data_recipes.imports.label_lists import read_labels
from data_recipes.imports.mer_caption import from_mer_caption
from data_recipes.imports.tables import from_csv

_C1_CONTROLS = re.compile("[\x80-\x9f]")


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
        mended: list[int] = []
        clips = importer(args.path, args.task or "caption", args.media_root, mended)
        if mended:
            what = "text that was cut inside a character, such as an emoji; it now ends in U+FFFD"
            print(f"{args.path}: {len(mended)} rows, the first is row {mended[0]}, held {what}.", file=sys.stderr)
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
    parser.add_argument("--labels", metavar="A,B,C", help="closed set of labels (default: those of the table, sorted)")
    parser.add_argument("--drop-unlabelled", action="store_true", help="leave out rows without a label, and count them")
    parts = "write a file for each part, such as train=0.8,test=0.2, that share no --group: ROWS-train.jsonl, ..."
    parser.add_argument("--split", metavar="PART=SHARE,...", help=parts)
    parser.add_argument("--seed", type=int, default=0, help="with --split: seed of the division (0)")
    _add_common(parser)
    args = parser.parse_args(argv)
    shares = read_shares(args.split) if args.split is not None else {}
    unlabelled: list[int] = []
    clips = from_csv(
        args.path,
        args.label,
        args.file,
        args.subtitle,
        args.group,
        args.media_root,
        None if args.labels is None else _closed_set(args.labels),
        unlabelled if args.drop_unlabelled else None,
    )
    if unlabelled:
        print(f"{args.path}: {len(unlabelled)} rows without a label were left out.", file=sys.stderr)
    return _finish_parts(clips, shares, args) if shares else _finish(clips, args)


def _closed_set(text: str) -> list[str]:
    try:
        return read_labels(text)
    except ValueError:
        raise InputError(Problem("--labels", "its value", "labels with commas between them", shorten(text))) from None


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, metavar="ROWS.jsonl", type=Path, help="row file to write")
    parser.add_argument(
        "--media-root",
        metavar="DIR",
        type=Path,
        help="folder that relative media paths start from, in the input and ROWS.jsonl; by default the folder of each",
    )
    mute = 'the videos have no sound: rows say "audio": false, and nothing looks for it'
    parser.add_argument("--no-sound", action="store_true", help=mute)
    parser.add_argument("--json", action="store_true", help="print one JSON object with the number of rows")


def _finish(clips: list[Clip], args: argparse.Namespace) -> int:
    clips = _silenced(clips, args)
    _write(clips, args.out, args)
    _warn_of_lost_signs(clips)
    if args.json:
        print(json.dumps({"rows": len(clips), "out": str(args.out)}))
    return 0


def _finish_parts(clips: list[Clip], shares: dict[str, float], args: argparse.Namespace) -> int:
    """Divide the rows, write each part beside the others, and tell what is in it."""
    clips = _silenced(clips, args)
    parts = divide(clips, shares, args.seed)
    _warn_of_lost_signs(clips)
    if all(clip.group is None for clip in clips):
        text = "No --group names the speakers: the same person may be in several parts."
        print(f"{args.path}: {text}", file=sys.stderr)
    report = {}
    for part, rows in parts.items():
        out = args.out.with_name(f"{args.out.stem}-{part}{args.out.suffix}")
        groups = len({group_of(clip) for clip in rows})
        counts = Counter(clip.answer for clip in rows)
        _write(rows, out, args)
        labels = ", ".join(f"{label} {counts[label]}" for label in clips[0].options or ())
        print(f"  of {groups} groups; {labels}", file=sys.stderr)
        report[part] = {"rows": len(rows), "groups": groups, "labels": dict(counts), "out": str(out)}
    if args.json:
        print(json.dumps({"rows": len(clips), "parts": report}))
    return 0


def _silenced(clips: list[Clip], args: argparse.Namespace) -> list[Clip]:
    """Mark the videos as without sound if the command says so."""
    if not args.no_sound:
        return clips
    return [replace(clip, has_sound=clip.video is None or clip.audio is not None) for clip in clips]


def _write(clips: list[Clip], out: Path, args: argparse.Namespace) -> None:
    root = media_folder(out, args.media_root)
    if problem := media_outside(clips, out, root):
        raise InputError(problem)
    write_clips(out, clips, root)
    check = check_command(out, args.media_root)
    print(f"Wrote {len(clips)} rows to {out}. Check them with: {check}", file=sys.stderr)


def _warn_of_lost_signs(clips: list[Clip]) -> None:
    """Tell of texts that were once in Windows-1252 and read as Latin-1, as MELD's (declare-lab/MELD#28)."""
    found = [(clip, text) for clip in clips if (text := next(_texts_with_controls(clip), None)) is not None]
    if found:
        clip, text = found[0]
        print(
            f"{len(found)} rows hold control characters where signs of Windows-1252 were, such as row {clip.id}: "
            f"{shorten(text)}. They are kept. Read the source as Windows-1252 and save it as UTF-8.",
            file=sys.stderr,
        )


def _texts_with_controls(clip: Clip) -> Iterator[str]:
    texts = [clip.subtitle or "", clip.situation or "", *(turn["content"] for turn in clip.messages)]
    return (text for text in texts if _C1_CONTROLS.search(text))
