"""The command `affectgpt plan`: print the cost of a recipe on given GPUs, as tables or as JSON."""

from __future__ import annotations

import argparse
import json

_NOTES = """
Nothing is downloaded and no weight is loaded: sizes come from the configurations in the recipe (model.parts.configs,
model.config), in a local folder or in the cache of the Hub. Memory is computed, not measured; memory.py states
the formulas and their sources. GB are 10^9 bytes.
"""


def main(argv: list[str]) -> int:
    """Show parameters, tokens and GPU memory of a recipe before it runs."""
    parser = argparse.ArgumentParser(
        prog="affectgpt plan",
        description=main.__doc__,
        epilog=_NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe file, or the name of one in train/recipes")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="changes to the recipe, for example model.lora.r=16"
    )
    parser.add_argument("--gpus", type=_count, default=1, metavar="N", help="GPUs per node (default 1)")
    parser.add_argument("--nodes", type=_count, default=1, metavar="N", help="number of nodes (default 1)")
    parser.add_argument(
        "--gpu-memory", type=_size, default=80.0, metavar="GB", help="memory of each GPU in GB (default 80)"
    )
    parser.add_argument(
        "--tokens-per-row", type=_count, metavar="N", help="tokens of a row with its media; in GRPO, of a prompt"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON object, memory in MB")
    options = parser.parse_intermixed_args(argv)
    from rich.console import Console

    from train.libraries import quiet_libraries
    from train.plan.estimate import Machine, make_plan
    from train.plan.memory import GB
    from train.plan.tables import print_plan
    from train.recipe_file import load_recipe

    quiet_libraries()
    machine = Machine(options.gpus, options.nodes, options.gpu_memory * GB)
    plan = make_plan(load_recipe(options.recipe, options.overrides), machine, options.tokens_per_row)
    if options.json:
        print(json.dumps(plan))
    else:
        print_plan(plan, Console())
    return 0


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {text}")
    return value


def _size(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected gigabytes, more than 0, got {text}")
    return value
