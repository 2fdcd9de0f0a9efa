"""The command `affectgpt doctor`: checks one machine or, under the launcher, all of them before a run."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from affectgpt.problems import InputError
from train.doctor import machine, software
from train.doctor.findings import PORT, Finding, Report, Subject, explain, run_checks

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
    processes = _whole_number("WORLD_SIZE", 1)

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


def look_over(
    recipe: str | None, overrides: list[str], path: Path | None, processes: int, machines: int
) -> tuple[Subject, dict[str, Finding]]:
    """Return the run that this machine is checked for, and the findings of all its own checks.

    Raises:
        InputError: the recipe is wrong. Under the launcher this is a finding: other machines may have another file.
    """
    subject = Subject(path or Path(), port=_whole_number("MASTER_PORT", PORT), processes=processes, nodes=machines)
    checks = software.CHECKS | machine.CHECKS
    if processes > 1:
        checks.pop("port")  # the processes have met there
    findings: dict[str, Finding] = {}
    if recipe is not None:
        try:
            from train.config.recipe_file import load_recipe
            from train.doctor import recipe as recipe_checks

            loaded = load_recipe(recipe, overrides)
        except InputError as error:
            if processes == 1:
                raise
            findings["recipe"] = Finding("problem", str(error), f"See on that machine: affectgpt doctor {recipe}")
        except Exception as error:
            findings["recipe"] = Finding("problem", f"cannot be read: {explain(error)}", "See the findings below.")
        else:
            findings["recipe"] = Finding("ok", f"{recipe}: {loaded.title}")
            subject = Subject(path or loaded.output, loaded, subject.port, processes, machines)
            checks |= recipe_checks.CHECKS
    return subject, findings | run_checks(checks, subject)


def describe(report: Report) -> str:
    """Describe a report as text: a line for each check, or, of several machines, for each that is not ok."""
    lines = []
    for name, checks in report.machines.items():
        bad = {check: finding for check, finding in checks.items() if finding.status != "ok"}
        if len(report.machines) == 1:
            lines += [name, *_lines(checks)]
        else:
            lines += [f"{name}: {len(checks) - len(bad)} of {len(checks)} checks ok", *_lines(bad)]
    if report.together:
        lines += ["together", *_lines(report.together)]
    for link in report.links:
        lines.append(f"    {link.ends}: {link.bytes_per_s / 1e9:.2f} GB/s, {link.latency_s * 1e3:.2f} ms")
    endings = {
        "ok": "No problem found.",
        "warning": "No problem found, but read the warnings.",
        "problem": "There are problems: a run would fail, or its result could not be trusted.",
    }
    return "\n".join([*lines, endings[report.status]])


def _lines(checks: Mapping[str, Finding]) -> list[str]:
    lines = []
    for name, finding in checks.items():
        advice = f". Next: {_flat(finding.fix)}" if finding.fix else ""
        lines.append(f"  {name:<16} {finding.status:<8} {_flat(finding.found)}{advice}")
    return lines


def _flat(text: str) -> str:
    """Put a text on one line without its full stop; one that ends in ` .` or `...` is a command and keeps it."""
    return re.sub(r"(?<![\s.])\.$", "", " ".join(text.split()))


def _whole_number(variable: str, default: int) -> int:
    text = os.environ.get(variable, str(default))
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{variable}: expected a whole number, got {text!r}. Unset it: unset {variable}") from None


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text}")
    return value
