"""Sentinel of a run: a process that watches one process of the run and, with the other sentinels, all of them.

It is a process of its own, so that it still reports when the process it watches was killed or hangs in native code; it
imports the standard library alone. Each process of a run has one (`watchdog.py` starts it). The sentinel of process 0
listens; the others report to it what their process does, and how it ended. If a process dies or stops responding, or
all of them hang, it reports which one and where, and all sentinels end their processes.

Lines of JSON go from a process to its sentinel (standard input), and between sentinels:

    {"doing": "rollout"}  {"said": "a line of its log"}  {"end": "done" | "failed" | "died", "why": "...", "lost": true}
    {"verdict": "...", "stacks": true}  {"bye": true}  {}                    from process 0's; the last is a heartbeat
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import os
import secrets
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BEAT_S = 2.0
"""Seconds between two heartbeats."""
GRACE_S = 10.0
"""Seconds that the other processes have to end after one has reported its failure."""
LINES = 5
"""Number of last log lines that are repeated for a process that died."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings that a sentinel is started with."""

    rank: int
    world: int
    host: str
    pid: int
    meeting: str
    """File in which process 0's sentinel writes where it listens."""
    address: str
    """Address of process 0 for the other processes."""
    silence_s: float
    hang_s: float
    stacks: str
    """File for the stacks of a process that hangs."""

    @property
    def name(self) -> str:
        """Name of the process in messages."""
        return f"process {self.rank} (pid {self.pid} on {self.host})"


@dataclass(slots=True)
class Member:
    """State of a process as this sentinel knows it. Times are those of this sentinel's clock."""

    name: str
    heard: float
    moved: float
    doing: str = "starting"
    said: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))
    end: str = ""
    """End of the process: '' while it runs; 'done', 'failed' or 'died'."""
    why: str = ""
    ended: float = 0.0
    lost: bool = False
    """Whether it failed only because another one was gone."""

    def take(self, message: Mapping[str, Any], now: float) -> None:
        """Update from a message of the watched process."""
        self.heard = now
        if "doing" in message:
            self.doing, self.moved = str(message["doing"]), now
        if "said" in message:
            self.said.append(str(message["said"]))
        if "end" in message and not self.end:
            self.end, self.ended = str(message["end"]), now
            self.why, self.lost = str(message.get("why", "")), bool(message.get("lost"))


@dataclass(frozen=True, slots=True)
class Verdict:
    """Reason why the run ends."""

    text: str
    stacks: bool = False
    """Whether every process shall write its stacks."""

    @property
    def message(self) -> dict[str, Any]:
        """Return the message to the other sentinels."""
        return {"verdict": self.text, "stacks": self.stacks}


def judge(
    members: Mapping[int, Member], world: int, now: float, started: float, silence_s: float, hang_s: float
) -> Verdict | None:
    """Return what is wrong with a run; None while nothing is."""
    running = [member for member in members.values() if not member.end]
    for member in members.values():
        if member.end == "died":
            return Verdict(
                f"{member.name} died without an error message, during: {member.doing}. If its host ran out of memory, "
                f"`dmesg` there says so.{_last_lines(member.said)}"
            )
    failed = sorted(
        (member for member in members.values() if member.end == "failed"),
        key=lambda member: (member.lost, member.ended),
    )
    if failed:
        cause = failed[0]
        waited = now - min(member.ended for member in failed) > GRACE_S
        alike = len({member.why for member in failed}) == 1
        if waited or not (running or alike):
            return Verdict(f"{cause.name} failed, during: {cause.doing}. {cause.why}")
        return None
    for member in running:
        if now - member.heard > silence_s:
            return Verdict(
                f"{member.name} has not responded for {now - member.heard:.0f} s; last: {member.doing}. It hangs, "
                f"or its host or the network to it is gone.{_last_lines(member.said)}"
            )
    missing = [rank for rank in range(world) if rank not in members]
    if missing and now - started > hang_s:
        return Verdict(f"process {', '.join(map(str, missing))} of {world} never started.")
    if running and not missing and now - max(member.moved for member in running) > hang_s:
        standing = (f"{member.name}: {member.doing}, for {now - member.moved:.0f} s" for member in running)
        return Verdict("the run hangs.\n  " + "\n  ".join(standing), stacks=True)
    return None


def _last_lines(said: Sequence[str]) -> str:
    return "".join(["\n  Its last lines:", *(f"\n    {line}" for line in said)]) if said else ""


class Sentinel:
    """Watchdog process of one rank. The sentinel of rank 0 decides when the run must stop."""

    def __init__(self, settings: Settings) -> None:
        now = time.monotonic()
        self.settings, self.started = settings, now
        self.me = Member(settings.name, now, now)
        self.members = {settings.rank: self.me}
        self.fellows: set[asyncio.StreamWriter] = set()
        self.hearing: set[asyncio.Task[None]] = set()
        self.first: asyncio.StreamWriter | None = None
        """Connection to process 0's sentinel, on the others."""
        self.first_heard = now
        self.joined = asyncio.Event()
        self.secret = secrets.token_hex(16)
        self.orphaned = asyncio.Event()
        self.born, self.orphaned_at = time.time(), float("inf")
        self.verdict: Verdict | None = None
        self.ending = False

    async def run(self) -> None:
        """Watch until the process has ended; on rank 0, until all have."""
        tasks = [asyncio.create_task(self._hear_parent())]
        if self.settings.rank:
            tasks.append(asyncio.create_task(self._report()))
            await self._watch_first()
        else:
            await self._listen()
            await self._watch_all()
        for task in tasks:
            task.cancel()

    async def _hear_parent(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            self._pass_on(json.loads(line))
        if not self.me.end:
            self._pass_on({"end": "died"})
        self.orphaned_at = time.time()
        self.orphaned.set()

    def _pass_on(self, message: Mapping[str, Any]) -> None:
        self.me.take(message, time.monotonic())
        if self.first is not None:
            _write(self.first, message)

    # Rank 0

    async def _listen(self) -> None:
        if self.settings.world == 1:
            return
        try:
            server = await asyncio.start_server(self._hear_fellow, self.settings.address, 0)
        except OSError:  # known to the others under an address that is none of this host's own interfaces
            server = await asyncio.start_server(self._hear_fellow, None, 0)
        place = {"port": server.sockets[0].getsockname()[1], "secret": self.secret}
        meeting = Path(self.settings.meeting)
        draft = meeting.with_name(f"{meeting.name}.{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(place, file)
        os.replace(draft, meeting)

    async def _hear_fellow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        member = None
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, asyncio.IncompleteReadError):
            hello = json.loads(await asyncio.wait_for(reader.readline(), self.settings.silence_s))
            if not hmac.compare_digest(str(hello["secret"]), self.secret):
                raise ValueError("not one of this run")
            rank, now = int(hello["rank"]), time.monotonic()
            if hello["born"] > self.orphaned_at or rank in self.members:
                raise ValueError("of the run that follows this one, which has found this one's place")
            member = self.members[rank] = Member(str(hello["name"]), now, now)
            _write(writer, {})  # it is welcome
            if self.verdict is not None:
                _write(writer, self.verdict.message)
            self.fellows.add(writer)
            if task := asyncio.current_task():
                self.hearing.add(task)
            while line := await reader.readline():
                member.take(json.loads(line), time.monotonic())
        if member is not None and not member.end:
            member.take({"end": "died"}, time.monotonic())
        self.fellows.discard(writer)
        writer.close()

    async def _watch_all(self) -> None:
        limits = self.settings.silence_s, self.settings.hang_s
        while True:
            now = time.monotonic()
            self.me.heard = now
            if self.verdict is None:
                self.verdict = judge(self.members, self.settings.world, now, self.started, *limits)
                if self.verdict is not None:
                    for fellow in self.fellows:
                        _write(fellow, self.verdict.message)
                    await self._end_parent(self.verdict, show=True)
            ended = sum(bool(member.end) for member in self.members.values())
            if self.orphaned.is_set() and (ended == self.settings.world or now - self.me.ended > GRACE_S):
                for fellow in self.fellows:
                    _write(fellow, {"bye": True})
                break
            for fellow in self.fellows:
                _write(fellow, {})
            await asyncio.sleep(0.1 if self.orphaned.is_set() else 0.5)
        with contextlib.suppress(OSError):
            if self.secret in Path(self.settings.meeting).read_text():  # else it is of the next run already
                os.unlink(self.settings.meeting)
        await _flush(*self.fellows)
        if self.hearing:
            await asyncio.wait(self.hearing, timeout=1)

    # The others

    async def _report(self) -> None:
        reader = await self._join()
        while line := await self._next_line(reader):
            self.first_heard = time.monotonic()
            message = json.loads(line)
            if "verdict" in message:
                await self._end_parent(Verdict(message["verdict"], message["stacks"]), show=False)
            if "verdict" in message or "bye" in message:
                return
        if not self.orphaned.is_set():
            await self._end_parent(Verdict("process 0 died, and its sentinel with it."), show=True)

    async def _next_line(self, reader: asyncio.StreamReader) -> bytes:
        try:
            return await reader.readline()
        except OSError:
            return b""

    async def _join(self) -> asyncio.StreamReader:
        """Connect to process 0's sentinel. An address that an earlier run left in the file does not answer."""
        while True:
            with contextlib.suppress(OSError, ValueError, KeyError, TimeoutError):
                place = json.loads(Path(self.settings.meeting).read_text())
                opening = asyncio.open_connection(self.settings.address, place["port"])
                reader, writer = await asyncio.wait_for(opening, 5)
                hello = {"secret": place["secret"], "rank": self.settings.rank, "name": self.settings.name}
                _write(writer, {**hello, "born": self.born})
                if await asyncio.wait_for(reader.readline(), 5):
                    self.first, self.first_heard = writer, time.monotonic()
                    self._catch_up()
                    self.joined.set()
                    return reader
            await asyncio.sleep(0.3)

    def _catch_up(self) -> None:
        for line in self.me.said:
            self._send({"said": line})
        self._send({"doing": self.me.doing})
        if self.me.end:
            self._send({"end": self.me.end, "why": self.me.why, "lost": self.me.lost})

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self.first is not None
        _write(self.first, message)

    async def _watch_first(self) -> None:
        while not self.orphaned.is_set():
            if self.first is not None:
                self._send({})
                silent = time.monotonic() - self.first_heard
                if silent > self.settings.silence_s:
                    text = f"process 0 on {self.settings.address} has not responded for {silent:.0f} s: its host, "
                    await self._end_parent(Verdict(text + "or the network to it, is gone."), show=True)
            elif time.monotonic() - self.started > self.settings.hang_s:
                await self._end_parent(Verdict("process 0 never started."), show=True)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.orphaned.wait(), BEAT_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.joined.wait(), GRACE_S)  # how it ended is still to be told
        if self.first is not None:
            await _flush(self.first)

    # All

    async def _end_parent(self, verdict: Verdict, show: bool) -> None:
        """Ask the process to end itself; kill it if it does not."""
        if self.ending:
            return
        self.ending = True
        if show:
            said = verdict.text + (f"\n  Stacks of each process: {self.settings.stacks}" if verdict.stacks else "")
            advice = "Run the same command to resume from the last checkpoint."
            print(f"Watchdog: {said}\n{advice}", file=sys.stderr, flush=True)
        if verdict.stacks and not self.orphaned.is_set():
            os.kill(self.settings.pid, signal.SIGUSR2)
            await asyncio.sleep(1)
        if not self.orphaned.is_set():
            print("end", flush=True)
            try:
                await asyncio.wait_for(self.orphaned.wait(), 5)
            except TimeoutError:
                os.kill(self.settings.pid, signal.SIGKILL)
                await self.orphaned.wait()


def _write(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    if not writer.is_closing():
        writer.write(json.dumps(message).encode() + b"\n")


async def _flush(*writers: asyncio.StreamWriter) -> None:
    """Send what is written and close; on a broken connection this takes a second at most."""
    for writer in writers:
        writer.close()
    for writer in writers:
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(writer.wait_closed(), 1)


def main() -> None:
    """Run a sentinel until its process has ended; Ctrl-C and SIGTERM are left to that process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    settings = Settings(**json.loads(sys.argv[1]))

    async def watch() -> None:
        await Sentinel(settings).run()

    asyncio.run(watch())


if __name__ == "__main__":
    main()
