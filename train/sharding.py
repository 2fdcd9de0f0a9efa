"""Weights of a model cut over the processes of ZeRO-3, one at a time, so that no process ever holds the whole model.

The files of a model are mapped into memory, not read: processes of one host share these pages, and the system may drop
them. Each weight is copied from there by itself, cast and cut, and a process keeps its own part of it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def cuts_weights(deepspeed: Path | None) -> bool:
    """Tell whether a DeepSpeed configuration is one of ZeRO-3, under which a process holds a part of each weight."""
    if deepspeed is None:
        return False
    settings = json.loads(deepspeed.read_text(encoding="utf-8")).get("zero_optimization", {})
    return bool(settings.get("stage") == 3)


def cut_weights(trainer: Any, dtype: torch.dtype | None = None) -> None:
    """Cut every weight of a trainer's model in place, before it trains; all processes call this together.

    Those of the first process count. A configuration that enables bf16 casts all weights to that, as DeepSpeed casts a
    model that comes whole.

    Args:
        trainer: a trainer of transformers, whose arguments have the configuration of ZeRO-3.
        dtype: dtype in which the weights are trained otherwise; by default they keep theirs.
    """
    from deepspeed import comm, init_distributed, zero

    if not comm.is_initialized():  # else the configuration would count one process
        init_distributed()
    config = trainer.args.hf_deepspeed_config.config
    if config.get("bf16", {}).get("enabled") is True:
        dtype = torch.bfloat16
    first, *others = trainer.model.parameters()
    staging = _Staging([first, *others], dtype)
    staging.take(first)
    zero.Init(module=nn.ParameterList([first]), config_dict_or_path=config, dtype=dtype)
    for parameter in others:
        staging.take(parameter)
        first.convert_to_zero_parameters(param_list=[parameter])
    for buffer in trainer.model.buffers():
        buffer.data = buffer.data.to(first.device)


class _Staging:
    """Memory into which weights are copied out of their mapped files, one after the other, before they are cut.

    Pages of a file that were written to would stay until all of the file is let go; and memory that is taken and given
    back for every weight stays with the process in pieces.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], dtype: torch.dtype | None) -> None:
        self.dtype = dtype
        self.largest: dict[torch.dtype, int] = {}
        for parameter in parameters:
            kind = self._dtype_of(parameter)
            self.largest[kind] = max(self.largest.get(kind, 0), parameter.numel())
        self.memory: dict[torch.dtype, Tensor] = {}

    def take(self, parameter: nn.Parameter) -> None:
        """Copy a weight here, cast; it stays until the next one is taken."""
        kind = self._dtype_of(parameter)
        if kind not in self.memory:
            self.memory[kind] = torch.empty(self.largest[kind], dtype=kind, device=parameter.device)
        target = self.memory[kind][: parameter.numel()].view(parameter.shape)
        parameter.data = target.copy_(parameter.data)

    def _dtype_of(self, parameter: nn.Parameter) -> torch.dtype:
        return self.dtype if self.dtype is not None and parameter.is_floating_point() else parameter.dtype
