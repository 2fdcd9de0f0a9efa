"""Checks of all machines of a run together, at a `Meeting`: code, clocks, shared folder, speed of the links."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import socket
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from train.doctor import links
from train.doctor.findings import Finding, Link, Report, Subject, existing
from train.doctor.meeting import Meeting, Stopped
from train.doctor.software import version_of

Look = Callable[[int], tuple[Subject, dict[str, Finding]]]
"""Callable: number of machines -> (the run to check for, findings of this machine)."""

COMPARED = ("torch", "transformers", "trl", "accelerate", "peft", "deepspeed", "affectgpt")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
ROOT = Path(__file__).parents[2]

_LOCAL_S = 300.0
"""Seconds for the checks of each machine, which import everything, possibly over a network."""
_SHARED_S = 15.0
"""Seconds until a file must be visible to all; NFS caches a folder for some seconds."""
_CLOCK_ROUNDS = 5
_CLOCK_ERROR_S = 1.0
_SLOW_BYTES_PER_S = 0.25e9
"""Speed between machines below which it is reported; a gigabit network has half of it."""
_SLOW_SHARE = 0.5
"""Share of the median speed of all links below which a link is reported."""
_ADVICE = {
    "arrival": "See what it printed: it must start, and reach the first one. Give slow machines time with --timeout S.",
    "process group": "Name the interface that reaches the others: export GLOO_SOCKET_IFNAME=... NCCL_SOCKET_IFNAME=... "
    "(`affectgpt doctor` lists them), and let .deepspeed_env carry it to every machine.",
}
_OTHER_ADVICE = "See on that machine: affectgpt doctor"


@dataclass(frozen=True, slots=True)
class Machines:
    """Machines of a run: the host of every process, and the first process of every machine."""

    hosts: list[str]
    first: dict[int, str]
    device: str

    @classmethod
    def of(cls, arrivals: list[dict[str, str]]) -> Machines:
        """Group processes into machines, from what each process reported about itself."""
        first: dict[tuple[str, str], int] = {}
        for rank, arrival in enumerate(arrivals):
            first.setdefault((arrival["host"], arrival["boot"]), rank)
        hosts = [arrival["host"] for arrival in arrivals]
        named = [host for host, _ in first]
        names = {rank: host if named.count(host) == 1 else f"{host} (rank {rank})" for (host, _), rank in first.items()}
        on_gpus = all(arrival["device"] == "cuda" for arrival in arrivals)
        return cls(hosts, names, "cuda" if on_gpus else "cpu")


def examine(look: Look, timeout_s: float, show: Callable[[Report], int]) -> int:
    """Check this machine and, with the others, all of them.

    look: function that checks this machine.
    timeout_s: seconds to wait for others.
    show: function that prints a report, on the first process, and returns the exit code.

    Returns:
        Exit code, the same on every process.

    Raises:
        RunError: the first process cannot be reached.
    """
    meeting = Meeting.from_environment(timeout_s)
    report = Report()
    code = 1
    try:
        _examine(meeting, look, report)
    except Stopped as stopped:
        advice = _ADVICE.get(stopped.step, _OTHER_ADVICE)
        report.together[stopped.step] = Finding("problem", str(stopped), advice)
    if meeting.rank == 0:
        code = show(report)
    code = meeting.end(code)
    with meeting.limited("parting", timeout_s):
        links.leave()
    return code


def _examine(meeting: Meeting, look: Look, report: Report) -> None:
    """Run all steps; each adds its findings to the report."""
    arrivals = meeting.collect(
        "arrival", lambda: {"host": host_name(), "boot": boot_id(), "device": links.device_kind()}
    )
    if meeting.rank == 0:
        meeting.tell("arrivals", arrivals)
    else:
        arrivals = meeting.hear("arrivals")
    machines = Machines.of(arrivals)
    meeting.names = {rank: f"rank {rank} ({host})" for rank, host in enumerate(machines.hosts)}
    report.together["arrival"] = check_arrivals(arrivals, machines)
    is_first = meeting.rank in machines.first
    subject: Subject | None = None

    def local() -> dict[str, Any] | None:
        nonlocal subject
        if not is_first:
            return None
        subject, findings = look(len(machines.first))
        return {"facts": facts_of(subject), "findings": {name: asdict(finding) for name, finding in findings.items()}}

    looked = meeting.collect("local checks", local, _LOCAL_S)
    if meeting.rank == 0:
        for rank, name in machines.first.items():
            report.machines[name] = {check: Finding(**item) for check, item in looked[rank]["findings"].items()}
        report.together |= compare_facts({name: looked[rank]["facts"] for rank, name in machines.first.items()})
    offsets = meeting.collect("clocks", lambda: clock_offset(meeting, machines))
    seen = meeting.collect("shared folder", lambda: sees_file(meeting, subject), meeting.timeout_s + _SHARED_S)
    if meeting.rank == 0:
        report.together["clocks"] = check_clocks({name: offsets[rank] for rank, name in machines.first.items()})
        report.together["shared folder"] = check_shared({name: seen[rank] for rank, name in machines.first.items()})
    meeting.collect("process group", lambda: links.join(meeting, machines.device))
    timed = meeting.collect("all-reduce", lambda: links.time_all_reduce(machines.device))
    pairs = links.ring(list(machines.first) if len(machines.first) > 1 else list(range(meeting.size)))
    linked = meeting.collect("links", lambda: links.time_links(pairs, machines.device), meeting.timeout_s + len(pairs))
    if meeting.rank == 0:
        report.together["all-reduce"] = check_all_reduce(timed, meeting, machines.device)
        report.links = [Link(f"{meeting.name(a)} - {meeting.name(b)}", *linked[a][f"{a}-{b}"]) for a, b in pairs]
        report.together["links"] = check_links(report.links, between_machines=len(machines.first) > 1)


def check_arrivals(arrivals: list[dict[str, str]], machines: Machines) -> Finding:
    """Check who arrived, and that all compute on the same kind of device."""
    count = f"{len(arrivals)} processes on {', '.join(machines.first.values())}"
    devices = {kind: [rank for rank, item in enumerate(arrivals) if item["device"] == kind] for kind in ("cuda", "cpu")}
    if all(devices.values()):
        ranks = ", ".join(f"{rank} ({arrivals[rank]['host']})" for rank in devices["cpu"])
        summary = f"{count}; some have a GPU, and these have none: rank {ranks}"
        return Finding("problem", summary, "See on that machine: affectgpt doctor")
    if len(set(machines.first.values())) > len({arrivals[rank]["host"] for rank in machines.first}):
        return Finding("warning", f"{count}: machines share a host name", "Give each its own: hostnamectl set-hostname")
    return Finding("ok", count)


def host_name() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def boot_id() -> str:
    """Return the boot id, which tells apart machines of the same name."""
    with suppress(OSError):
        return BOOT_ID.read_text().strip()
    return ""


def facts_of(subject: Subject) -> dict[str, dict[str, str]]:
    """Collect what must be equal on all machines: versions, code, recipe, settings of the communication libraries."""
    versions = {"python": platform.python_version()} | {name: version_of(name) or "missing" for name in COMPARED}
    code = {"sources": source_hash(ROOT)}
    if subject.recipe is not None:
        code["recipe"] = hashlib.sha256(subject.recipe.model_dump_json().encode()).hexdigest()[:12]
    prefixes = ("NCCL_", "GLOO_", "TORCH_NCCL_", "TORCH_GLOO_")
    settings = {name: value for name, value in os.environ.items() if name.startswith(prefixes)}
    return {"versions": versions, "code": code, "settings": settings}


def source_hash(root: Path) -> str:
    """Hash the program as it runs, uncommitted changes included."""
    sha256 = hashlib.sha256()
    for package in ("affectgpt", "videmo", "eval", "data_recipes", "train"):
        for path in sorted((root / package).rglob("*")):
            if path.suffix in (".py", ".yaml", ".toml"):
                sha256.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return sha256.hexdigest()[:12]


def compare_facts(facts: Mapping[str, dict[str, dict[str, str]]]) -> dict[str, Finding]:
    """Compare versions, code and settings of all machines, given by name."""
    fixes = {
        "versions": "On every machine: pip install -c constraints.txt -e .",
        "code": "Bring every machine to the same state: git pull, or copy the checkout: rsync -a --delete ./ HOST:DIR/",
        "settings": "Write them into .deepspeed_env, which the launcher carries to every machine.",
    }
    findings = {}
    for group, fix in fixes.items():
        names = list(dict.fromkeys(name for machine in facts.values() for name in machine[group]))
        values = {name: {host: machine[group].get(name, "unset") for host, machine in facts.items()} for name in names}
        different = [name for name in names if len(set(values[name].values())) > 1]
        text = "; ".join(f"{name}: {_by_value(values[name])}" for name in different)
        if not different:
            one = next(iter(facts.values()))[group]
            findings[group] = Finding("ok", ", ".join(f"{name} {value}" for name, value in one.items()) or "none set")
        elif all(name.endswith(("_SOCKET_IFNAME", "_IB_HCA")) for name in different):
            findings[group] = Finding("warning", f"{text}; right only if the interfaces differ", fix)
        else:
            findings[group] = Finding("problem", text, fix)
    return findings


def _by_value(values: Mapping[str, str]) -> str:
    """Group hosts by value, the most frequent first: `1.0 on a and b, 2.0 on c`."""
    groups: dict[str, list[str]] = {}
    for host, value in values.items():
        groups.setdefault(value, []).append(host)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return ", ".join(f"{value} on {' and '.join(hosts)}" for value, hosts in ordered)


def clock_offset(meeting: Meeting, machines: Machines) -> float | None:
    """Measure by how many seconds this clock is ahead of the first machine's, to half of the shortest round trip."""
    others = [rank for rank in machines.first if rank != 0]
    if meeting.rank == 0:
        for rank in others:
            for turn in range(_CLOCK_ROUNDS):
                meeting.hear(f"clocks/ask/{rank}/{turn}", speaker=rank)
                meeting.tell(f"clocks/tell/{rank}/{turn}", time.time())
        return 0.0
    if meeting.rank not in others:
        return None
    best, offset = float("inf"), 0.0
    for turn in range(_CLOCK_ROUNDS):
        asked, started = time.time(), time.perf_counter()
        meeting.tell(f"clocks/ask/{meeting.rank}/{turn}", None)
        there = meeting.hear(f"clocks/tell/{meeting.rank}/{turn}")
        trip = time.perf_counter() - started
        if trip < best:
            best, offset = trip, asked + trip / 2 - there
    return offset


def check_clocks(offsets: Mapping[str, float]) -> Finding:
    """Check the offsets from the first machine's clock, by machine."""
    worst = max(offsets, key=lambda name: abs(offsets[name]))
    off = {name: seconds for name, seconds in offsets.items() if abs(seconds) > _CLOCK_ERROR_S}
    if off:
        listed = ", ".join(f"{name} by {seconds:+.1f} s" for name, seconds in off.items())
        fix = "Set them: sudo timedatectl set-ntp true"
        return Finding("warning", f"they differ from the first machine's: {listed}", fix)
    return Finding("ok", f"within {abs(offsets[worst]) * 1e3:.2f} ms of the first machine's")


def sees_file(meeting: Meeting, subject: Subject | None) -> str | None:
    """Check that this machine sees a file that the first one writes to the run's folder; return the flaw, if any."""
    if meeting.rank == 0:
        assert subject is not None
        folder, content = existing(subject.folder), secrets.token_hex(16)
        path = folder / f".doctor-{secrets.token_hex(8)}"
        try:
            path.write_text(content)
        except OSError as error:
            meeting.tell("shared folder/file", None)
            return f"{folder}: {error.strerror}"
        try:
            meeting.tell("shared folder/file", [path.name, content])
            deadline = time.monotonic() + meeting.timeout_s
            for rank in range(1, meeting.size):
                meeting.hear(f"shared folder/done/{rank}", max(0.0, deadline - time.monotonic()) + _SHARED_S, rank)
        finally:
            path.unlink()
        return None
    message = meeting.hear("shared folder/file")
    flaw = None
    if subject is not None and message is not None:
        folder = existing(subject.folder)
        deadline = time.monotonic() + _SHARED_S
        while (flaw := _flaw_of_file(folder, *message)) is not None and time.monotonic() < deadline:
            time.sleep(0.2)
    meeting.tell(f"shared folder/done/{meeting.rank}", None)
    return flaw


def _flaw_of_file(folder: Path, name: str, content: str) -> str | None:
    try:
        if name not in os.listdir(folder):  # which makes a network file system look again
            return f"{folder} is not the folder of the first machine: a file written there is missing here"
        if (folder / name).read_text() != content:
            return f"{folder}: a file that the first machine wrote has different content here"
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


def check_shared(flaws: Mapping[str, str | None]) -> Finding:
    """Check what kept each machine from seeing the file, by machine."""
    wrong = [f"{name}: {flaw}" for name, flaw in flaws.items() if flaw is not None]
    if wrong:
        fix = "Choose a folder that all machines mount: output=DIR in a recipe, --path DIR here."
        return Finding("problem", "; ".join(wrong), fix)
    return Finding("ok", "one machine" if len(flaws) == 1 else f"seen by all {len(flaws)} machines")


def check_all_reduce(timed: list[dict[str, Any]], meeting: Meeting, device: str) -> Finding:
    """Check the sums and times of every process."""
    wrong = [meeting.name(rank) for rank, item in enumerate(timed) if not item["right"]]
    if wrong:
        fix = (
            "Try without direct exchange: export NCCL_P2P_DISABLE=1, then NCCL_IB_DISABLE=1. It shows the faulty part."
        )
        return Finding("problem", f"wrong sums at {', '.join(wrong)}", fix)
    small = max(item["small_s"] for item in timed)
    large = max(item["large_s"] for item in timed)
    library = "NCCL" if device == "cuda" else "gloo"
    summary = (
        f"sums are right; 4 bytes in {small * 1e3:.2f} ms, {links.LARGE >> 20} MB in {large:.3f} s, "
        f"{links.LARGE / large / 1e9:.2f} GB/s ({library})"
    )
    return Finding("ok", summary)


def check_links(timed: list[Link], between_machines: bool) -> Finding:
    """Report the slowest of the links, and whether it is too slow."""
    slowest = min(timed, key=lambda link: link.bytes_per_s)
    usual = statistics.median(link.bytes_per_s for link in timed)
    text = (
        f"slowest of {len(timed)}: {slowest.ends}, {slowest.bytes_per_s / 1e9:.2f} GB/s, "
        f"{slowest.latency_s * 1e3:.2f} ms; median {usual / 1e9:.2f} GB/s"
    )
    if slowest.bytes_per_s < _SLOW_SHARE * usual:
        fix = "Inspect the network of these machines: ip -s link, ethtool INTERFACE; all others wait for it."
        return Finding("warning", text, fix)
    if between_machines and slowest.bytes_per_s < _SLOW_BYTES_PER_S:
        fix = "If there is a faster network, name its interface: export GLOO_SOCKET_IFNAME=... NCCL_SOCKET_IFNAME=..."
        return Finding("warning", f"{text}; gradients go over it at every step", fix)
    return Finding("ok", text)
