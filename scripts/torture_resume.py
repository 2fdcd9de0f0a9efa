"""Kills runs with SIGKILL at random moments, at least half of them inside a save, and resumes each.

    python scripts/torture_resume.py --runs 200 --seed 0

A run counts as resumed to the bit if the same command, without help, then ends with the same weights of every stage and
the same log lines as an undisturbed run: supervised and GRPO stages, in full and under LoRA, of one process and two.
Processes are forked from one that has only imported everything; exit code 1 if any run was not resumed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob  # that of pathlib raises where a folder vanishes meanwhile
from pathlib import Path
from statistics import median
from typing import Any

import yaml

ROWS = {"clips": 12, "rl_clips": 6, "dev_clips": 0, "test_clips": 2, "text_rows": 20}
ACTORS = {"train_actors": 3, "dev_actors": 1, "test_actors": 2}
TINY = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 48, "vocab_size": 320}
LORA = {"r": 4, "alpha": 8, "dropout": 0.1}
TIMED = ("seconds", "tokens_per_s")


def supervised(name: str) -> dict[str, Any]:
    """Configure a stage with gradient accumulation, modality dropout, and saves between log lines."""
    return {
        **{"name": name, "kind": "sft", "steps": 7, "batch_size": 8, "accumulation": 2, "learning_rate": 3e-3},
        **{"mixture": {"attribute_closed": 1.0, "tree": 0.5}, "modality_dropout": 0.3, "save_steps": 2, "log_steps": 3},
    }


def rollouts(name: str) -> dict[str, Any]:
    """Configure a GRPO stage whose saves fall between the two steps that use the same rollouts."""
    return {
        **{"name": name, "kind": "grpo", "steps": 5, "batch_size": 8, "generations": 4, "num_iterations": 2},
        **{"learning_rate": 3e-3, "mixture": {"attribute_closed": 1.0}, "max_new_tokens": 8, "beta": 0.1},
        **{"rewards": {"length": {"shortest": 20}, "repetition": {"n": 1}}, "save_steps": 1, "log_steps": 2},
    }


@dataclass(frozen=True)
class Kind:
    """Kind of run that is killed."""

    name: str
    stages: tuple[dict[str, Any], ...]
    lora: bool = False
    processes: int = 1


KINDS = (
    Kind("lora", (supervised("sft"), rollouts("grpo")), lora=True),
    Kind("two", (supervised("sft"), rollouts("grpo")), processes=2),
    Kind("grpo", (rollouts("grpo"),)),
    Kind("sft", (supervised("first"), supervised("second"))),
    Kind("two-lora", (supervised("sft"), rollouts("grpo")), lora=True, processes=2),
)


@dataclass(frozen=True)
class Undisturbed:
    """Result of an undisturbed run of a kind, and how long it takes."""

    result: dict[str, Any]
    seconds: float
    save_s: float
    """Median seconds of a save."""
    saves: int


def write_recipe(work: Path, kind: Kind, name: str) -> Path:
    """Write the recipe of one run. All of them share a cache beside their folders."""
    recipe = {
        "output": str(work / name),
        "seed": 3,
        "threads": 1,
        "data": {"synthetic": {**ROWS, **ACTORS, "seed": 5}},
        "model": {"tiny": TINY, "lora": LORA if kind.lora else None},
        "stages": list(kind.stages),
        "evaluation": {"max_new_tokens": 4, "resamples": 10, "examples": 0, "closed_per_clip": 1},
    }
    path = work / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def start(recipe: Path, processes: int) -> list[int]:
    """Start the processes of a run, each in its own process group."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    pids = []
    for rank in range(processes):
        pid = os.fork()
        if not pid:
            os.setsid()
            with open(recipe.with_suffix(f".{rank}.log"), "ab") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            if processes > 1:
                os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            code = 1
            try:
                code = entry([str(recipe)])
            finally:
                sys.stderr.flush()
                os._exit(code)
        pids.append(pid)
    return pids


def wait(pids: Sequence[int]) -> list[int]:
    """Wait for processes and return their exit codes."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def drafts(folder: Path) -> list[Path]:
    """List what is being saved at this moment."""
    patterns = "checkpoints/*.steps/.checkpoint-*.part", "checkpoints/.*.part"
    return [folder / name for pattern in patterns for name in glob(pattern, root_dir=folder)]


def kill(pids: Sequence[int], folder: Path, chance: random.Random, in_save: bool, usual: Undisturbed) -> bool:
    """Kill a run at a random moment, or inside a random one of its saves.

    Returns:
        Whether the run was inside a save.
    """
    until = time.monotonic() + chance.uniform(0, usual.seconds)
    skipped, seen = chance.randrange(usual.saves), set[str]()
    while not ended(pids):
        if in_save:
            fresh = {path.name for path in drafts(folder)} - seen
            if fresh and len(seen) >= skipped:
                time.sleep(chance.uniform(0, usual.save_s))
                break
            seen |= fresh
            time.sleep(0.0005)
        elif time.monotonic() >= until:
            break
        else:
            time.sleep(0.002)
    # Of two processes, sometimes only one is killed: its watchdog must end the other.
    for pid in pids if chance.random() < 0.5 else [chance.choice(pids)]:
        os.killpg(pid, signal.SIGKILL)
    return bool(drafts(folder))


def ended(pids: Sequence[int]) -> bool:
    """Tell whether a process has ended, without reaping it."""
    return any(os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) for pid in pids)


def result_of(folder: Path) -> dict[str, Any]:
    """Return hashes of the weights of every stage, and the log without fields that depend on time."""
    result: dict[str, Any] = {}
    for path in sorted(folder.glob("checkpoints/*/*model*.safetensors")):
        result[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    with (folder / "log.jsonl").open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    result["log"] = [{key: value for key, value in line.items() if not key.startswith(TIMED)} for line in lines]
    return result


def torture(work: Path, kind: Kind, number: int, seed: int, in_save: bool, usual: Undisturbed) -> dict[str, Any]:
    """Run once: start, kill, start again."""
    chance = random.Random(f"{seed}-{number}")
    name = f"{kind.name}-{number}"
    recipe, folder = write_recipe(work, kind, name), work / name
    while True:
        pids = start(recipe, kind.processes)
        inside = kill(pids, folder, chance, in_save, usual)
        if any(wait(pids)):
            break
        shutil.rmtree(folder)  # the run finished before it was killed
    codes = wait(start(recipe, kind.processes))
    same = not any(codes) and result_of(folder) == usual.result
    if same:
        shutil.rmtree(folder)
    return {"run": name, "inside": inside, "same": same, "codes": codes}


def undisturbed(work: Path, kind: Kind, name: str = "undisturbed") -> Undisturbed:
    """Run a kind without disturbance, and time its saves."""
    recipe = write_recipe(work, kind, f"{kind.name}-{name}")
    started, begun, lasted = time.monotonic(), dict[Path, float](), list[float]()
    pids = start(recipe, kind.processes)
    while not ended(pids):
        now, there = time.monotonic(), drafts(work / recipe.stem)
        lasted += [now - begun.pop(path) for path in [*begun] if path not in there]
        begun |= {path: now for path in there if path not in begun}
        time.sleep(0.001)
    if any(wait(pids)):
        raise SystemExit(f"{recipe.stem} failed:\n{recipe.with_suffix('.0.log').read_text()[-3000:]}")
    seconds = time.monotonic() - started
    return Undisturbed(result_of(work / recipe.stem), seconds, median(lasted), len(lasted))


def main() -> int:
    """Kill runs and count those that end as undisturbed ones do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="number of runs to kill (200)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed of the moments (0)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help="number of concurrent runs")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="torture-"))
    undisturbed(work, KINDS[0], "warm")  # fills the cache that all share
    usual = {kind.name: undisturbed(work, kind) for kind in KINDS[: options.runs]}
    same = inside = 0
    running: dict[int, int] = {}
    for number in range(options.runs + options.jobs):
        if len(running) == options.jobs or number >= options.runs:
            if not running:
                break
            pid, _ = os.waitpid(-1, 0)
            path = work / f"{running.pop(pid)}.json"
            done = (
                json.loads(path.read_text()) if path.is_file() else {"run": path.stem, "same": False, "inside": False}
            )
            same, inside = same + done["same"], inside + done["inside"]
            if not done["same"]:
                print(f"NOT resumed to the bit: {done}; see {work / done['run']}", flush=True)
        if number < options.runs:
            kind = KINDS[number % len(KINDS)]
            pid = os.fork()
            if not pid:
                # Four of five aim at a save; some come too late, after it ended.
                done = torture(
                    work, kind, number, options.seed, number // len(KINDS) % 5 != 0 or number < 3, usual[kind.name]
                )
                (work / f"{number}.json").write_text(json.dumps(done))
                os._exit(0)
            running[pid] = number
    print(f"{inside} of {options.runs} were killed inside a save")
    print(f"{same} of {options.runs} resumed to the bit")
    if same < options.runs or 2 * inside < options.runs:
        return 1
    shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    # Everything that a run imports; imported once, before the forks.
    from train.run import entry

    sys.exit(main())
