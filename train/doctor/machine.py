"""Checks of the machine itself: its disk, memory, limits, clock, name and network."""

from __future__ import annotations

import ipaddress
import os
import resource
import secrets
import shutil
import socket
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from train.doctor.findings import Check, Finding, Status, Subject, existing, explain

MOUNTS = Path("/proc/mounts")
SHARED_MEMORY = Path("/dev/shm")
CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
"""Files with a container's memory limit and use; cgroup version 2 and 1."""
GB, MB = 1e9, 1e6

_LEAST_DISK, _GOOD_DISK = 1 * GB, 10 * GB
_GOOD_SPEED = 50 * MB
_WRITTEN = 64 << 20
_LEAST_SHARED, _GOOD_SHARED = 70 * MB, 1 * GB
"""Thresholds of /dev/shm in bytes; Docker gives a container 64 MiB by default."""
_LEAST_TEMPORARY = 100 * MB
_LEAST_FILES, _GOOD_FILES = 256, 4096
_LEAST_MEMORY, _GOOD_MEMORY = 1 * GB, 4 * GB
_CLOCK_ERROR_S = 2.0
_LOCK_S = 10.0
_NETWORK_FILE_SYSTEMS = ("nfs", "lustre", "gpfs", "beegfs", "ceph", "cifs", "smb", "9p", "fuse.", "wekafs", "virtiofs")


def check_folder(subject: Subject) -> Finding:
    """Check that checkpoints can be written, flushed, renamed and locked where the run writes."""
    from filelock import FileLock

    from train.fault_tolerance.checkpoint import flaw_of, publish

    folder = existing(subject.folder)
    name = str(folder) if folder == subject.folder.absolute() else f"{folder} ({subject.folder} does not exist yet)"
    elsewhere = "Choose another folder: output=DIR in a recipe, --path DIR here."
    if not folder.is_dir():
        return Finding("problem", f"{folder} is a file", elsewhere)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as trial:
            draft, target = Path(trial, "draft"), Path(trial, "checkpoint")
            for _ in range(2):  # the second replaces the first
                draft.mkdir()
                (draft / "weights").write_bytes(secrets.token_bytes(4096))
                publish(draft, target)
                if (flaw := flaw_of(target)) is not None:
                    return Finding("problem", f"{name}: after a folder was renamed, {flaw}", elsewhere)
            with FileLock(Path(trial, "lock"), timeout=_LOCK_S):
                pass
    except (OSError, NotImplementedError) as error:
        summary = f"{name}: a checkpoint cannot be written, flushed, renamed and locked there ({explain(error)})"
        return Finding("problem", summary, elsewhere)
    kind = file_system(folder)
    over_network = ", over a network" if kind.startswith(_NETWORK_FILE_SYSTEMS) else ""
    return Finding("ok", f"{name}: written, flushed, renamed and locked; file system {kind}{over_network}")


def file_system(path: Path) -> str:
    """Return the type of the file system that holds a path, such as `ext4`; `unknown` if the system does not say."""
    path, best, kind = path.resolve(), -1, "unknown"
    with suppress(OSError):
        for line in MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
            _, mounted, fs_type, *_ = line.split(" ")
            point = Path(mounted.replace("\\040", " "))
            if path.is_relative_to(point) and len(point.parts) >= best:  # of equal ones, the last hides the others
                best, kind = len(point.parts), fs_type
    return kind


def check_disk(subject: Subject) -> Finding:
    """Check the free space where the run writes, and how fast data reaches the disk."""
    folder = existing(subject.folder)
    free = shutil.disk_usage(folder).free
    fix = f"Free some space in {folder}, or choose another folder: output=DIR in a recipe, --path DIR here."
    if free < _LEAST_DISK:
        return Finding("problem", f"{free / GB:.2f} GB free, too little for any run", fix)
    speed = write_speed(folder)
    summary = f"{free / GB:,.0f} GB free, written and flushed at {speed / MB:,.0f} MB/s"
    if free < _GOOD_DISK:
        return Finding("warning", f"{summary}; checkpoints of a large model take more", fix)
    if speed < _GOOD_SPEED:
        fix = "Every checkpoint is flushed: choose a faster disk, or a larger save_steps in the stages of the recipe."
        return Finding("warning", f"{summary}, which is slow", fix)
    return Finding("ok", summary)


def write_speed(folder: Path) -> float:
    """Measure the bytes per second that reach the disk."""
    block = secrets.token_bytes(4 << 20)
    with tempfile.TemporaryFile(prefix=".doctor-", dir=folder) as file:
        started = time.perf_counter()
        for _ in range(_WRITTEN // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        return _WRITTEN / (time.perf_counter() - started)


def check_clock(subject: Subject) -> Finding:
    """Check that the clock runs at the right speed, is later than our own files, and agrees with the file system's."""
    fix = "Set the clock: sudo timedatectl set-ntp true"
    steady, shown = time.monotonic(), time.time()
    time.sleep(0.05)
    drift = (time.time() - shown) - (time.monotonic() - steady)
    if abs(drift) > _CLOCK_ERROR_S:
        return Finding("problem", f"the clock jumped by {drift:.1f} s during this check", fix)
    if shown < Path(__file__).stat().st_mtime:
        return Finding("problem", f"the clock says {time.ctime(shown)}, before this program was installed", fix)
    with tempfile.NamedTemporaryFile(prefix=".doctor-", dir=existing(subject.folder)) as file:
        before = time.time()
        file.write(b"now")
        file.flush()
        os.fsync(file.fileno())
        written, after = os.stat(file.name).st_mtime, time.time()
    ahead = written - min(max(written, before), after)  # a slow disk may take seconds in between
    if abs(ahead) > _CLOCK_ERROR_S:
        side = "ahead of" if ahead > 0 else "behind"
        summary = f"the file system's clock is {abs(ahead):.1f} s {side} this machine's"
        return Finding("warning", summary, f"{fix}, here or on the file server")
    return Finding("ok", f"{time.strftime('%Y-%m-%d %H:%M:%S %z')}, the same as the file system's")


def check_port(subject: Subject) -> Finding:
    """Check that the port at which the launcher's processes meet is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", subject.port))
        except OSError as error:
            summary = f"port {subject.port} cannot be used ({error.strerror}): another run may hold it"
            with socket.socket() as other:
                other.bind(("", 0))
                free = other.getsockname()[1]
            return Finding("warning", summary, f"Launch with another: deepspeed --master_port {free} ...")
    return Finding("ok", f"{subject.port} is free")


def check_shared_memory(subject: Subject) -> Finding:
    """Check the room in /dev/shm, through which processes of one machine exchange tensors."""
    if not SHARED_MEMORY.is_dir():
        return Finding("problem", f"no {SHARED_MEMORY}", f"Mount it: mount -t tmpfs tmpfs {SHARED_MEMORY}")
    size = shutil.disk_usage(SHARED_MEMORY)
    summary = f"{size.free / GB:.2f} of {size.total / GB:.2f} GB free in {SHARED_MEMORY}"
    fix = "Give the container more: docker run --shm-size=16g ..., or --ipc=host"
    if size.free < _LEAST_SHARED:
        return Finding("problem", f"{summary}; NCCL and PyTorch's workers need more", fix)
    if size.free < _GOOD_SHARED:
        return Finding("warning", f"{summary}; many workers or GPUs may need more", fix)
    return Finding("ok", summary)


def check_open_files(subject: Subject) -> Finding:
    """Check how many files a process may hold open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return Finding("ok", "no limit")
    summary = f"{soft:,} a process"
    if soft >= _GOOD_FILES:
        return Finding("ok", summary)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    fix = f"ulimit -n {wanted}"
    if wanted < _GOOD_FILES:
        fix += ", the most that is allowed here; raise it in /etc/security/limits.conf"
    status: Status = "problem" if soft < _LEAST_FILES else "warning"
    return Finding(status, f"{summary}; workers and connections of many processes need more", fix)


def check_temporary_folder(subject: Subject) -> Finding:
    """Check that the temporary folder can be written to and holds the sockets of decoding workers."""
    from affectgpt.media.sandbox import socket_folder

    folder, sockets = tempfile.gettempdir(), socket_folder()
    fix = "Name a folder with a short path that can be written to: export TMPDIR=/tmp"
    if sockets is None:
        return Finding("problem", f"{folder}: its path is too long for the sockets of decoding workers", fix)
    free = shutil.disk_usage(folder).free
    if free < _LEAST_TEMPORARY:
        return Finding("warning", f"{folder}: {free / MB:,.0f} MB free", fix)
    aside = "" if sockets == folder else f"; sockets, whose paths must be shorter, are in {sockets}"
    return Finding("ok", f"{folder}: {free / GB:,.1f} GB free{aside}")


def check_memory(subject: Subject) -> Finding:
    """Check the free main memory, within the limit of a container."""
    import psutil

    memory = psutil.virtual_memory()
    total, free = float(memory.total), float(memory.available)
    for limit_file, used_file in CGROUPS:
        with suppress(OSError, ValueError):  # absent, or 'max'
            limit, used = int(limit_file.read_text()), int(used_file.read_text())
            if limit < total:
                total, free = limit, min(free, limit - used)
    summary = f"{free / GB:.1f} of {total / GB:.1f} GB free"
    fix = "End other programs (see: ps aux --sort=-rss | head), or give the container more memory."
    if free < _LEAST_MEMORY:
        return Finding("problem", f"{summary}; even the demo needs more", fix)
    return Finding("warning" if free < _GOOD_MEMORY else "ok", summary, fix if free < _GOOD_MEMORY else "")


def check_encoding(subject: Subject) -> Finding:
    """Check that text is UTF-8 by default; labels and subtitles are in many languages."""
    import locale

    used = {
        "files": locale.getpreferredencoding(False),
        "file names": sys.getfilesystemencoding(),
        "output": getattr(sys.stdout, "encoding", None) or "utf-8",
    }
    other = [f"{what} {name}" for what, name in used.items() if name.lower().replace("-", "") != "utf8"]
    if other:
        return Finding("problem", f"not UTF-8: {', '.join(other)}", "export PYTHONUTF8=1 LANG=C.UTF-8")
    return Finding("ok", "UTF-8")


def check_host_name(subject: Subject) -> Finding:
    """Check that this machine's name resolves to an address at which others can reach it: gloo uses it."""
    name, interfaces = socket.gethostname(), network_interfaces()
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        if (wrong := _unknown_interface(variable, interfaces)) is not None:
            return Finding(
                "problem", f"{variable} names '{wrong}'; interfaces here: {_listed(interfaces)}", _advice(interfaces)
            )
    if chosen := os.environ.get("GLOO_SOCKET_IFNAME"):
        return Finding("ok", f"{name}; GLOO_SOCKET_IFNAME={chosen}")
    try:
        resolved = sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    except OSError as error:
        where = f"cannot be resolved ({error.strerror or error})"
    else:
        ours = {address for addresses in interfaces.values() for address in addresses}
        if any(address in ours for address in resolved):
            return Finding("ok", f"{name} is {', '.join(resolved)}")
        loopback = all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in resolved)
        where = f"is {', '.join(resolved)}, {'the loopback' if loopback else 'not an address of this machine'}"
    if subject.nodes == 1:
        summary = f"{name} {where}: enough for one machine, not for several (interfaces: {_listed(interfaces)})"
        return Finding("warning", summary, f"Before a run on several: {_advice(interfaces)}")
    return Finding("problem", f"{name} {where} (interfaces: {_listed(interfaces)})", _advice(interfaces))


def network_interfaces() -> dict[str, list[str]]:
    """Return the addresses of the interfaces that are up, except loopback and link-local ones."""
    import psutil

    states = psutil.net_if_stats()
    interfaces: dict[str, list[str]] = {}
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family not in (socket.AF_INET, socket.AF_INET6) or not (name in states and states[name].isup):
                continue
            address = ipaddress.ip_address(entry.address.partition("%")[0])
            if not address.is_loopback and not address.is_link_local:
                interfaces.setdefault(name, []).append(str(address))
    return interfaces


def _unknown_interface(variable: str, interfaces: dict[str, list[str]]) -> str | None:
    """Return the first named interface that does not exist. NCCL takes prefixes, `=` whole names, `^` exclusions."""
    given = os.environ.get(variable, "")
    exact = variable.startswith("GLOO") or given.startswith("=")
    if given.startswith("^"):
        return None
    known = {*interfaces, "lo"}
    for name in filter(None, given.removeprefix("=").split(",")):
        if not (name in known if exact else any(item.startswith(name) for item in known)):
            return name
    return None


def _listed(interfaces: dict[str, list[str]]) -> str:
    return ", ".join(f"{name} {addresses[0]}" for name, addresses in interfaces.items()) or "none but the loopback"


def _advice(interfaces: dict[str, list[str]]) -> str:
    if not interfaces:
        return "Bring a network interface up: ip link"
    name = next(iter(interfaces))
    choice = "" if len(interfaces) == 1 else ", or another of them, the one that reaches the other machines"
    return f"export GLOO_SOCKET_IFNAME={name} NCCL_SOCKET_IFNAME={name}{choice}"


CHECKS: dict[str, Check] = {
    "folder": check_folder,
    "disk": check_disk,
    "clock": check_clock,
    "port": check_port,
    "shared memory": check_shared_memory,
    "open files": check_open_files,
    "temporary folder": check_temporary_folder,
    "memory": check_memory,
    "encoding": check_encoding,
    "host name": check_host_name,
}
