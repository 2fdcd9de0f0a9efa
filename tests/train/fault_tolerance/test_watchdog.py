"""What the sentinels make of a run: dead, silent, failed, missing and hanging processes, each named with its phase."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.limits import PATIENCE_S
from train.fault_tolerance.sentinel import GRACE_S, Member, judge

# Each process of a scenario is a fork of one that has imported everything; `way` is how it ends.
DRIVER = '''
import json, os, signal, sys, time
from pathlib import Path
from train.fault_tolerance import watchdog
import psutil
from train.fault_tolerance import watchdog
folder, scenarios = Path(sys.argv[1]), json.loads(sys.argv[2])
os.environ["MASTER_ADDR"] = "127.0.0.1"

def sentinel_of(pid):
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

def meet(name, rank, world):
    """Wait until the sentinels of a scenario know each other, however long they take to start."""
    beside = psutil.Process(sentinel_of(os.getpid()))
    while rank and not any(link.status == "ESTABLISHED" for link in beside.net_connections()):
        time.sleep(0.05)
    (folder / f"{name}-{rank}.met").touch()
    while not all((folder / f"{name}-{other}.met").exists() for other in range(world)):
        time.sleep(0.05)

def live(name, rank, world, way):
    def work():
        sys.stderr = open(folder / f"{name}-{rank}.err", "w", buffering=1)
        os.dup2(sys.stderr.fileno(), 2)
        watchdog.SILENCE_S = 12.0 if "frozen" in name else 60.0
        with watchdog.Watchdog(folder / name, rank, world, hang_s=10.0 if "hang" in name else 60.0):
            watchdog.begin("sft one")
            meet(name, rank, world)
            for step in range(3):
                watchdog.doing(f"step {step}")
                time.sleep(0.3)
            if way == "killed":
                print("the last thing it said", file=sys.stderr)
                time.sleep(0.1)
                os.kill(os.getpid(), signal.SIGKILL)
            if way == "raises":
                raise ValueError("row 7 is odd")
            if way == "frozen":  # its host is gone: nothing moves there any more, and no connection is closed
                os.kill(sentinel_of(os.getpid()), signal.SIGSTOP)
            if way == "spins":
                def waits_for_ever():
                    watchdog.doing("decoding")
                    while True:
                        pass
                waits_for_ever()
            if way != "done":
                time.sleep(1200)
    try:
        work()
    except ValueError:
        os._exit(3)
    os._exit(0)

begun, running = {}, {}
result = {name: {"codes": [None] * len(ways), "seconds": 0.0} for name, ways in scenarios.items()}
for name, ways in scenarios.items():
    begun[name] = time.monotonic()
    for rank, way in enumerate(ways):
        pid = os.fork()
        if pid == 0:
            live(name, rank, len(ways), way)
        running[pid] = name, rank
    time.sleep(0.4)  # not all at once
while running:
    pid, status = os.wait()
    name, rank = running.pop(pid)
    result[name]["codes"][rank] = os.waitstatus_to_exitcode(status)
    result[name]["seconds"] = time.monotonic() - begun[name]
    for other, (same, rank) in running.items():
        if same == name and scenarios[name][rank] == "frozen":  # nobody is left to end it
            for one in (sentinel_of(other), other):
                os.kill(one, signal.SIGKILL)
print(json.dumps(result))
'''
SCENARIOS = {
    "fine": ["done", "done", "done"],
    "killed": ["waits", "waits", "killed"],
    "first_killed": ["killed", "waits"],
    "raises": ["waits", "raises"],
    "first_raises": ["raises", "waits"],
    "alike": ["raises", "raises"],
    "hang": ["waits", "spins"],
    "alone": ["killed"],
    "alone_hang": ["spins"],
    "frozen": ["waits", "frozen"],
}


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> tuple[dict[str, dict], Path]:
    folder = tmp_path_factory.mktemp("watchdog")
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder), json.dumps(SCENARIOS)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder


def said(ended, name: str, rank: int) -> str:
    return (ended[1] / f"{name}-{rank}.err").read_text()


def test_processes_that_end_well_are_left_alone(ended):
    assert ended[0]["fine"]["codes"] == [0, 0, 0]
    assert [said(ended, "fine", rank) for rank in range(3)] == ["", "", ""]
    assert list((ended[1] / "fine").iterdir()) == []


def test_a_rank_that_dies_ends_the_whole_job_with_its_name_and_last_lines(ended):
    assert ended[0]["killed"]["codes"] == [1, 1, -9]
    text = said(ended, "killed", 0)
    assert "process 2 (pid" in text
    assert "died without an error message, during: sft one: step 2" in text
    assert "the last thing it said" in text
    assert "the same command to resume from the last checkpoint" in text


def test_the_first_process_is_missed_too(ended):
    assert ended[0]["first_killed"]["codes"] == [-9, 1]
    assert "process 0 (pid" in said(ended, "first_killed", 0)


def test_an_exception_on_one_rank_ends_the_others(ended):
    assert ended[0]["raises"]["codes"] == [1, 3]
    assert ended[0]["raises"]["seconds"] > GRACE_S - 1  # the others may fail by themselves until then
    assert "failed, during: sft one: step 2. ValueError: row 7 is odd" in said(ended, "raises", 0)
    assert ended[0]["first_raises"]["codes"] == [3, 1]
    assert "process 0 (pid" in said(ended, "first_raises", 0)


def test_what_fails_alike_everywhere_is_not_said_again(ended):
    assert ended[0]["alike"]["codes"] == [3, 3]
    assert "Watchdog" not in said(ended, "alike", 0) + said(ended, "alike", 1)


@pytest.mark.parametrize(("name", "rank"), [("hang", 1), ("alone_hang", 0)])
def test_a_hang_is_named_with_its_phase_and_stacks(ended, name, rank):
    assert set(ended[0][name]["codes"]) == {1}
    assert "the run hangs" in said(ended, name, 0)
    assert "sft one: decoding, for" in said(ended, name, 0)
    assert "waits_for_ever" in (ended[1] / name / f"hang-{rank}.txt").read_text()


def test_one_process_that_is_killed_is_told_of(ended):
    assert ended[0]["alone"]["codes"] == [-9]
    assert "died without an error message, during: sft one: step 2" in said(ended, "alone", 0)


def test_silence_counts_as_the_end(ended):
    assert ended[0]["frozen"]["codes"][0] == 1
    assert "has not responded for" in said(ended, "frozen", 0)


def members(**changes: dict) -> dict[int, Member]:
    made = {rank: Member(f"process {rank}", heard=100.0, moved=100.0, doing="step 3") for rank in range(3)}
    for rank, values in changes.items():
        for name, value in values.items():
            setattr(made[int(rank[1:])], name, value)
    return made


def verdict(now: float, **changes: dict) -> str | None:
    found = judge(members(**changes), 3, now, started=0.0, silence_s=40, hang_s=300)
    return found and found.text


def test_nothing_is_said_of_a_run_that_gets_on():
    assert verdict(101) is None
    # One that is at work keeps the others, who wait for it, alive.
    assert verdict(500, r0={"heard": 500}, r1={"heard": 500}, r2={"heard": 500, "moved": 499}) is None


def test_who_failed_first_and_by_himself_is_the_cause():
    lost = {"end": "failed", "why": "Connection closed by peer", "ended": 100.0, "lost": True}
    cause = {"end": "failed", "why": "KeyError: 'x'", "ended": 100.5}
    assert verdict(101, r0=lost, r1=cause) is None
    assert "process 1 failed, during: step 3. KeyError: 'x'" in verdict(100 + GRACE_S + 1, r0=lost, r1=cause)
    assert "process 1 failed" in verdict(101, r0=lost, r1=cause, r2={**lost, "ended": 100.2})


def test_who_never_came_is_told_of():
    some = members()
    del some[1]
    for member in some.values():
        member.heard = 400.0
    assert judge(some, 3, 299.0, 0.0, 400, 300) is None
    assert judge(some, 3, 301.0, 0.0, 400, 300).text == "process 1 of 3 never started."


def test_messages_are_short_and_never_wait(tmp_path):
    from train.fault_tolerance.watchdog import Watchdog, doing

    def tell() -> None:
        for _ in range(2000):
            doing("x" * 100_000)

    with Watchdog(tmp_path, 0, 1, PATIENCE_S) as watchdog:
        os.kill(watchdog._beside.pid, signal.SIGSTOP)  # it reads nothing, and the pipe is soon full
        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(PATIENCE_S)
        os.kill(watchdog._beside.pid, signal.SIGCONT)
        assert not telling.is_alive()
