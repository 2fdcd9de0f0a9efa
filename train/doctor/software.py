"""Checks of installed software: Python, packages, GPUs and what uses them, DeepSpeed, its compiler, video readers."""

from __future__ import annotations

import importlib.util
import netrc
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from train.doctor.findings import INSTALL, Check, Finding, Status, Subject
from train.doctor.gpus import read_gpus

if TYPE_CHECKING:
    from packaging.requirements import Requirement

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"

_IMPORT_S = 180.0
_COMPILE_S = 120.0
_BUSY = 0.9
"""Share of a GPU's memory that is free if nobody else uses it."""
_PROGRAM = '#include <Python.h>\n#include <omp.h>\nextern "C" int threads() { return omp_get_max_threads(); }\n'


def check_python(subject: Subject) -> Finding:
    """Check that the packages support this Python."""
    from packaging.specifiers import SpecifierSet

    wanted = metadata.metadata("affectgpt")["Requires-Python"]
    summary = f"{platform.python_version()} at {sys.executable}"
    if wanted and platform.python_version() not in SpecifierSet(wanted):
        fix = "Create an environment with a supported Python: python3.11 -m venv .venv"
        return Finding("problem", f"{summary}, expected {wanted}", fix)
    return Finding("ok", summary)


def check_packages(subject: Subject) -> Finding:
    """Check that every required package, and every installed optional one, is in a version within its range."""
    wrong = []
    count = 0
    for requirement, needed in requirements():
        version = version_of(requirement.name)
        if version is None and not needed:
            continue
        count += 1
        expected = f"{requirement.name}{requirement.specifier}"
        if version is None:
            wrong.append(f"{requirement.name} is missing")
        elif not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{expected} is expected, {version} is installed")
    if wrong:
        return Finding("problem", "; ".join(wrong), INSTALL)
    return Finding("ok", f"{count} within their ranges")


def check_known_versions(subject: Subject) -> Finding:
    """Check that the versions are those known to work together."""
    from packaging.version import Version

    if not CONSTRAINTS.is_file():
        return Finding("ok", "not compared: there is no constraints.txt beside the packages")
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    pins = dict(line.partition("==")[::2] for line in lines if "==" in line and not line.startswith("#"))
    known = {_canonical(name): version.strip() for name, version in pins.items()}
    other, count = [], 0
    for requirement, _ in requirements():
        version, pinned = version_of(requirement.name), known.get(_canonical(requirement.name))
        if version is None or pinned is None:
            continue
        count += 1
        # The part after a + names the build, such as the CUDA that PyTorch is built for.
        if Version(version).public != Version(pinned).public:
            other.append(f"{requirement.name} {version} (known: {pinned})")
    if other:
        summary = f"{len(other)} of {count} differ from constraints.txt: {', '.join(other)}"
        return Finding("warning", summary, INSTALL)
    return Finding("ok", f"{count} as in constraints.txt")


def requirements() -> Iterator[tuple[Requirement, bool]]:
    """Yield each package that our installed metadata requires, or that an extra other than 'test' does, once.

    Yields:
        Requirement, and whether it is required.

    Raises:
        PackageNotFoundError: this project is not installed.
    """
    from packaging.requirements import Requirement

    extras = [extra for extra in metadata.metadata("affectgpt").get_all("Provides-Extra") or [] if extra != "test"]
    for text in metadata.requires("affectgpt") or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement, True
        elif any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement, False


def version_of(package: str) -> str | None:
    """Return the installed version of a package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_gpus(subject: Subject) -> Finding:
    """Check how many GPUs PyTorch can use, their memory, and whether driver and build match."""
    seen = read_gpus()
    build = f"PyTorch {seen.torch}, built for {f'CUDA {seen.cuda}' if seen.cuda else 'CPUs'}"
    if not seen.gpus:
        if not seen.driver:
            return Finding("ok", f"none; everything runs on the CPU ({build})")
        summary = f"none that PyTorch can use, although NVIDIA's driver {seen.driver} is loaded ({build})"
        if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
            return Finding("warning", f"{summary}: CUDA_VISIBLE_DEVICES hides them", "unset CUDA_VISIBLE_DEVICES")
        if not seen.cuda:
            fix = "Install a build of PyTorch for CUDA: see https://pytorch.org/get-started/locally"
            return Finding("problem", summary, fix)
        return Finding("problem", f"{summary}: {seen.flaw}", "Check the GPUs and their driver: nvidia-smi")
    names = sorted({gpu.name for gpu in seen.gpus})
    memory = sorted({round(gpu.total / 1e9) for gpu in seen.gpus})
    summary = (
        f"{len(seen.gpus)} x {' and '.join(names)}, {' and '.join(map(str, memory))} GB"
        f"{f', driver {seen.driver}' if seen.driver else ''} ({build})"
    )
    flaws = [f"GPU {index}: {gpu.flaw}" for index, gpu in enumerate(seen.gpus) if gpu.flaw]
    if flaws:
        fix = "Install a build of PyTorch for these GPUs: see https://pytorch.org/get-started/locally"
        return Finding("problem", f"{summary}; {'; '.join(flaws)}", fix)
    busy = [
        f"{gpu.free / 1e9:.0f} GB of GPU {index} free"
        for index, gpu in enumerate(seen.gpus)
        if gpu.free < _BUSY * gpu.total
    ]
    if busy:
        return Finding("warning", f"{summary}; {', '.join(busy)}", "See who uses them: nvidia-smi")
    if len(names) > 1 or len(memory) > 1:
        return Finding("warning", f"{summary}: all wait for the slowest", "Choose equal ones: CUDA_VISIBLE_DEVICES=0,1")
    return Finding("ok", summary)


def check_bf16(subject: Subject) -> Finding:
    """Check that the GPUs compute in bfloat16."""
    gpus = read_gpus().gpus
    if not gpus:
        return Finding("ok", "not used: on a CPU everything is float32")
    without = sorted({gpu.name for gpu in gpus if not gpu.bf16})
    if without:
        summary = f"not on {', '.join(without)}: training is in float32, which takes twice the memory"
        return Finding("warning", summary, "See what fits: affectgpt plan RECIPE --gpu-memory GB")
    return Finding("ok", "on every GPU")


def check_flash_attention(subject: Subject) -> Finding:
    """Check that flash attention, which is used if it is installed, can be imported."""
    gpus = read_gpus().gpus
    if not gpus:
        return Finding("ok", "not used: no GPU")
    if min(gpu.capability for gpu in gpus) < (8, 0):
        return Finding("ok", "not used: it needs GPUs of compute capability 8.0; PyTorch's own attention is used")
    if importlib.util.find_spec("flash_attn") is None:
        return Finding("ok", "not installed; PyTorch's own attention is used")
    failed = import_failure("flash_attn")
    if failed is not None:
        fix = "Build it for this PyTorch: pip install --no-build-isolation --force-reinstall --no-deps flash-attn"
        return Finding(
            "problem", f"installed, but cannot be imported: {failed}", f"{fix}. Or: pip uninstall flash-attn"
        )
    return Finding("ok", f"{version_of('flash-attn')}")


def check_deepspeed(subject: Subject) -> Finding:
    """Check that DeepSpeed can be imported."""
    fix = "pip install -c constraints.txt -e '.[deepspeed]'"
    if importlib.util.find_spec("deepspeed") is None:
        status: Status = "problem" if subject.uses_deepspeed else "warning"
        return Finding(status, "not installed; a run of several processes needs it", fix)
    failed = import_failure("deepspeed")
    if failed is not None:
        return Finding("problem", f"installed, but cannot be imported: {failed}", f"{fix} --force-reinstall")
    return Finding("ok", f"{version_of('deepspeed')}")


def check_compiler(subject: Subject) -> Finding:
    """Check that DeepSpeed can compile its shared-memory exchange, which it does on first use if there is no GPU."""
    if importlib.util.find_spec("deepspeed") is None:
        return Finding("ok", "not used: DeepSpeed is not installed")
    if read_gpus().gpus:
        return Finding("ok", "not used on GPUs, unless your DeepSpeed configuration names an optimizer")
    status: Status = "problem" if subject.uses_deepspeed else "warning"
    flaw = _compiler_flaw()
    if flaw is not None:
        return Finding(status, f"DeepSpeed cannot compile what it needs on CPUs: {flaw[0]}", flaw[1])
    locks = sorted(extensions_folder().glob("*/lock"))
    if locks:
        summary = f"works, but {locks[0]} exists: PyTorch waits until it is gone"
        return Finding("warning", summary, f"If nothing is being compiled: rm {' '.join(map(str, locks))}")
    return Finding("ok", f"{os.environ.get('CXX', 'c++')} and ninja work")


def extensions_folder() -> Path:
    """Return the folder in which PyTorch keeps what it compiled."""
    if (given := os.environ.get("TORCH_EXTENSIONS_DIR")) is not None:
        return Path(given)
    cuda = read_gpus().cuda
    build = f"cu{cuda.replace('.', '')}" if cuda else "cpu"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "torch_extensions" / f"py{sys.version_info.major}{sys.version_info.minor}_{build}"


def _compiler_flaw() -> tuple[str, str] | None:
    """Return what is missing for compiling, and how to get it."""
    if shutil.which("ninja") is None:
        beside = Path(sys.executable).with_name("ninja")
        fix = f'export PATH="{beside.parent}:$PATH"' if beside.is_file() else "pip install ninja"
        return "no ninja on the PATH", fix
    compiler = os.environ.get("CXX", "c++")
    fix = "Install a C++ compiler, as in: apt install g++"
    if shutil.which(compiler) is None:
        return f"no {compiler} on the PATH", fix
    with tempfile.TemporaryDirectory(prefix="doctor-") as folder:
        source = Path(folder, "trial.cpp")
        source.write_text(_PROGRAM)
        include = sysconfig.get_path("include")
        command = [
            compiler,
            "-std=c++20",
            "-fopenmp",
            "-fPIC",
            "-shared",
            f"-I{include}",
            source.name,
            "-o",
            "trial.so",
        ]
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_COMPILE_S, check=False, errors="replace"
        )
    if not done.returncode:
        return None
    errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["no reason"]
    if "Python.h" in errors[0]:
        fix = f"Install the headers of this Python, as in: apt install python3.{sys.version_info.minor}-dev"
    return f"{compiler} fails: {errors[0].strip()}", fix


def import_failure(module: str) -> str | None:
    """Import a module in a separate process, which may crash or hang; return why it failed, None if it did not."""
    command = [sys.executable, "-c", f"import {module}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_S, check=False, errors="replace")
    except subprocess.TimeoutExpired:
        return f"not finished after {_IMPORT_S:g} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return None


def check_decoders(subject: Subject) -> Finding:
    """Check that the installed readers fetch the frames of a clip that is written for this purpose."""
    from train.doctor.decoders import try_readers  # imports PyAV, which may be missing

    return try_readers(subject.recipe.data.reader if subject.recipe else "auto")


def check_whisper(subject: Subject) -> Finding:
    """Report which speech-to-text packages are installed; only `affectgpt data transcribe` uses them."""
    there = [f"{name} {version}" for name in ("openai-whisper", "faster-whisper") if (version := version_of(name))]
    if there:
        return Finding("ok", ", ".join(there))
    return Finding("ok", "not installed; `affectgpt data transcribe` uses transformers, or needs openai-whisper")


def check_tokens(subject: Subject) -> Finding:
    """Check whether the user is known to the Hub and wandb, without showing any token."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"))
    stored = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    hub = any(os.environ.get(name) for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")) or stored.is_file()
    wandb = bool(os.environ.get("WANDB_API_KEY"))
    if not wandb:
        with suppress(OSError, netrc.NetrcParseError):
            wandb = netrc.netrc().authenticators("api.wandb.ai") is not None
    parts = [f"Hub: {'set' if hub else 'not set; only gated models need it'}"]
    parts.append(f"wandb: {'set' if wandb else 'not set; runs are logged offline'}")
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        parts.append("HF_HUB_OFFLINE is set: nothing is downloaded")
    return Finding("ok", "; ".join(parts))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower().strip()


CHECKS: dict[str, Check] = {
    "python": check_python,
    "packages": check_packages,
    "known versions": check_known_versions,
    "gpus": check_gpus,
    "bf16": check_bf16,
    "flash-attn": check_flash_attention,
    "deepspeed": check_deepspeed,
    "compiler": check_compiler,
    "decoders": check_decoders,
    "whisper": check_whisper,
    "tokens": check_tokens,
}
