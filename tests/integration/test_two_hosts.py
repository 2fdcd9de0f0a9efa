"""Two hosts, each a network namespace with an address and an sshd of its own, under DeepSpeed's launcher and pdsh.

Interfaces of both are called eth0; their link can be cut. What the hosts share is the file system, as on a cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ENV, ROOT
from tests.support.limits import PATIENCE_S, wait_for

pytest.importorskip("deepspeed")
NEEDED = {"ip": "iproute2", "sshd": "openssh-server", "ssh": "openssh-client", "pdsh": "pdsh"}
PATH = f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin"
MISSING = sorted(package for program, package in NEEDED.items() if shutil.which(program, path=PATH) is None)
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
# A name is of this test process alone; addresses are of the two hosts alone.
ADDRESSES = {f"affect-{os.getpid()}-a": "10.213.7.1", f"affect-{os.getpid()}-b": "10.213.7.2"}
SSHD = """
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/{name}.pid
UsePAM no
StrictModes no
"""


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"ip {' '.join(words)}: {done.stderr.strip()}")


class TwoHosts:
    """The hosts, and how a command is run on the first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[subprocess.Popen[bytes]] = []
        for name in ("key", "host_key"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(command, check=True)
        for name in ADDRESSES:
            ip("netns", "add", name)
        first, second = ADDRESSES
        ip("-n", first, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", second)
        Path("/run/sshd").mkdir(exist_ok=True)
        for name, address in ADDRESSES.items():
            ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                ip("-n", name, "link", "set", device, "up")
            (folder / f"{name}.conf").write_text(SSHD.format(folder=folder, name=name))
            sshd = [shutil.which("sshd", path=PATH), "-D", "-e", "-f", str(folder / f"{name}.conf")]
            self.daemons.append(subprocess.Popen(["ip", "netns", "exec", name, *sshd], stderr=subprocess.DEVNULL))
        (folder / "hosts").write_text("".join(f"{address} slots=1\n" for address in ADDRESSES.values()))

    def start(self, *words: object, **env: str) -> subprocess.Popen[str]:
        """`scripts/launch_multinode.sh HOSTFILE ...` on the first host."""
        ssh = f"-i {self.folder}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        command = ["scripts/launch_multinode.sh", self.folder / "hosts", *words]
        return subprocess.Popen(
            ["ip", "netns", "exec", next(iter(ADDRESSES)), *map(str, command)],
            cwd=ROOT,
            env={**ENV, "PATH": PATH, "GLOO_SOCKET_IFNAME": "eth0", "SSH_OPTIONS": ssh, "CHECK": "0", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def link(self, state: str) -> None:
        """'down' cuts the cable between the hosts, 'up' mends it."""
        ip("-n", next(iter(ADDRESSES)), "link", "set", "eth0", state)

    def close(self) -> None:
        """Nothing of them is left."""
        for name in ADDRESSES:
            pids = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False).stdout
            for pid in pids.split():
                subprocess.run(["kill", "-KILL", pid], capture_output=True, check=False)
        for daemon in self.daemons:
            daemon.wait()
        for name in ADDRESSES:
            subprocess.run(["ip", "netns", "delete", name], check=False)


@pytest.fixture
def hosts(tmp_path_factory) -> Iterator[TwoHosts]:
    made = TwoHosts(tmp_path_factory.mktemp("hosts"))
    yield made
    made.close()


@pytest.fixture
def recipe(write_recipe, make_stage, tmp_path_factory) -> Path:
    stages = [
        make_stage("attribute", steps=6, mixture={"attribute_closed": 1.0}),
        make_stage("grpo", "grpo", steps=40, save_steps=3, batch_size=8, generations=4, max_new_tokens=6),
    ]
    return write_recipe(tmp_path_factory.mktemp("two"), stages)


def stages_of(recipe: Path, count: int) -> Sequence[object]:
    """The recipe with its first stages alone."""
    import yaml

    given = yaml.safe_load(recipe.read_text())
    path = recipe.with_name(f"first-{count}.yaml")
    path.write_text(yaml.safe_dump({**given, "stages": given["stages"][:count]}))
    return [path]


def log_of(recipe: Path, stage: str) -> list[dict[str, Any]]:
    path = recipe.parent / "run/log.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    return [row for row in rows if row["stage"] == stage]


def ended(running: subprocess.Popen[str]) -> str:
    try:
        said, _ = running.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, 9)
        raise AssertionError(f"not ended within {PATIENCE_S:g} s:\n{running.communicate()[0][-4000:]}") from None
    return said


def processes(host: str, word: str) -> list[str]:
    pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=True).stdout.split()
    commands = []
    for pid in pids:
        try:
            commands.append(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [command for command in commands if word in command]


def test_the_hosts_are_looked_over_and_train_together_under_zero_2(hosts, recipe):
    words = [*stages_of(recipe, 1), "deepspeed=deepspeed_configs/zero2.json"]
    running = hosts.start(*words, CHECK="1", HF_TOKEN="hf_never_on_a_command_line")
    said = ended(running)
    assert running.returncode == 0, said[-4000:]
    assert [row["step"] for row in log_of(recipe, "attribute")] == list(range(1, 7))
    assert "arrival          ok       2 processes on " in said
    assert "all-reduce       ok" in said
    assert "hf_never" not in said
    assert (recipe.parent / "run/checkpoints/attribute/model.safetensors").is_file()


def test_a_link_that_is_cut_ends_the_job_on_both_hosts_and_it_goes_on_under_zero_3(hosts, recipe):
    running = hosts.start(recipe, "deepspeed=deepspeed_configs/zero3.json")

    def is_under_way() -> bool:
        assert running.poll() is None, running.communicate()
        return len(log_of(recipe, "grpo")) >= 5

    wait_for(is_under_way)
    hosts.link("down")
    try:
        said = ended(running)
        assert running.returncode != 0
        assert "has not responded for" in said
        assert "the network to it, is gone" in said or "its host or the network to it is gone" in said
        assert "the same command to resume from the last checkpoint" in said
        # The other host's launcher and process are gone too.
        wait_for(lambda: not processes([*ADDRESSES][1], "train.run"), pause_s=0.2)
    finally:
        hosts.link("up")
    assert 5 <= len(log_of(recipe, "grpo")) < 40

    running = hosts.start(recipe, "deepspeed=deepspeed_configs/zero3.json")
    said = ended(running)
    assert running.returncode == 0, said[-4000:]
    assert "unchanged, reused" in said
    assert [row["step"] for row in log_of(recipe, "grpo")] == list(range(1, 41))
    assert (recipe.parent / "run/report.html").is_file()
