"""Stop a distributed run when a process dies, stops responding or all of them hang, and report which one and where.

Launchers leave the processes of other hosts waiting for one that is gone. Here every process has a sentinel beside it
(`train/fault_tolerance/sentinel.py`), to which `doing` reports what the process does.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import torch

from train.fault_tolerance import sentinel

SILENCE_S = 40.0
"""Seconds without a heartbeat after which a process counts as gone: a broken link closes no connection."""
_LONGEST = 500
"""Maximum characters of a message; with what JSON adds, it must fit into one atomic write."""
_BROKEN = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")

_told: Watchdog | None = None


def doing(phase: str) -> None:
    """Report what this process does from now on. A repeated report also shows that the run is alive."""
    if _told is not None:
        _told.tell(doing=f"{_told.part}: {phase}" if _told.part else phase)


def begin(part: str) -> None:
    """Report which part of its plan a run begins; later reports belong to it."""
    if _told is not None:
        _told.part = ""
        doing(part)
        _told.part = part


class Watchdog:
    """Context manager that watches this process and, with those of the other processes, the whole run.

    Args:
        folder: folder of the run; holds process 0's address and the stacks of a process that hangs.
        rank: rank of this process.
        world: number of processes.
        hang_s: seconds after which a run in which no process makes progress counts as hung.
    """

    part = ""
    """Part of the plan that is under way."""

    def __init__(self, folder: Path, rank: int, world: int, hang_s: float) -> None:
        self.stacks = folder / f"hang-{rank}.txt"
        self.settings = sentinel.Settings(
            rank=rank,
            world=world,
            host=socket.gethostname(),
            pid=os.getpid(),
            meeting=str(folder / ".watchdog"),
            address=os.environ.get("MASTER_ADDR", "127.0.0.1"),
            silence_s=SILENCE_S,
            hang_s=hang_s,
            stacks=str(folder / "hang-*.txt"),
        )

    def __enter__(self) -> Watchdog:
        global _told
        self.stacks.parent.mkdir(parents=True, exist_ok=True)
        self.stacks.unlink(missing_ok=True)
        self._beside = subprocess.Popen(
            [sys.executable, "-P", sentinel.__file__, json.dumps(asdict(self.settings))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._beside.stdin is not None
        os.set_blocking(self._beside.stdin.fileno(), False)  # a message less is better than a run that waits
        threading.Thread(target=self._obey, daemon=True).start()
        self._file = self.stacks.open("w")
        faulthandler.register(signal.SIGUSR2, self._file, all_threads=True)
        self._stderr = sys.stderr
        sys.stderr = _Overheard(sys.stderr, self)
        _told = self
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        global _told
        _told = None
        sys.stderr = self._stderr
        assert self._beside.stdin is not None
        os.set_blocking(self._beside.stdin.fileno(), True)
        if error is None:
            self.tell(end="done")
        else:
            lost = is_broken_connection(error)
            said = "interrupted" if isinstance(error, KeyboardInterrupt) else _last_words(error)
            self.tell(end="failed", why=said, lost=lost)
        faulthandler.unregister(signal.SIGUSR2)
        self._file.close()
        if not self.stacks.stat().st_size:
            self.stacks.unlink()
        self._beside.stdin.close()
        if error is None:
            self._beside.wait()

    def tell(self, **message: Any) -> None:
        """Send a message to the sentinel; it is lost if the sentinel is gone or does not listen."""
        short = {key: value[-_LONGEST:] if isinstance(value, str) else value for key, value in message.items()}
        assert self._beside.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            os.write(self._beside.stdin.fileno(), json.dumps(short).encode() + b"\n")

    def _obey(self) -> None:
        """End this process when its sentinel asks for it, wherever it hangs."""
        assert self._beside.stdout is not None
        if self._beside.stdout.readline():
            os._exit(1)


def is_broken_connection(error: BaseException) -> bool:
    """Tell whether a process failed only because another one was gone."""
    known = isinstance(error, torch.distributed.DistError)
    return known or (isinstance(error, RuntimeError) and any(text in str(error) for text in _BROKEN))


def _last_words(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()


class _Overheard:
    """Standard error whose lines are also sent to the watchdog."""

    def __init__(self, out: TextIO, watchdog: Watchdog) -> None:
        self._out, self._watchdog = out, watchdog

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self._watchdog.tell(said=line)
        return self._out.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._out, name)
