"""The command `affectgpt plan`: prints what a recipe costs on given GPUs, as tables or as JSON."""

from __future__ import annotations

import argparse
import json
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

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
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example model.lora.r=16")
    parser.add_argument("--gpus", type=_count, default=1, metavar="N", help="GPUs of a node (default 1)")
    parser.add_argument("--nodes", type=_count, default=1, metavar="N", help="nodes (default 1)")
    parser.add_argument("--gpu-memory", type=_size, default=80.0, metavar="GB", help="of each GPU (default 80)")
    parser.add_argument(
        "--tokens-per-row", type=_count, metavar="N", help="of a row with its media, of a prompt in GRPO"
    )
    parser.add_argument("--json", action="store_true", help="print the plan as one JSON object, memory in MB")
    options = parser.parse_intermixed_args(argv)
    from train.config.recipe_file import load_recipe
    from train.pipeline import quiet_libraries
    from train.plan.estimate import Machine, make_plan
    from train.plan.memory import GB

    quiet_libraries()
    machine = Machine(options.gpus, options.nodes, options.gpu_memory * GB)
    plan = make_plan(load_recipe(options.recipe, options.overrides), machine, options.tokens_per_row)
    if options.json:
        print(json.dumps(plan))
    else:
        console = Console()
        console.print("\n".join(describe(plan)), highlight=False, soft_wrap=True, markup=False)
        shown = None
        for stage in plan["stages"]:
            show_stage(stage, console, memory=stage["options"] != shown)
            shown = stage["options"]
    return 0


def describe(plan: dict[str, Any]) -> list[str]:
    """What holds for all stages."""
    machine, towers = plan["machine"], plan["towers"]
    usable = (1 - machine["margin"]) * machine["gpu_memory_mb"] / 1e3
    lines = [
        plan["title"],
        f"nodes x GPUs: {machine['nodes']} x {machine['gpus']}, of {machine['gpu_memory_mb'] / 1e3:g} GB, of which "
        f"{machine['margin']:.0%} stay free: {usable:g} GB",
    ]
    for part, count in towers["parameters"].items():
        note = "on every GPU" if towers["loaded"] else "not loaded while training: features are stored"
        lines.append(f"frozen {part} tower: {count:,} parameters, {note}")
    if plan["assumed_text_tokens"]:
        lines.append(f"tokens a row: {plan['assumed_text_tokens']} of text are assumed; --tokens-per-row N sets yours")
    return lines


def show_stage(stage: dict[str, Any], console: Console, memory: bool = True) -> None:
    """A stage as text, and its memory as a table, without lines and colours where the output is no terminal."""
    count = stage["parameters"]
    lines = [
        "",
        f"{stage['kind']} {stage['name']}: {stage['advice']}",
        f"  {stage['steps']:,} steps of {stage['tokens_per_step']:,} tokens: {stage['rows_per_process']} rows a GPU, "
        f"{stage['accumulation']} times accumulated, of {stage['tokens_per_row']:,} tokens each",
        f"  {count['trained']:,} of {count['total']:,} parameters are trained:",
        *(
            f"    {name.replace('_', ' '):15}{part['trained']:>14,} of {part['total']:>14,}"
            for name, part in count["parts"].items()
        ),
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True, markup=False)
    if not memory:
        return
    options = stage["options"]
    table = Table("GB on a GPU", box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False)
    for option in options:
        table.add_column(option["strategy"], justify="right", style=None if option["fits"] else "dim")
    for item in options[0]["memory_mb"]:
        values = [option["memory_mb"][item] / 1e3 for option in options]
        if any(values):
            table.add_row(item, *(f"{value:.1f}" for value in values))
    table.add_row("fits", *("yes" if option["fits"] else "no" for option in options))
    table.add_row("host, a node", *(f"{option['host_mb'] / 1e3:.0f}" for option in options))
    console.print()
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


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
