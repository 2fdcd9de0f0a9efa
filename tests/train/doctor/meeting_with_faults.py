"""What `affectgpt doctor` does under a launcher, in processes of which the second has a fault: `FOLDER CASES`.

CASES is JSON: fault -> ranks that come, how many are expected, seconds that they wait. Each process plays a machine,
and the checks of a machine alone are left out. Processes are forked, so that torch is imported once for all of them.
Prints, for each fault, how every process ended, what it wrote, and how long it all took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from affectgpt.command_line import run
from tests.support.commands import free_port
from train.doctor import links, meeting, nodes
from train.doctor.findings import Finding, Report, Subject

_all_reduce, _now, _version_of = links.dist.all_reduce, time.time, nodes.version_of


def play(fault: str, rank: int, folder: Path, timeout_s: float) -> int:
    """One process; its exit code."""
    nodes._SHARED_S = 1.0
    nodes.host_name = lambda: f"node{rank}"  # type: ignore[assignment]
    if rank == 1:
        FAULTS[fault](folder)

    def look(machines: int) -> tuple[Subject, dict[str, Finding]]:
        if rank == 1 and fault == "fails":
            raise OSError("the disk is on fire")
        return Subject(folder, nodes=machines), {"python": Finding("ok", f"{machines} machines")}

    def show(report: Report) -> int:
        print(json.dumps(report.as_json()), flush=True)
        return int(report.status == "problem")

    return run(lambda _: nodes.examine(look, timeout_s, show), [])


def differ(folder: Path) -> None:
    """Another torch, setting, clock and folder."""
    nodes.version_of = lambda name: "1.0" if name == "torch" else _version_of(name)  # type: ignore[assignment]
    os.environ["NCCL_ALGO"] = "Tree"
    nodes.time.time = lambda: _now() + 100  # type: ignore[assignment]
    nodes.existing = lambda _: folder / "elsewhere"  # type: ignore[assignment]


def add_wrongly(folder: Path) -> None:
    """An all-reduce that gets the last number of a long tensor wrong."""

    def spoil(tensor: Any) -> None:
        _all_reduce(tensor)
        if len(tensor) > 1:
            tensor[-1] += 1

    links.dist.all_reduce = spoil  # type: ignore[assignment]


def die_later(folder: Path) -> None:
    """A process that is killed in the middle."""
    links.time_all_reduce = lambda device: os._exit(9)  # type: ignore[assignment]


def hang(folder: Path) -> None:
    """A process that never comes out of a driver."""
    meeting._GRACE_S = 1.0
    links.join = lambda *_: time.sleep(1000)  # type: ignore[assignment]


FAULTS = {"differs": differ, "sums": add_wrongly, "dies": die_later, "hangs": hang} | dict.fromkeys(
    ("late", "alone", "fails"), lambda folder: None
)


def start(fault: str, rank: int, size: int, port: int, folder: Path, timeout_s: float) -> int:
    """Fork a process of a meeting; its id."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        for number, kind in ((1, "out"), (2, "err")):
            os.dup2(os.open(folder / f"{fault}.{rank}.{kind}", os.O_CREAT | os.O_WRONLY), number)
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        code = play(fault, rank, folder, timeout_s)
    finally:
        sys.stderr.flush()
        os._exit(code)


def main(folder: Path, cases: dict[str, tuple[list[int], int, float]]) -> dict[str, Any]:
    """Let all cases happen at once."""
    started = time.monotonic()
    children = {}
    for fault, (ranks, size, timeout_s) in cases.items():
        port = free_port()
        for rank in ranks:
            children[start(fault, rank, size, port, folder, timeout_s)] = (fault, rank)
    met: dict[str, Any] = {fault: {"codes": {}, "out": {}, "err": {}} for fault in cases}
    while children:
        child, status = os.wait()
        fault, rank = children.pop(child)
        met[fault]["codes"][rank] = os.waitstatus_to_exitcode(status)
        met[fault]["seconds"] = time.monotonic() - started
        for kind in ("out", "err"):
            met[fault][kind][rank] = (folder / f"{fault}.{rank}.{kind}").read_text()
    return met


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), json.loads(sys.argv[2]))))
