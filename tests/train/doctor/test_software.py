"""Checks of what is installed, each with what is good and what is bad; imports and compilers are real ones."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from train.doctor import decoders, gpus, software
from train.doctor.findings import Finding, Subject
from train.doctor.gpus import Gpu, Gpus

SUBJECT = Subject(Path())
LAUNCHED = Subject(Path(), processes=2)
H100 = Gpu("H100", 80e9, 79e9, (9, 0), True)
CPU = Gpus("2.13.0+cpu")
CUDA = Gpus("2.13.0", "13.0", "580.65", [H100, H100])


@pytest.fixture
def see(monkeypatch):
    """`see(gpus)`: what the machine has."""
    return lambda found: monkeypatch.setattr(software, "read_gpus", lambda: found)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """`module(name, source)`: a module that stands before an installed one, here and in processes to come."""

    def make(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return make


def test_python(monkeypatch):
    assert software.check_python(SUBJECT).status == "ok"
    monkeypatch.setattr(software.platform, "python_version", lambda: "3.9.1")
    finding = software.check_python(SUBJECT)
    assert finding.status == "problem"
    assert "3.9.1" in finding.found
    assert "expected >=3.11" in finding.found


def test_packages(monkeypatch):
    assert software.check_packages(SUBJECT).status == "ok"
    installed = metadata.version
    versions = {"trl": "1.99.0", "deepspeed": "0.1"}

    def version(name: str) -> str:
        if name == "peft":
            raise metadata.PackageNotFoundError(name)
        return versions.get(name) or installed(name)

    monkeypatch.setattr(metadata, "version", version)
    finding = software.check_packages(SUBJECT)
    assert finding.status == "problem"
    assert "trl<1.17,>=1.16 is expected, 1.99.0 is installed" in finding.found
    assert "peft is missing" in finding.found
    assert "deepspeed>=0.18 is expected, 0.1 is installed" in finding.found
    assert "pytest" not in finding.found  # of the test extra
    assert finding.fix == "pip install -c constraints.txt -e ."


def test_known_versions(tmp_path, monkeypatch):
    pins = tmp_path / "constraints.txt"
    monkeypatch.setattr(software, "CONSTRAINTS", pins)
    assert "not compared" in software.check_known_versions(SUBJECT).found
    torch, numpy = (metadata.version(name).partition("+")[0] for name in ("torch", "numpy"))
    pins.write_text(f"# known\ntorch=={torch}\nnumpy=={numpy}\nnot_ours==1.0\n")
    assert software.check_known_versions(SUBJECT) == Finding("ok", "2 as in constraints.txt")
    pins.write_text(f"torch=={torch}\nnumpy==0.1\n")
    finding = software.check_known_versions(SUBJECT)
    assert finding.status == "warning"
    assert finding.found == f"1 of 2 differ from constraints.txt: numpy {numpy} (known: 0.1)"


@pytest.mark.parametrize(
    ("seen", "status", "words"),
    [
        (CPU, "ok", "none; everything runs on the CPU"),
        (replace(CPU, driver="580.65"), "problem", "driver 580.65 is loaded (PyTorch 2.13.0+cpu, built for CPUs)"),
        (replace(CUDA, gpus=[], flaw="driver too old"), "problem", "driver too old"),
        (CUDA, "ok", "2 x H100, 80 GB, driver 580.65 (PyTorch 2.13.0, built for CUDA 13.0)"),
        (replace(CUDA, gpus=[H100, replace(H100, flaw="no kernel image")]), "problem", "GPU 1: no kernel image"),
        (replace(CUDA, gpus=[H100, replace(H100, free=9e9)]), "warning", "9 GB of GPU 1 free"),
        (replace(CUDA, gpus=[H100, replace(H100, name="A100")]), "warning", "all wait for the slowest"),
    ],
)
def test_gpus(see, seen, status, words, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    see(seen)
    finding = software.check_gpus(SUBJECT)
    assert finding.status == status
    assert words in finding.found
    assert bool(finding.fix) == (status != "ok")


def test_hidden_gpus(see, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    see(replace(CUDA, gpus=[]))
    assert software.check_gpus(SUBJECT).fix == "unset CUDA_VISIBLE_DEVICES"


def test_gpus_are_read_by_a_process_of_its_own(monkeypatch):
    import torch

    gpus.read_gpus.cache_clear()
    seen = gpus.read_gpus()
    assert seen.torch == torch.__version__
    assert len(seen.gpus) == torch.cuda.device_count()
    gpus.read_gpus.cache_clear()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="crashed while it looked for GPUs: exit code 1"):
        gpus.read_gpus()


@pytest.mark.parametrize(
    "text",
    [
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 07:04:27 UTC 2025\nGCC version: 12\n",
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (x@y)\n",
    ],
)
def test_the_driver_says_its_version(tmp_path, monkeypatch, text):
    (tmp_path / "version").write_text(text)
    monkeypatch.setattr(gpus, "DRIVER", tmp_path / "version")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.look().driver == "580.65.06"


def test_bf16(see):
    see(CPU)
    assert software.check_bf16(SUBJECT).status == "ok"
    see(CUDA)
    assert software.check_bf16(SUBJECT).found == "on every GPU"
    see(replace(CUDA, gpus=[H100, replace(H100, name="V100", bf16=False)]))
    assert software.check_bf16(SUBJECT).status == "warning"
    assert "not on V100" in software.check_bf16(SUBJECT).found


def test_flash_attention(see, module):
    see(CPU)
    assert software.check_flash_attention(SUBJECT).found == "not used: no GPU"
    see(replace(CUDA, gpus=[replace(H100, capability=(7, 5))]))
    assert "8.0" in software.check_flash_attention(SUBJECT).found
    see(CUDA)
    module("flash_attn", "raise ImportError('undefined symbol: _ZN3c10')")
    finding = software.check_flash_attention(SUBJECT)
    assert finding.status == "problem"
    assert finding.found.endswith("ImportError: undefined symbol: _ZN3c10")
    assert "pip uninstall flash-attn" in finding.fix
    module("flash_attn", "")
    assert software.check_flash_attention(SUBJECT).status == "ok"


def test_a_deepspeed_that_cannot_be_imported(module):
    module("deepspeed", "import os; os.abort()")
    finding = software.check_deepspeed(SUBJECT)
    assert finding.status == "problem"
    assert "exit code -6" in finding.found


def test_deepspeed_is_missed_by_those_who_need_it(monkeypatch):
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda name: None)
    assert software.check_deepspeed(SUBJECT).status == "warning"
    assert software.check_deepspeed(LAUNCHED).status == "problem"
    assert "'.[deepspeed]'" in software.check_deepspeed(LAUNCHED).fix
    assert software.check_compiler(LAUNCHED) == Finding("ok", "not used: DeepSpeed is not installed")


@pytest.fixture
def compiling(see, tmp_path, monkeypatch):
    """DeepSpeed is there, no GPU, a ninja on the PATH, and an empty folder of what is compiled; that folder."""
    see(CPU)
    monkeypatch.setattr(software.importlib.util, "find_spec", lambda name: object())
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "ninja").write_text("#!/bin/sh\n")
    (tools / "ninja").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/local/bin:/usr/bin:/bin")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "built"))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path / "built"


def test_compiler(compiling):
    if software.shutil.which("c++") is None:
        pytest.skip("no C++ compiler")
    assert software.check_compiler(LAUNCHED).status == "ok", software.check_compiler(LAUNCHED)
    lock = compiling / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("")
    finding = software.check_compiler(LAUNCHED)
    assert finding.status == "warning"
    assert finding.fix.endswith(f"rm {lock}")


def test_a_compiler_that_lacks_something(compiling, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    finding = software.check_compiler(LAUNCHED)
    assert finding.status == "problem"
    assert "no no-such-compiler on the PATH" in finding.found
    assert software.check_compiler(SUBJECT).status == "warning"
    script = tmp_path / "tools" / "old-compiler"
    script.write_text(
        '#!/bin/sh\necho "trial.cpp:1:10: fatal error: Python.h: No such file or directory" >&2\nexit 1\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("CXX", "old-compiler")
    finding = software.check_compiler(LAUNCHED)
    assert "old-compiler fails: trial.cpp:1:10: fatal error: Python.h" in finding.found
    assert f"python3.{sys.version_info.minor}-dev" in finding.fix


def test_no_ninja(compiling, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    finding = software.check_compiler(LAUNCHED)
    assert finding.status == "problem"
    assert "no ninja on the PATH" in finding.found


def test_gpus_need_no_compiler(compiling, see, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    see(CUDA)
    assert software.check_compiler(LAUNCHED).status == "ok"


def test_extensions_lie_where_pytorch_puts_them(see, monkeypatch, tmp_path):
    from torch.utils import cpp_extension

    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gpus.read_gpus.cache_clear()
    see(gpus.look())
    assert str(software.extensions_folder() / "op") == cpp_extension._get_build_directory("op", verbose=False)


def test_an_import_that_hangs(module, monkeypatch):
    module("slow_thing", "import time; time.sleep(60)")
    monkeypatch.setattr(software, "_IMPORT_S", 0.5)
    assert software.import_failure("slow_thing") == "not finished after 0.5 s"


def test_decoders():
    finding = decoders.try_readers("auto")
    assert finding.status == "ok", finding
    assert finding.found.startswith("pyav")


def test_a_decoder_that_is_broken(module):
    module("torchcodec", "raise RuntimeError('Could not load libtorchcodec')")
    finding = decoders.try_readers("auto")
    assert finding.status == "warning"
    assert "torchcodec does not: " in finding.found
    assert "Could not load libtorchcodec" in finding.found
    asked = decoders.try_readers("torchcodec")
    assert asked.status == "problem"
    assert "the recipe asks for torchcodec" in asked.found


def test_frames_are_looked_at(tmp_path, monkeypatch):
    clip = tmp_path / "clip.mp4"
    assert decoders.fetch_trial(("pyav", clip)) is None
    read = decoders.read_video

    def backwards(*arguments: object) -> tuple[np.ndarray, np.ndarray]:
        frames, times = read(*arguments)  # type: ignore[arg-type]
        return frames[::-1], times

    monkeypatch.setattr(decoders, "read_video", backwards)
    assert "wrong order" in str(decoders.fetch_trial(("pyav", clip)))


def test_whisper(monkeypatch):
    monkeypatch.setattr(software, "version_of", lambda name: "1.2" if name == "faster-whisper" else None)
    assert software.check_whisper(SUBJECT).found == "faster-whisper 1.2"
    monkeypatch.setattr(software, "version_of", lambda name: None)
    assert software.check_whisper(SUBJECT).status == "ok"


def test_tokens_are_never_shown(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "HF_TOKEN_PATH", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert software.check_tokens(SUBJECT).found.count("not set") == 2
    (tmp_path / "token").write_text("a-secret")
    monkeypatch.setenv("WANDB_API_KEY", "another-secret")
    finding = software.check_tokens(SUBJECT)
    assert finding.found == "Hub: set; wandb: set"


def test_nothing_heavy_is_imported_for_help():
    program = (
        "import sys\n"
        "from train.doctor.command import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'av', 'pydantic', 'psutil', 'packaging'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=software.CONSTRAINTS.parent, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "deepspeed --hostfile HOSTS --module train.doctor" in done.stdout
    assert "local_rank" not in done.stdout
