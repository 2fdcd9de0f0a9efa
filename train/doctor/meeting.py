"""Meeting of the processes of a run before any collective works: a key-value store at the first process.

Every wait has a time limit, and its error names the process waited for. The first process speaks for all; the others
end after it has spoken, since the launcher ends a whole machine as soon as one of its processes fails.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import psutil
from torch.distributed import DistError, TCPStore

from affectgpt.problems import InputError, RunError
from train.doctor.findings import PORT, explain

_GRACE_S = 30.0
"""Seconds beyond a step's limit that other processes wait, so that the first process reports who is late."""
_FAREWELL_S = 10.0
_RETRY_S = 0.2


class Stopped(RunError):
    """Error in a step: a process failed or did not arrive. All processes raise it once the first has noticed."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step


class Meeting:
    """Meeting of the processes of a run, at a store that the first of them holds.

    Args:
        rank, size: rank of this process, and number of processes.
        address, port: address of the first process.
        timeout_s: seconds to wait for others.

    Raises:
        RunError: the first process cannot be reached, or cannot take the port.
    """

    def __init__(self, rank: int, size: int, address: str, port: int, timeout_s: float) -> None:
        self.rank, self.size, self.timeout_s = rank, size, timeout_s
        self.names = {number: f"rank {number} ({host})" for number, host in planned_hosts().items()}
        limit = timedelta(seconds=timeout_s)
        try:
            if rank != 0:
                _reach(address, port, timeout_s)
            # If another program listens there and stays silent, the store would wait for ever.
            with self.limited(f"meeting at {address}:{port}", 2 * timeout_s):
                self.store = TCPStore(address, port, size, is_master=rank == 0, timeout=limit, wait_for_workers=False)
        except (OSError, DistError, RuntimeError) as error:
            if rank == 0:
                fix = "Launch with another port: deepspeed --master_port N ..."
                raise RunError(f"{self.name(0)}: cannot listen at port {port} ({explain(error)}). {fix}") from None
            fix = f"See what it printed, and whether a firewall is between: nc -vz {address} {port}"
            raise RunError(
                f"{self.name(rank)}: {self.name(0)} cannot be reached at {address}:{port} within {timeout_s:g} s "
                f"({explain(error)}). {fix}"
            ) from None
        self.present: set[int] = {0}

    @classmethod
    def from_environment(cls, timeout_s: float) -> Meeting:
        """Join the meeting that the launcher's environment variables describe.

        Raises:
            InputError: a variable is missing or not a number.
        """
        try:
            rank, size, port = (
                int(os.environ.get(name, default))
                for name, default in (("RANK", ""), ("WORLD_SIZE", ""), ("MASTER_PORT", str(PORT)))
            )
            address = os.environ["MASTER_ADDR"]
        except (KeyError, ValueError):
            names = "RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
            given = ", ".join(f"{name}={os.environ.get(name)}" for name in names.replace(" and", ",").split(", "))
            fix = "Start it with the launcher: deepspeed --hostfile HOSTS --module train.doctor"
            raise InputError(f"the environment: expected {names} as a launcher sets them, got {given}. {fix}") from None
        return cls(rank, size, address, port, timeout_s)

    def name(self, rank: int) -> str:
        """Return a process's rank and, if known, host as text."""
        return self.names.get(rank, f"rank {rank}")

    def collect(self, step: str, work: Callable[[], Any], limit_s: float | None = None) -> list[Any]:
        """Run this process's share of a step, and gather the results at the first process.

        Args:
            step: name of the step, used once.
            work: share of this process; its return value must be JSON.
            limit_s: seconds that the shares may take; `timeout_s` by default.

        Returns:
            On the first process the results of all, by rank; on others an empty list.

        Raises:
            Stopped: shares failed or were not done in time; all of them are named.
            RunError: the first process is gone.
        """
        limit_s = self.timeout_s if limit_s is None else limit_s
        with self.limited(step, limit_s + _GRACE_S):
            try:
                mine = {"value": work()}
            except Exception as error:
                mine = {"error": str(error) if isinstance(error, RunError) else explain(error)}
        if self.rank != 0:
            self._set(f"{step}/{self.rank}", mine)
            if self.hear(f"{step}/verdict", 2 * limit_s + 2 * _GRACE_S):
                raise Stopped(step, "see the report of the first process")
            return []
        results: dict[int, Any] = {0: mine}
        deadline = time.monotonic() + limit_s
        for rank in range(1, self.size):
            key = f"{step}/{rank}"
            if self._wait(key, deadline - time.monotonic()):
                results[rank] = self._get(key)
        self.present = set(results)
        wrong = [f"{self.name(rank)}: {part['error']}" for rank, part in results.items() if "error" in part]
        missing = [self.name(rank) for rank in range(self.size) if rank not in results]
        if missing:
            wrong.insert(0, f"missing after {limit_s:g} s: {', '.join(missing)}")
        self.tell(f"{step}/verdict", bool(wrong))
        if wrong:
            raise Stopped(step, "; ".join(wrong))
        return [results[rank]["value"] for rank in range(self.size)]

    def tell(self, key: str, value: Any) -> None:
        """Publish a value to all processes."""
        self._set(key, value)

    def hear(self, key: str, limit_s: float | None = None, speaker: int = 0) -> Any:
        """Wait for a value that another process publishes.

        Raises:
            RunError: the value does not arrive in time.
        """
        limit_s = self.timeout_s if limit_s is None else limit_s
        if not self._wait(key, limit_s):
            silent = self.name(speaker)
            raise RunError(f"{self.name(self.rank)}: nothing heard from {silent} within {limit_s:g} s ('{key}')")
        return self._get(key)

    def end(self, code: int) -> int:
        """End the meeting: the first process publishes its exit code, and all return it."""
        if self.rank != 0:
            code = int(self.hear("end", self.timeout_s + _GRACE_S))
            self._set(f"farewell/{self.rank}", None)
            return code
        self._set("end", code)
        deadline = time.monotonic() + _FAREWELL_S
        for rank in sorted(self.present - {0}):  # the store goes with this process
            self._wait(f"farewell/{rank}", deadline - time.monotonic())
        return code

    @contextmanager
    def limited(self, step: str, limit_s: float) -> Iterator[None]:
        """End this process if the block does not end in time, as when a driver or a file system hangs."""

        def give_up() -> None:
            text = f"{self.name(self.rank)}: '{step}' has not ended within {limit_s:g} s; this process gives up."
            print(text, file=sys.stderr, flush=True)
            os._exit(1)

        timer = threading.Timer(limit_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _set(self, key: str, value: Any) -> None:
        with self._in_contact():
            self.store.set(key, json.dumps(value))

    def _get(self, key: str) -> Any:
        with self._in_contact():
            return json.loads(self.store.get(key))

    def _wait(self, key: str, limit_s: float) -> bool:
        """Tell whether the key arrives in time."""
        with self._in_contact():
            if limit_s <= 0:
                return bool(self.store.check([key]))
            started = time.monotonic()
            try:
                self.store.wait([key], timedelta(seconds=limit_s))
            except (DistError, RuntimeError):
                # The store raises the same error when the time is over and when its holder is gone.
                if time.monotonic() - started < 0.9 * limit_s:
                    raise
                return False
        return True

    @contextmanager
    def _in_contact(self) -> Iterator[None]:
        try:
            yield
        except (DistError, RuntimeError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(f"{self.name(self.rank)}: {self.name(0)} is gone; see its output") from error


def _reach(address: str, port: int, limit_s: float) -> None:
    """Wait until a process listens there. The store would wait too, but print C++ traces if none does.

    Raises:
        OSError: none does in time; the reason why the last attempt failed.
    """
    deadline = time.monotonic() + limit_s
    while True:
        try:
            with socket.create_connection((address, port), timeout=max(0.1, deadline - time.monotonic())):
                return
        except OSError:
            if time.monotonic() + _RETRY_S >= deadline:
                raise
            time.sleep(_RETRY_S)


def planned_hosts() -> dict[int, str]:
    """Return rank -> host from the command line of DeepSpeed's launcher, our parent; empty under another parent."""
    try:
        words = psutil.Process(os.getppid()).cmdline()
        coded = next(word.partition("=")[2] for word in words if word.startswith("--world_info="))
        hosts: dict[str, list[int]] = json.loads(base64.urlsafe_b64decode(coded))
        return dict(enumerate(host for host, slots in hosts.items() for _ in slots))
    except (psutil.Error, StopIteration, ValueError, AttributeError, TypeError):
        return {}
