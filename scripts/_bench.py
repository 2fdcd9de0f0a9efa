"""Shared parts of the benchmarks: alternating rounds, medians, and the JSON object that they print."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import psutil


def alternate(
    ours: Callable[[], object],
    peers: dict[str, Callable[[], object]],
    rounds: int,
    before: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """Return the median seconds of each, ours under 'ours'.

    Every round runs all of them, each round starting with another one, so that other load on the machine affects all
    alike. A warm-up round is not counted.

    Args:
        before: function called before each run, and not timed.
    """
    runs = list({"ours": ours, **peers}.items())
    seconds: dict[str, list[float]] = {name: [] for name, _ in runs}
    for number in range(rounds + 1):
        turn = number % len(runs)
        for name, run in runs[turn:] + runs[:turn]:
            before()
            begin = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: median(values) for name, values in seconds.items()}


def compare(name: str, unit: str, ours: float, peer: float | None = None, *, more_is_better: bool = False) -> dict:
    """Return an entry of `results`; its ratio is above 1 where ours is better, None without a peer."""
    ratio = None if peer is None else round(ours / peer if more_is_better else peer / ours, 3)
    return {"name": name, "unit": unit, "ours": round(ours, 3), "peer": peer and round(peer, 3), "ratio": ratio}


def report(results: list[dict[str, Any]], rounds: int, packages: list[str]) -> None:
    """Print results, rounds, versions of the installed packages and the machine, as one JSON object."""
    versions = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    print(json.dumps({"results": results, "rounds": rounds, "versions": versions, "machine": _machine()}, indent=2))


def _machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": psutil.virtual_memory().total // 2**20,
    }
