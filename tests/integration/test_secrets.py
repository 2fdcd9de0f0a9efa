"""A real run, with secrets in its environment: none is in anything that it says or leaves behind."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import ROOT, TRAIN
from tests.support.limits import PATIENCE_S

SECRETS = {
    "HF_TOKEN": "hf_Zq7RkWm2XvTb9LsNc4YdPfGh1JuAeKo3",
    "HUGGING_FACE_HUB_TOKEN": "hf_Bn5VtYx8QwEr2UiOp6AsDfGh4JkLzXc1",
    "WANDB_API_KEY": "5e1f0c7a9b3d2468ace013579bdf0246813579ac",
    "AFFECTGPT_LLM_TOKEN": "sk-affect-9Kd2Lm5Np8Qr1St4Uv7Wx0Yz",
    "OPENAI_API_KEY": "sk-proj-3Ab6Cd9Ef2Gh5Ij8Kl1Mn4Op",
    "HF_ENDPOINT": "https://somebody:ep-7Hj4Kl1Mn@127.0.0.1:9",
    "HTTPS_PROXY": "http://somebody:px-2Wd5Rf8Tg@127.0.0.1:9",
}
GIT_URL = "https://somebody:git-6Yh9Uj3Ik@127.0.0.1/work.git"


def needles() -> Iterator[tuple[str, bytes]]:
    """Whatever must not be found, under what it would be found as."""
    for name, value in {**SECRETS, "git": GIT_URL}.items():
        secret = urllib.parse.urlsplit(value).password or value
        yield name, secret.encode()
        yield f"{name} in UTF-16", secret.encode("utf-16-le")
        for before in range(3):  # wherever it stands in a longer text that is encoded
            coded = base64.b64encode(b"x" * before + secret.encode())
            yield f"{name} in base64", coded[4 * bool(before) : -4]


def found_in(content: bytes) -> list[str]:
    return [name for name, needle in needles() if needle in content]


@pytest.fixture
def secretly(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[bytes]]]:
    """Runs a command with the secrets, in a git checkout whose remote has a password, with a home of its own."""
    work = tmp_path / "work"
    work.mkdir()
    for command in (["init", "-q"], ["remote", "add", "origin", GIT_URL]):
        subprocess.run(["git", *command], cwd=work, check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "HF_", "XDG"))}
    for place in ("home", "temporary"):
        (tmp_path / place).mkdir()
    short = Path(tempfile.gettempdir(), f"affect-{os.getpid()}")  # sockets of workers have names of 107 bytes at most
    short.symlink_to(tmp_path / "temporary")
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(short), "PYTHONPATH": str(ROOT)}
    settings = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}

    def call(*words: object, **more: str) -> subprocess.CompletedProcess[bytes]:
        env = {**kept, **SECRETS, **places, **settings, **more}
        command = [str(word) for word in words]
        return subprocess.run(command, cwd=work, env=env, capture_output=True, timeout=PATIENCE_S, check=False)

    yield call
    short.unlink()


def test_nothing_of_a_run_holds_a_secret(secretly, write_recipe, make_stage, tmp_path):
    pytest.importorskip("wandb")
    closed = {"attribute_closed": 1.0}
    stages = [
        make_stage("attribute", save_steps=1, mixture=closed),
        make_stage("grpo", "grpo", steps=1, mixture=closed),
    ]
    done = secretly(*TRAIN, write_recipe(tmp_path / "job", stages, wandb=True), "--json")
    assert done.returncode == 0, done.stderr.decode()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and ".git" not in path.relative_to(tmp_path).parts]
    names = {path.name for path in files}
    assert {"recipe.yaml", "report.html", "log.jsonl", "rollouts.jsonl", "model.safetensors"} <= names
    logged = [path for path in files if path.suffix == ".wandb"]
    assert len(logged) >= 1
    assert any(b"learning_rate" in path.read_bytes() for path in logged)
    assert {str(path): found for path in files if (found := found_in(path.read_bytes()))} == {}
    assert found_in(done.stdout + done.stderr) == []
    assert [path for path in files if found_in(str(path).encode())] == []


@pytest.mark.parametrize(
    ("words", "offline"),
    [
        (("train", "RECIPE", "model.tiny=null", "model.path=nobody/nothing", "--json"), "1"),
        (("predict", "ROWS", "--model", "nobody/nothing", "--out", "OUT", "--json"), "1"),
        (("eval", "faces", "ROWS", "--judge", SECRETS["HF_ENDPOINT"], "--judge-model", "m"), "1"),
        pytest.param(
            ("chat", "--model", "nobody/nothing", "--text", "--question", "joy?", "--json"), "0", marks=pytest.mark.slow
        ),
    ],
    ids=["train", "predict", "judge", "chat"],
)
def test_nothing_of_a_failure_says_a_secret(secretly, write_recipe, data, words, offline, tmp_path):
    """A Hub that cannot be reached, with a password in its URL and in that of the proxy."""
    places = {"RECIPE": write_recipe(tmp_path / "job"), "ROWS": data / "test.jsonl", "OUT": tmp_path / "out.jsonl"}
    given = [places.get(word, word) for word in words]
    done = secretly(sys.executable, "-m", "affectgpt", *given, HF_HUB_OFFLINE=offline)
    assert done.returncode in (1, 2), done
    assert done.stderr
    assert found_in(done.stdout + done.stderr) == []
    files = [path for path in tmp_path.rglob("*") if path.is_file() and ".git" not in path.relative_to(tmp_path).parts]
    assert {str(path): found for path in files if (found := found_in(path.read_bytes()))} == {}


def test_what_is_looked_for_would_be_found():
    for name, value in SECRETS.items():
        secret = (urllib.parse.urlsplit(value).password or value).encode()
        assert name in found_in(b"\0" + secret + b"\0")
        for before in (b"", b"a", b"ab", b"user:"):
            assert f"{name} in base64" in found_in(base64.b64encode(before + secret + b"!"))
