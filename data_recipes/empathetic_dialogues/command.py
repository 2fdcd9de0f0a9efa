"""The command `affectgpt data empathetic-dialogues`: convert the tables of EmpatheticDialogues to row files."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from affectgpt.clip import write_clips
from affectgpt.problems import InputError, Problem
from data_recipes.empathetic_dialogues.recipe import SPLITS, read_turns, rows_of, whole_conversations


def main(argv: list[str]) -> int:
    """Convert the public tables of EmpatheticDialogues to row files of dialogues with their emotion and response."""
    parser = argparse.ArgumentParser(prog="affectgpt data empathetic-dialogues", description=main.__doc__)
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="folder of train.csv, valid.csv and test.csv, or some of them"
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="folder for train.jsonl, dev.jsonl, test.jsonl"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object with the counts")
    options = parser.parse_args(argv)
    present = {split: options.folder / name for split, name in SPLITS.items() if (options.folder / name).is_file()}
    if not present:
        expected = f"some of {', '.join(SPLITS.values())}"
        raise InputError(Problem(str(options.folder), "the folder", expected, "none of them", "Unpack the archive."))
    tables, behind = {}, {}
    problems: list[Problem | str] = []
    for split, path in present.items():
        try:
            conversations, behind[split] = whole_conversations(read_turns(path))
            tables[split] = list(rows_of(conversations))
            if not tables[split]:
                got = f"none in {len(conversations)} conversations"
                problems.append(Problem(str(path), "the file", "a conversation with turns 1 and 2", got))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    for split, rows in tables.items():
        write_clips(options.out / f"{split}.jsonl", rows)
        groups = len({row.group for row in rows})
        gaps = f" {behind[split]} turns after a missing one were left out." if behind[split] else ""
        print(f"Wrote {options.out / split}.jsonl: {len(rows)} rows of {groups} dialogues.{gaps}", file=sys.stderr)
    if options.json:
        print(json.dumps({split: len(rows) for split, rows in tables.items()}))
    return 0
