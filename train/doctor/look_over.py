"""All checks of one machine, one after the other."""

from __future__ import annotations

import os
from pathlib import Path

from affectgpt.problems import InputError
from train.doctor import machine, software
from train.doctor.findings import PORT, Finding, Subject, explain, run_checks


def look_over(
    recipe: str | None, overrides: list[str], path: Path | None, processes: int, machines: int
) -> tuple[Subject, dict[str, Finding]]:
    """Run all checks of this machine alone; returns what it was checked for, and the findings by check.

    Raises:
        InputError: a recipe that is wrong. Under the launcher that is a finding: other machines may have another file.
    """
    subject = Subject(path or Path(), port=whole_number("MASTER_PORT", PORT), processes=processes, nodes=machines)
    checks = software.CHECKS | machine.CHECKS
    if processes > 1:
        checks.pop("port")  # the processes have met there
    found: dict[str, Finding] = {}
    if recipe is not None:
        try:
            from train.doctor import recipe as recipe_checks
            from train.recipe_file import load_recipe

            loaded = load_recipe(recipe, overrides)
        except InputError as error:
            if processes == 1:
                raise
            found["recipe"] = Finding("problem", str(error), f"See there: affectgpt doctor {recipe}")
        except Exception as error:
            found["recipe"] = Finding("problem", f"cannot be read: {explain(error)}", "See what follows.")
        else:
            found["recipe"] = Finding("ok", f"{recipe}: {loaded.title}")
            subject = Subject(path or loaded.output, loaded, subject.port, processes, machines)
            checks |= recipe_checks.CHECKS
    return subject, found | run_checks(checks, subject)


def whole_number(variable: str, default: int) -> int:
    """Read a whole number from the environment.

    Raises:
        InputError: it is none.
    """
    text = os.environ.get(variable, str(default))
    try:
        return int(text)
    except ValueError:
        raise InputError(f"{variable}: expected a whole number, got {text!r}. Unset it: unset {variable}") from None
