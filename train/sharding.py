"""Weights of a model cut over the processes of ZeRO-3, one at a time, so that no process ever holds the whole model.

The files of a model are mapped into memory, not read: processes of one host share these pages, and the system may drop
them. Each weight is copied from there by itself, cast and cut, and a process keeps its own part of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn


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
    from deepspeed import zero

    config = trainer.args.hf_deepspeed_config.config
    if config.get("bf16", {}).get("enabled") is True:
        dtype = torch.bfloat16
    first, *others = trainer.model.parameters()
    _copy(first, dtype)
    zero.Init(module=nn.ParameterList([first]), config_dict_or_path=config, dtype=dtype)
    for parameter in others:
        _copy(parameter, dtype)
        first.convert_to_zero_parameters(param_list=[parameter])
    for buffer in trainer.model.buffers():
        buffer.data = buffer.data.to(first.device)


def _copy(parameter: nn.Parameter, dtype: torch.dtype | None) -> None:
    """Take a weight out of its mapped file: pages that are written to would stay until all of the file is let go."""
    parameter.data = parameter.data.to(dtype=dtype if parameter.is_floating_point() else None, copy=True)
