"""The doctor under DeepSpeed's launcher: two processes of this machine, nothing left out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.commands import free_port

pytest.importorskip("deepspeed")


def test_two_processes_meet_and_measure(launch, tmp_path):
    launcher = Path(sys.executable).with_name("deepspeed")
    done = launch(
        *(launcher, "--num_accelerators", 2, "--master_port", free_port(), "--module", "train.doctor"),
        *("demo", f"output={tmp_path / 'run'}", "deepspeed=deepspeed_configs/zero2.json", "--json"),
    )
    assert "Traceback" not in done.err
    (line,) = [line for line in done.out.splitlines() if line.startswith("{")]
    report = json.loads(line)
    together = {check["name"]: check for check in report["together"]}
    for name in ("arrival", "versions", "code", "settings", "clocks", "shared folder", "all-reduce", "links"):
        assert together[name]["status"] == "ok", together[name]
    assert "2 processes on " in together["arrival"]["found"]
    (link,) = report["links"]
    assert link["mb_per_s"] > 0
    (machine,) = report["machines"]
    found = {check["name"]: check for check in machine["checks"]}
    for name in ("recipe", "batches", "deepspeed config", "folder", "decoders", "deepspeed", "gpus"):
        assert found[name]["status"] == "ok", found[name]
    assert "port" not in found
    # What this machine lacks, if anything, is for the code to say.
    assert done.code == (1 if report["status"] == "problem" else 0)
    assert list(tmp_path.iterdir()) == []
