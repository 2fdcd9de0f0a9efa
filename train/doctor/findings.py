"""Findings, and how checks run: each by itself, so that a failing check is a line among others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from affectgpt.problems import shorten

if TYPE_CHECKING:
    from train.recipe import Recipe

Status = Literal["ok", "warning", "problem"]
STATUSES: tuple[Status, ...] = ("ok", "warning", "problem")
"""Statuses from good to bad."""
PORT = 29500
"""Default port at which the launcher's processes meet."""
INSTALL = "pip install -c constraints.txt -e ."


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of a check and, unless it is ok, what to do next."""

    status: Status
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """Run that a machine is checked for.

    Args:
        folder: folder that the run writes to; need not exist yet.
        recipe: recipe of the run, if known.
        port: port at which its processes meet.
        processes, nodes: number of processes and machines, under the launcher.
    """

    folder: Path
    recipe: Recipe | None = None
    port: int = PORT
    processes: int = 1
    nodes: int = 1

    @property
    def uses_deepspeed(self) -> bool:
        """Whether the run needs DeepSpeed."""
        return self.processes > 1 or (self.recipe is not None and self.recipe.deepspeed is not None)


Check = Callable[[Subject], Finding]


@dataclass(frozen=True, slots=True)
class Link:
    """Speed of the link between two processes."""

    ends: str
    latency_s: float
    bytes_per_s: float


@dataclass(slots=True)
class Report:
    """All findings: machine -> check -> finding, those of all machines together, and the links between processes."""

    machines: dict[str, dict[str, Finding]] = field(default_factory=dict)
    together: dict[str, Finding] = field(default_factory=dict)
    links: list[Link] = field(default_factory=list)

    @property
    def status(self) -> Status:
        """Worst status of all findings."""
        groups = [*self.machines.values(), self.together]
        statuses: list[Status] = [finding.status for group in groups for finding in group.values()]
        return max(statuses, key=STATUSES.index, default="ok")

    def as_json(self) -> dict[str, Any]:
        """Return the report as values that JSON can write; speeds are in MB per second."""
        machines = [{"name": name, "checks": _listed(checks)} for name, checks in self.machines.items()]
        links = [
            {"ends": link.ends, "latency_s": link.latency_s, "mb_per_s": link.bytes_per_s / 1e6} for link in self.links
        ]
        return {"status": self.status, "machines": machines, "together": _listed(self.together), "links": links}


def run_checks(checks: Mapping[str, Check], subject: Subject) -> dict[str, Finding]:
    """Run checks and return their findings by name. A check that raises is a problem, and the others continue."""
    findings = {}
    for name, check in checks.items():
        try:
            findings[name] = check(subject)
        except Exception as error:
            fix = "Report it, with the whole output of this command."
            if isinstance(error, ImportError):
                fix = f"Install what is missing: {INSTALL}"
            findings[name] = Finding("problem", f"the check itself failed: {explain(error)}", fix)
    return findings


def explain(error: BaseException) -> str:
    """Describe an exception on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 300 else shorten(text, 300)}"


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest existing one above it."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def _listed(checks: Mapping[str, Finding]) -> list[dict[str, str]]:
    return [{"name": name, **asdict(finding)} for name, finding in checks.items()]
