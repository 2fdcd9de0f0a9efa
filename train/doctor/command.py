"""The command `affectgpt doctor`: checks one machine or, under the launcher, all of them before a run."""

from __future__ import annotations

import argparse
import json
import os
import socket
from pathlib import Path

from train.doctor.findings import Finding, Report, Subject
from train.doctor.look_over import look_over, whole_number
from train.doctor.text import describe

_NOTES = """
Under the launcher the machines are also checked together: whether they run the same code, their clocks agree and they
write to the same folder, and how fast they exchange tensors:

  deepspeed --hostfile HOSTS --module train.doctor [RECIPE] [key=value ...]

Exit code 0: no problem, perhaps warnings; 1: a problem; 2: wrong usage, or a wrong recipe.
"""


def main(argv: list[str]) -> int:
    """Check a machine before a run; under the launcher, all of them together."""
    parser = argparse.ArgumentParser(
        prog="affectgpt doctor",
        description=main.__doc__,
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "recipe", nargs="?", metavar="RECIPE", help="recipe to check for: a file, or a name in train/recipes"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example output=DIR deepspeed=FILE")
    parser.add_argument("--path", type=Path, metavar="DIR", help="folder of the run (the recipe's output, or here)")
    parser.add_argument("--timeout", type=_seconds, default=60.0, metavar="S", help="seconds to wait for others (60)")
    parser.add_argument("--json", action="store_true", help="print the findings as one JSON object")
    # The launcher of DeepSpeed adds this; the rank is read from the environment.
    parser.add_argument("--local_rank", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args(argv)
    processes = whole_number("WORLD_SIZE", 1)

    def look(machines: int) -> tuple[Subject, dict[str, Finding]]:
        return look_over(options.recipe, options.overrides, options.path, processes, machines)

    def show(report: Report) -> int:
        print(json.dumps(report.as_json()) if options.json else describe(report), flush=True)
        return int(report.status == "problem")

    if processes > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # our messages say the same, with names
        from train.doctor.nodes import examine

        return examine(look, options.timeout, show)
    return show(Report({socket.gethostname(): look(1)[1]}))


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text}")
    return value
