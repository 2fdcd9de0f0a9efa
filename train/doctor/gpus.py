"""GPUs as PyTorch sees them, examined in a separate process: a driver that crashes or hangs takes only that one down.

Run as a program, it prints `look()` as JSON.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/version")
_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """GPU of this machine; `flaw` is the reason why it could not multiply two matrices, if it could not."""

    name: str
    total: float
    free: float
    capability: tuple[int, int]
    bf16: bool
    flaw: str = ""


@dataclass(frozen=True, slots=True)
class Gpus:
    """GPUs of a machine.

    Args:
        torch: version of PyTorch.
        cuda: version of CUDA (or ROCm) that PyTorch is built for; empty if it is built without.
        driver: version of NVIDIA's driver; empty if none is loaded.
        gpus: GPUs that PyTorch can use.
        flaw: reason why it can use none, if it is built for them.
    """

    torch: str
    cuda: str = ""
    driver: str = ""
    gpus: list[Gpu] = field(default_factory=list)
    flaw: str = ""


@cache
def read_gpus() -> Gpus:
    """Look for the GPUs of this machine in a separate process, once.

    Raises:
        RuntimeError: PyTorch cannot be imported or does not answer; says why.
    """
    command = [sys.executable, "-m", "train.doctor.gpus"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"PyTorch did not list the GPUs within {_LIMIT_S:g} s") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RuntimeError(f"PyTorch crashed while it looked for GPUs: {reason}")
    gpus = json.loads(done.stdout.splitlines()[-1])
    gpus["gpus"] = [Gpu(**gpu | {"capability": tuple(gpu["capability"])}) for gpu in gpus["gpus"]]
    return Gpus(**gpus)


def look() -> Gpus:
    """Look for the GPUs in this process."""
    import torch

    cuda = torch.version.cuda or torch.version.hip or ""
    driver = ""
    if DRIVER.is_file():
        match = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", DRIVER.read_text())
        driver = match[1] if match else "unknown"
    flaw, gpus = "", []
    if cuda and os.environ.get("CUDA_VISIBLE_DEVICES") != "":
        try:
            torch.cuda.init()
            gpus = [_try_gpu(index) for index in range(torch.cuda.device_count())]
        except (RuntimeError, AssertionError) as error:
            flaw = str(error).partition("\n")[0]
    return Gpus(torch.__version__, cuda, driver, gpus, flaw)


def _try_gpu(index: int) -> Gpu:
    import torch

    properties = torch.cuda.get_device_properties(index)
    free, total = torch.cuda.mem_get_info(index)
    flaw = ""
    with torch.cuda.device(index):
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        try:
            ones = torch.ones(64, 64, device="cuda")
            if (ones @ ones).sum().item() != 64**3:
                flaw = "it multiplies wrongly"
        except RuntimeError as error:
            flaw = str(error).partition("\n")[0]
    return Gpu(properties.name, total, free, (properties.major, properties.minor), bf16, flaw)


if __name__ == "__main__":
    print(json.dumps(asdict(look())))
