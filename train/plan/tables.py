"""Text and tables of a plan, for a terminal or a file."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table


def print_plan(plan: dict[str, Any], console: Console) -> None:
    """Print a plan; stages that need the same memory share the first one's table."""
    console.print("\n".join(describe(plan)), highlight=False, soft_wrap=True, markup=False)
    shown = None
    for stage in plan["stages"]:
        show_stage(stage, console, memory=stage["options"] != shown)
        shown = stage["options"]


def describe(plan: dict[str, Any]) -> list[str]:
    """Return the lines that hold for all stages."""
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
    """Print a stage as text, and its memory as a table, without lines and colours where the output is no terminal."""
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
