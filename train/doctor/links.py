"""Speed of tensor exchange between the processes of a run, and whether sums are right; all processes call all."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from train.doctor.meeting import Meeting

LARGE = 64 << 20
"""Bytes of the large all-reduce."""

_SENT = 16 << 20
"""Bytes sent over a link."""
_ROUNDS = 5
_PATTERN = 7


def device_kind() -> str:
    """Return the kind of device on which this process computes."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def join(meeting: Meeting, device: str) -> None:
    """Create the group of all processes (gloo on CPUs, NCCL on GPUs) and use it once: some connect only then."""
    if device == "cuda":
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # else a timeout ends the process unexplained
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        store=dist.PrefixStore("group", meeting.store),
        rank=meeting.rank,
        world_size=meeting.size,
        timeout=timedelta(seconds=meeting.timeout_s),
    )
    _settle(device)


def leave() -> None:
    """Destroy the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def time_all_reduce(device: str) -> dict[str, float | bool]:
    """Measure the median seconds of a small and a large all-reduce, and whether every number of the sum is right."""
    rank, size = dist.get_rank(), dist.get_world_size()
    pattern = torch.arange(LARGE // 4, device=device).remainder_(_PATTERN).float()
    total = pattern + rank
    dist.all_reduce(total)
    right = torch.equal(total, size * pattern + size * (size - 1) // 2)
    small, large = torch.zeros(1, device=device), torch.zeros(LARGE // 4, device=device)
    return {
        "right": right,
        "small_s": _median(lambda: dist.all_reduce(small), device),
        "large_s": _median(lambda: dist.all_reduce(large), device),
    }


def ring(ranks: Sequence[int]) -> list[tuple[int, int]]:
    """Pair each rank with its neighbour, so that a slow one shows in two links."""
    if len(ranks) < 3:
        return [(ranks[0], ranks[1])]
    return [(rank, ranks[(index + 1) % len(ranks)]) for index, rank in enumerate(ranks)]


def time_links(pairs: Sequence[tuple[int, int]], device: str) -> dict[str, tuple[float, float]]:
    """Let pairs exchange in turn; return (latency in seconds, bytes per second) of pairs that this process leads."""
    rank = dist.get_rank()
    small, large = torch.zeros(1, device=device), torch.zeros(_SENT // 4, device=device)
    speeds = {}
    for pair in pairs:
        _settle(device)
        if rank not in pair:
            continue
        there_and_back = [_median(lambda: _exchange(item, pair), device) for item in (small, large)]  # noqa: B023
        if rank == pair[0]:
            speeds[f"{pair[0]}-{pair[1]}"] = (there_and_back[0] / 2, 2 * _SENT / there_and_back[1])
    _settle(device)
    return speeds


def _exchange(item: Tensor, pair: tuple[int, int]) -> None:
    if dist.get_rank() == pair[0]:
        dist.send(item, pair[1])
        dist.recv(item, pair[1])
    else:
        dist.recv(item, pair[0])
        dist.send(item, pair[0])


def _median(call: Callable[[], object], device: str) -> float:
    """Return the median seconds of a call; the first, which may connect, is left out."""
    seconds = []
    for _ in range(1 + _ROUNDS):
        started = time.perf_counter()
        call()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def _settle(device: str) -> None:
    """Wait for all processes."""
    dist.all_reduce(torch.zeros(1, device=device))
    if device == "cuda":
        torch.cuda.synchronize()
