"""The command `affectgpt report`: write the page of a run, or of several side by side."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from affectgpt.problems import InputError
from eval.report.run_page import write_report
from eval.report.side_by_side import write_side_by_side


def main(argv: Sequence[str] | None = None) -> int:
    """Make the HTML report of a run folder again, or one page of several runs side by side.

    Training writes the report of a run already; use this for a folder from elsewhere, or after an update.
    """
    parser = argparse.ArgumentParser(prog="affectgpt report", description=(main.__doc__ or "").splitlines()[0])
    folders = "folder of a run, for example runs/demo; the others are compared with the first"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=folders)
    places = "the page of several runs (default: side_by_side.html in the folder of the first)"
    parser.add_argument("--out", type=Path, metavar="PAGE.html", help=places)
    parser.add_argument("--json", action="store_true", help='print {"report": PATH} on standard output')
    arguments = parser.parse_args(argv)
    if len(arguments.runs) > 1:
        path = write_side_by_side(arguments.runs, arguments.out)
    elif arguments.out is None:
        path = write_report(arguments.runs[0])
    else:
        raise InputError("--out is for several runs; the report of one is its report.html.")
    print(json.dumps({"report": str(path)}) if arguments.json else f"Report: {path}")
    return 0
