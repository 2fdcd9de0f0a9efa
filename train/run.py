"""Run of a recipe, the entry point of `affectgpt train` and of the launcher.

affectgpt train demo seed=1
deepspeed --num_accelerators 2 --module train.run RECIPE deepspeed=deepspeed_configs/zero2.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from affectgpt.command_line import run


def main(argv: list[str]) -> int:
    """Train a recipe stage by stage, score every stage and write the report."""
    parser = argparse.ArgumentParser(prog="affectgpt train", description=main.__doc__)
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one in train/recipes")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes to the recipe, for example seed=1 stages.grpo.steps=10",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object")
    # The launcher of DeepSpeed adds this; the rank is read from the environment.
    parser.add_argument("--local_rank", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    # Decoding workers import this module when it is the main one, so that what is heavy is imported here.
    from train.pipeline import run_recipe
    from train.recipe_file import load_recipe
    from train.stages.run import world

    rank, _ = world()

    def say(text: str) -> None:
        if rank == 0:
            print(text, file=sys.stderr)

    report = run_recipe(load_recipe(options.recipe, options.overrides, say))
    if options.json and report is not None:
        print(json.dumps(report))
    return 0


def entry(argv: Sequence[str] | None = None) -> int:
    """Run `main` with bad input and Ctrl-C turned into messages and exit codes."""
    return run(main, list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(entry())
