"""Machines against each other: processes that meet as under a launcher, of which one has a fault."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from affectgpt.problems import InputError
from tests.support.limits import PATIENCE_S
from train.doctor import nodes
from train.doctor.findings import Finding, Link, Subject
from train.doctor.meeting import Meeting
from train.recipe_file import load_recipe

ROOT = Path(__file__).parents[3]


CASES = {
    "differs": ([0, 1], 2, PATIENCE_S),
    "sums": ([0, 1], 2, PATIENCE_S),
    "fails": ([0, 1], 2, PATIENCE_S),
    "dies": ([0, 1], 2, 10),
    "hangs": ([0, 1], 2, 10),
    "late": ([0, 1], 3, 10),
    "alone": ([1], 2, 1),
}
"""Fault -> ranks that come, how many are expected, seconds that they wait: for somebody who never comes, no longer than
those who come may need on a busy machine."""


@dataclass(frozen=True)
class Met:
    codes: dict[str, int]
    out: dict[str, str]
    err: dict[str, str]
    seconds: float

    @property
    def report(self) -> dict[str, Any]:
        assert not self.out.get("1"), "the first process speaks for all"
        return json.loads(self.out["0"])

    def found(self, name: str) -> dict[str, str]:
        return next(check for check in self.report["together"] if check["name"] == name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    (folder / "elsewhere").mkdir()
    return folder


@pytest.fixture(scope="module")
def meet(folder):
    """`meet(fault)`: how processes ended of which one has the fault."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    command = [sys.executable, "-m", "tests.train.doctor.meeting_with_faults", str(folder), json.dumps(CASES)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr
    met = json.loads(done.stdout)
    return lambda fault: Met(**met[fault])


def test_what_differs_is_named_with_its_machine(meet, folder):
    met = meet("differs")
    assert met.codes == {"0": 1, "1": 1}
    assert met.report["status"] == "problem"
    assert [machine["name"] for machine in met.report["machines"]] == ["node0", "node1"]
    assert met.report["machines"][1]["checks"][0]["found"] == "2 machines"
    versions = met.found("versions")
    assert versions["status"] == "problem"
    assert "torch: " in versions["found"]
    assert "1.0 on node1" in versions["found"]
    assert "transformers" not in versions["found"]
    assert met.found("code")["status"] == "ok"
    assert met.found("settings")["found"] == "NCCL_ALGO: unset on node0, Tree on node1"
    clocks = met.found("clocks")
    assert clocks["status"] == "warning"
    assert float(clocks["found"].partition("node1 by ")[2].split()[0]) == pytest.approx(100, abs=10)
    assert met.found("shared folder")["status"] == "problem"
    assert f"node1: {folder / 'elsewhere'} is not the folder" in met.found("shared folder")["found"]
    assert list(folder.glob(".doctor-*")) == []
    # They go on nevertheless: the exchange is measured.
    assert met.found("all-reduce")["status"] == "ok"
    (link,) = met.report["links"]
    assert link["ends"] == "rank 0 (node0) - rank 1 (node1)"
    assert link["mb_per_s"] > 0
    assert 0 < link["latency_s"] < PATIENCE_S


def test_a_wrong_sum_is_named_with_its_process(meet):
    met = meet("sums")
    assert met.codes == {"0": 1, "1": 1}
    assert met.found("shared folder")["found"] == "seen by all 2 machines"
    assert met.found("all-reduce")["status"] == "problem"
    assert met.found("all-reduce")["found"] == "wrong sums at rank 1 (node1)"


def test_a_process_that_never_comes_is_named(meet):
    met = meet("late")
    assert met.codes == {"0": 1, "1": 1}
    assert met.found("arrival")["status"] == "problem"
    assert met.found("arrival")["found"] == "missing after 10 s: rank 2"
    assert met.err == {"0": "", "1": ""}


def test_without_the_first_process_the_others_say_so(meet):
    met = meet("alone")
    assert met.codes == {"1": 1}
    assert "rank 1: rank 0 cannot be reached at 127.0.0.1:" in met.err["1"]
    assert "within 1 s (ConnectionRefusedError" in met.err["1"]
    assert "Traceback" not in met.err["1"]


def test_a_process_that_fails_stops_all_with_its_reason(meet):
    met = meet("fails")
    assert met.codes == {"0": 1, "1": 1}
    assert met.found("local checks")["found"] == "rank 1 (node1): OSError: the disk is on fire"
    assert met.seconds < PATIENCE_S / 2  # nobody waits until time is up


def test_a_process_that_dies_among_the_others_is_named(meet):
    met = meet("dies")
    assert met.codes == {"0": 1, "1": 9}
    assert "missing after 10 s: rank 1 (node1)" in met.found("all-reduce")["found"]


def test_a_process_that_hangs_is_named_and_ends(meet):
    met = meet("hangs")
    assert met.codes == {"0": 1, "1": 1}
    assert "missing after 10 s: rank 1 (node1)" in met.found("process group")["found"]
    assert met.err["1"] == "rank 1 (node1): 'process group' has not ended within 11 s; this process gives up.\n"


def test_a_launcher_that_sets_half_of_it_is_wrong_use(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match="MASTER_ADDR=None"):
        Meeting.from_environment(1)


def test_a_port_that_is_held_is_said():
    with socket.socket() as holder:
        holder.bind(("", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(RuntimeError, match=f"rank 0: cannot listen at port {port}.*--master_port"):
            Meeting(0, 2, "127.0.0.1", port, 2)


def test_interfaces_may_differ_and_other_settings_may_not():
    def compare(name: str) -> Finding:
        facts = {
            host: {"versions": {"torch": "2"}, "code": {"code": "ab"}, "settings": {name: host}} for host in ("a", "b")
        }
        return nodes.compare_facts(facts)["settings"]

    assert compare("NCCL_SOCKET_IFNAME").status == "warning"
    assert compare("NCCL_PROTO").status == "problem"


def test_another_recipe_is_other_code(tmp_path):
    recipes = [load_recipe("demo", overrides) for overrides in ((), (), ("seed=1",))]
    facts = [nodes.facts_of(Subject(tmp_path, recipe)) for recipe in recipes]
    for other, status in ((facts[1], "ok"), (facts[2], "problem")):
        assert nodes.compare_facts({"a": facts[0], "b": other})["code"].status == status


@pytest.mark.parametrize(("seconds", "status"), [(0.4, "ok"), (7.0, "warning"), (-7.0, "warning")])
def test_clocks_may_be_off_by_a_second(seconds, status):
    finding = nodes.check_clocks({"a": 0.0, "b": seconds})
    assert finding.status == status
    assert (f"b by {seconds:+.1f} s" in finding.found) == (status == "warning")


def test_the_code_is_hashed_as_it_lies_there(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "run.py").write_text("a = 1\n")
    before = nodes.source_hash(tmp_path)
    assert nodes.source_hash(tmp_path) == before
    (tmp_path / "train" / "run.py").write_text("a = 2\n")
    assert nodes.source_hash(tmp_path) != before


def test_machines_of_one_name_are_told_apart():
    arrivals = [{"host": "pod", "boot": boot, "device": "cpu"} for boot in ("x", "x", "y")]
    machines = nodes.Machines.of(arrivals)
    assert machines.first == {0: "pod (rank 0)", 2: "pod (rank 2)"}
    assert nodes.check_arrivals(arrivals, machines).status == "warning"
    arrivals[1]["device"] = "cuda"
    finding = nodes.check_arrivals(arrivals, nodes.Machines.of(arrivals))
    assert finding.status == "problem"
    assert "rank 0 (pod), 2 (pod)" in finding.found


@pytest.mark.parametrize(
    ("speeds", "between", "status"),
    [
        ((2.0, 1.9, 1.8), True, "ok"),
        ((2.0, 1.9, 0.5), True, "warning"),
        ((0.1,), True, "warning"),
        ((0.1,), False, "ok"),
    ],
)
def test_the_slowest_link_is_named(speeds, between, status):
    found = [Link(f"{place} - {place + 1}", 1e-4, speed * 1e9) for place, speed in enumerate(speeds)]
    finding = nodes.check_links(found, between)
    assert finding.status == status
    assert f"slowest of {len(speeds)}: {len(speeds) - 1} - {len(speeds)}, {speeds[-1]:.2f} GB/s" in finding.found
