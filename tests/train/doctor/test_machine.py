"""Checks of the machine, each with what is good and what is bad: real folders and sockets, other figures put in."""

from __future__ import annotations

import errno
import os
import re
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import filelock
import pytest

from train.doctor import machine
from train.doctor.findings import Subject, existing


@pytest.fixture
def subject(tmp_path) -> Subject:
    return Subject(tmp_path)


def test_a_good_folder_is_left_as_it_was(subject, tmp_path):
    finding = machine.check_folder(subject)
    assert finding.status == "ok", finding
    assert finding.found.startswith(f"{tmp_path}: written, flushed, renamed and locked; file system ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_to_come_is_tried_above(tmp_path):
    finding = machine.check_folder(Subject(tmp_path / "runs" / "a"))
    assert finding.status == "ok"
    assert f"{tmp_path} ({tmp_path / 'runs' / 'a'} does not exist yet)" in finding.found
    assert list(tmp_path.iterdir()) == []
    assert existing(tmp_path / "runs" / "a") == tmp_path


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("")
    assert machine.check_folder(Subject(tmp_path / "run")).status == "problem"


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_file_system_that_cannot_do_what_checkpoints_need_is_a_problem(subject, tmp_path, monkeypatch, call):
    def refuse(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, call, refuse)
    finding = machine.check_folder(subject)
    assert finding.status == "problem"
    assert "cannot be written, flushed, renamed and locked" in finding.found
    assert "Invalid argument" in finding.found
    assert "--path DIR" in finding.fix
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_locked_is_a_problem(subject, monkeypatch):
    monkeypatch.setattr(machine, "_LOCK_S", 0.05)

    def never(self: filelock.BaseFileLock) -> None:
        """Leave the lock with whoever holds it."""

    monkeypatch.setattr(filelock.FileLock, "_acquire", never)
    finding = machine.check_folder(subject)
    assert finding.status == "problem"
    assert "cannot be written, flushed, renamed and locked" in finding.found


def test_a_folder_that_loses_what_was_written_is_a_problem(subject, monkeypatch):
    rename = os.rename

    def lossy(old: Path, new: Path) -> None:
        rename(old, new)
        if Path(new).name == "checkpoint":
            (Path(new) / "weights").write_bytes(b"")

    monkeypatch.setattr(os, "rename", lossy)
    finding = machine.check_folder(subject)
    assert finding.status == "problem"
    assert "after a folder was renamed, weights: expected 4096 bytes, got 0" in finding.found


def test_the_nearest_mount_tells_the_file_system(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    place = tmp_path / "my data"
    mounted = str(place).replace(" ", "\\040")
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} xfs rw 0 0\nserver:/x {mounted} nfs4 rw 0 0\n")
    (place / "runs").mkdir(parents=True)
    monkeypatch.setattr(machine, "MOUNTS", mounts)
    assert machine.file_system(place / "runs") == "nfs4"
    assert machine.file_system(tmp_path) == "xfs"
    assert machine.check_folder(Subject(place)).found.endswith("file system nfs4, over a network")
    monkeypatch.setattr(machine, "MOUNTS", tmp_path / "absent")
    assert machine.file_system(place) == "unknown"


@pytest.mark.parametrize(
    ("free", "speed", "status", "words"),
    [
        (50e9, 500e6, "ok", "50 GB free, written and flushed at 500 MB/s"),
        (5e9, 500e6, "warning", "checkpoints of a large model take more"),
        (50e9, 5e6, "warning", "5 MB/s, which is slow"),
        (0.5e9, 500e6, "problem", "0.50 GB free"),
    ],
)
def test_disk(subject, monkeypatch, free, speed, status, words):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    monkeypatch.setattr(machine, "write_speed", lambda _: speed)
    finding = machine.check_disk(subject)
    assert finding.status == status
    assert words in finding.found
    assert bool(finding.fix) == (status != "ok")


def test_speed_is_measured_and_nothing_is_left(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: flushed.append(os.fstat(number).st_size) or fsync(number))
    assert 1e5 < machine.write_speed(tmp_path) < 1e12
    assert flushed == [64 << 20]
    assert list(tmp_path.iterdir()) == []


def test_clock(subject, monkeypatch):
    assert machine.check_clock(subject).status == "ok"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 60)
    finding = machine.check_clock(subject)
    assert finding.status in ("warning", "problem")  # the files of this checkout may be as young as that
    monkeypatch.setattr(time, "time", lambda: 0.0)
    finding = machine.check_clock(subject)
    assert finding.status == "problem"
    assert "1970" in finding.found


def test_the_clock_of_the_file_system(subject, monkeypatch):
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3000)
    finding = machine.check_clock(subject)
    assert finding.status == "warning"
    behind = re.fullmatch(r"the file system's clock is ([\d.]+) s behind this machine's", finding.found)
    assert behind, finding
    assert float(behind[1]) == pytest.approx(3000, abs=100)


def test_a_disk_that_is_slow_to_flush_is_no_clock_that_is_wrong(subject, monkeypatch):
    passed = 0.0
    now, fsync = time.time, os.fsync

    def flush(number: int) -> None:
        nonlocal passed
        fsync(number)
        passed += 30.0

    monkeypatch.setattr(time, "time", lambda: now() + passed)
    monkeypatch.setattr(os, "fsync", flush)
    assert machine.check_clock(subject).status == "ok"
    assert passed == 30.0


def test_a_clock_that_jumps(subject, monkeypatch):
    shown = iter([time.time(), time.time() + 3000])
    monkeypatch.setattr(time, "time", lambda: next(shown))
    finding = machine.check_clock(subject)
    assert finding.status == "problem"
    jump = re.match(r"the clock jumped by ([\d.]+) s", finding.found)
    assert jump, finding
    assert float(jump[1]) == pytest.approx(3000, abs=100)


def test_port(tmp_path):
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        subject = Subject(tmp_path, port=holder.getsockname()[1])
        finding = machine.check_port(subject)
        assert finding.status == "warning"
        assert f"port {subject.port} cannot be used" in finding.found
        assert "deepspeed --master_port " in finding.fix
        assert str(subject.port) not in finding.fix
    assert machine.check_port(subject).status == "ok"


@pytest.mark.parametrize(("free", "status"), [(8e9, "ok"), (0.5e9, "warning"), (64 << 20, "problem")])
def test_shared_memory(subject, monkeypatch, free, status):
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=free, total=16e9))
    finding = machine.check_shared_memory(subject)
    assert finding.status == status
    assert ("--shm-size" in finding.fix) == (status != "ok")


def test_no_shared_memory_at_all(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path / "absent")
    assert machine.check_shared_memory(subject).status == "problem"


def test_the_temporary_folder(subject, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("affectgpt.media.sandbox.socket_folder", lambda: str(tmp_path))
    finding = machine.check_temporary_folder(subject)
    assert finding.status == "ok"
    assert finding.found.startswith(f"{tmp_path}: ")
    assert "sockets" not in finding.found
    monkeypatch.setattr("affectgpt.media.sandbox.socket_folder", lambda: "/tmp")
    assert machine.check_temporary_folder(subject).found.endswith("; sockets, whose paths must be shorter, are in /tmp")
    monkeypatch.setattr("affectgpt.media.sandbox.socket_folder", lambda: None)
    finding = machine.check_temporary_folder(subject)
    assert (finding.status, "export TMPDIR=" in finding.fix) == ("problem", True)
    monkeypatch.setattr("affectgpt.media.sandbox.socket_folder", lambda: str(tmp_path))
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: SimpleNamespace(free=5e6))
    assert machine.check_temporary_folder(subject).found == f"{tmp_path}: 5 MB free"


@pytest.mark.parametrize(
    ("soft", "hard", "status", "fix"),
    [
        (65536, 65536, "ok", ""),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, "ok", ""),
        (1024, 524288, "warning", "ulimit -n 65536"),
        (100, 1024, "problem", "ulimit -n 1024, the most that is allowed here"),
    ],
)
def test_open_files(subject, monkeypatch, soft, hard, status, fix):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    finding = machine.check_open_files(subject)
    assert finding.status == status
    assert finding.fix.startswith(fix)
    assert bool(finding.fix) == bool(fix)


@pytest.mark.parametrize(
    ("available", "limit", "status", "words"),
    [
        (32e9, "max", "ok", "32.0 of 64.0 GB free"),
        (32e9, str(int(8e9)), "ok", "6.0 of 8.0 GB free"),
        (32e9, str(int(5e9)), "warning", "3.0 of 5.0 GB free"),
        (0.5e9, "max", "problem", "0.5 of 64.0 GB free"),
    ],
)
def test_memory_within_a_container(subject, tmp_path, monkeypatch, available, limit, status, words):
    psutil = pytest.importorskip("psutil")
    (tmp_path / "max").write_text(limit)
    (tmp_path / "current").write_text(str(int(2e9)))
    monkeypatch.setattr(machine, "CGROUPS", ((tmp_path / "max", tmp_path / "current"),))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=64e9, available=available))
    finding = machine.check_memory(subject)
    assert finding.status == status
    assert words in finding.found


def test_encoding(subject, monkeypatch):
    import locale

    monkeypatch.setattr(locale, "getpreferredencoding", lambda _: "ISO-8859-1")
    finding = machine.check_encoding(subject)
    assert finding.status == "problem"
    assert "files ISO-8859-1" in finding.found
    assert "PYTHONUTF8=1" in finding.fix
    monkeypatch.setattr(locale, "getpreferredencoding", lambda _: "UTF-8")
    assert machine.check_encoding(subject).status == "ok"
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(encoding="ascii"))
    finding = machine.check_encoding(subject)
    assert (finding.status, finding.found) == ("problem", "not UTF-8: output ascii")


@pytest.fixture
def network(monkeypatch):
    """`network(address)`: this machine has eth0 and ib0, and its name is that address, or an error."""
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(machine, "network_interfaces", lambda: {"eth0": ["10.0.0.5"], "ib0": ["10.1.0.5"]})
    monkeypatch.setattr(socket, "gethostname", lambda: "node1")

    def name_is(address: str | OSError) -> None:
        def resolve(*_: object, **__: object) -> list[tuple]:
            if isinstance(address, OSError):
                raise address
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)

    return name_is


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("127.0.1.1", "node1 is 127.0.1.1, the loopback"),
        ("192.168.7.7", "node1 is 192.168.7.7, not an address of this machine"),
        (socket.gaierror(-2, "Name or service not known"), "node1 cannot be resolved (Name or service not known)"),
    ],
)
def test_a_name_that_others_cannot_dial(tmp_path, network, address, words):
    network(address)
    alone = machine.check_host_name(Subject(tmp_path))
    assert alone.status == "warning"
    among_others = machine.check_host_name(Subject(tmp_path, nodes=2))
    assert among_others.status == "problem"
    for finding in (alone, among_others):
        assert words in finding.found
        assert "eth0 10.0.0.5, ib0 10.1.0.5" in finding.found
        assert "export GLOO_SOCKET_IFNAME=eth0 NCCL_SOCKET_IFNAME=eth0" in finding.fix


def test_a_name_that_leads_here(tmp_path, network):
    network("10.0.0.5")
    finding = machine.check_host_name(Subject(tmp_path, nodes=2))
    assert (finding.status, finding.found) == ("ok", "node1 is 10.0.0.5")


@pytest.mark.parametrize(
    ("variable", "value", "wrong"),
    [
        ("GLOO_SOCKET_IFNAME", "ib0", None),
        ("GLOO_SOCKET_IFNAME", "ib", "ib"),
        ("NCCL_SOCKET_IFNAME", "ib", None),
        ("NCCL_SOCKET_IFNAME", "=ib", "ib"),
        ("NCCL_SOCKET_IFNAME", "^docker", None),
        ("NCCL_SOCKET_IFNAME", "eth,bond", "bond"),
    ],
)
def test_interfaces_that_are_named(tmp_path, network, monkeypatch, variable, value, wrong):
    network("10.0.0.5")
    monkeypatch.setenv(variable, value)
    finding = machine.check_host_name(Subject(tmp_path))
    assert finding.status == ("ok" if wrong is None else "problem")
    if wrong is not None:
        assert f"{variable} names '{wrong}'" in finding.found


def test_interfaces_are_those_of_this_machine():
    for addresses in machine.network_interfaces().values():
        for address in addresses:
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
                probe.bind((address, 0))
