"""Device on which plugins are trained and run: the GPU of this process, if there is one."""

from __future__ import annotations

import os

import torch


def plugin_device() -> torch.device:
    """Return this process's GPU, else the CPU; of several GPUs the one of the launcher's LOCAL_RANK."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
