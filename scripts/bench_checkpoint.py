"""Times the cost of safe checkpoints.

python scripts/bench_checkpoint.py [--quick] [--rounds N] [--megabytes N]

- `save_held_up`: seconds that training waits for a checkpoint of 1 GB, beside plainly writing the same files. The rest,
  flushing, hashing and the rename, happens in the background.
- `save_published`: seconds until the checkpoint is on disk under its name, beside the same files written plainly, which
  are then only in memory; and beside the same files written and flushed (`save_published_vs_flushed`).
- `first_step_after_resume`: seconds from the start of a run to the end of its first step, for a run that resumes from a
  checkpoint beside one that starts, on the same prepared data; each in a process with everything imported.
- `training_with_saves`: seconds of a stage of the demo's model with a save every 50 steps, beside one without.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch
import yaml
from _bench import alternate, compare, report
from safetensors.torch import save_file

from train.fault_tolerance.checkpoint import draft_of, publish

DEMO = Path(__file__).parents[1] / "train/recipes/demo.yaml"
ROWS = {"clips": 40, "rl_clips": 8, "dev_clips": 0, "test_clips": 4, "text_rows": 20}
ACTORS = {"train_actors": 3, "dev_actors": 1, "test_actors": 2, "seed": 5}


def save_times(folder: Path, megabytes: int, rounds: int) -> list[dict[str, Any]]:
    """Time saves of a model and an optimizer twice its size, as a trainer saves them."""
    each = max(1, megabytes // 12)
    tensors = {f"layer{number}": torch.randn(each * 250_000) for number in range(4)}
    state = {name: {"exp_avg": value, "exp_avg_sq": value.square()} for name, value in tensors.items()}
    checkpoint = folder / "checkpoint-1"

    def write(target: Path) -> None:
        target.mkdir(parents=True)
        save_file(tensors, target / "model.safetensors")
        torch.save(state, target / "optimizer.pt")

    held_up: list[float] = []

    def ours() -> None:
        begun = time.perf_counter()
        write(draft_of(checkpoint))
        background = ThreadPoolExecutor(1)
        publishing = background.submit(publish, draft_of(checkpoint), checkpoint)
        held_up.append(time.perf_counter() - begun)
        publishing.result()
        background.shutdown()

    def replace(draft: Path, old: Path) -> None:
        shutil.rmtree(old, ignore_errors=True)  # like ours, which removes the old one when the new one is complete
        draft.rename(old)

    def plain() -> None:
        write(folder / "new")
        replace(folder / "new", folder / "plain")

    def flushed() -> None:
        write(folder / "new")
        for path in (folder / "new").iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        replace(folder / "new", folder / "flushed")

    # Data that one leaves unflushed must not be flushed in the time of the next.
    seconds = alternate(ours, {"plain": plain, "flushed": flushed}, rounds, before=os.sync)
    return [
        compare("save_held_up", "s", median(held_up[1:]), seconds["plain"]),
        compare("save_published", "s", seconds["ours"], seconds["plain"]),
        compare("save_published_vs_flushed", "s", seconds["ours"], seconds["flushed"]),
    ]


def write_recipe(folder: Path, name: str, steps: int, save_steps: int) -> Path:
    """Write a recipe with the first stage of the demo, its model and its batches, on a few clips."""
    demo = yaml.safe_load(DEMO.read_text())
    stage = {**demo["stages"][0], "steps": steps, "save_steps": save_steps}
    recipe = {
        **{"output": str(folder / name), "seed": 1, "threads": 1, "data": {"synthetic": {**ROWS, **ACTORS}}},
        **{"model": demo["model"], "stages": [stage]},
        "evaluation": {"max_new_tokens": 4, "resamples": 10, "examples": 0, "closed_per_clip": 1},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def run_apart(recipe: Path, until_step: int | None = None) -> dict[int, float]:
    """Run a recipe in a fork of this process; return the seconds at which each of its steps ended.

    Args:
        until_step: step after which the run is killed.
    """
    receive, send = os.pipe()
    begun = time.perf_counter()
    pid = os.fork()
    if not pid:
        from train import monitor
        from train.run import entry

        end_step = monitor.StageLog.on_step_end

        def tell(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> Any:
            os.write(send, f"{state.global_step} {time.perf_counter()}\n".encode())
            return end_step(self, args, state, control, **rest)

        monitor.StageLog.on_step_end = tell  # type: ignore[method-assign]
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(entry([str(recipe)]))
    os.close(send)
    steps: dict[int, float] = {}
    with os.fdopen(receive) as lines:
        for line in lines:
            step, at = line.split()
            steps[int(step)] = float(at) - begun
            if int(step) == until_step:
                os.kill(pid, 9)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == (0 if until_step is None else -9), f"{recipe} ended with {code}"
    return steps


def resume_times(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """Time the first step of a stage resumed after a kill, and of the same stage from its start."""
    recipe, again = (write_recipe(folder, name, 40, 10) for name in ("resumed", "fresh"))
    run_apart(recipe, until_step=15)
    kept = folder / "kept"
    shutil.copytree(folder / "resumed", kept)
    first: dict[str, list[float]] = {"resumed": [], "fresh": []}
    for _ in range(rounds):
        shutil.rmtree(folder / "resumed")
        shutil.copytree(kept, folder / "resumed")
        shutil.rmtree(folder / "fresh", ignore_errors=True)
        for name, path, step in (("resumed", recipe, 11), ("fresh", again, 1)):
            first[name].append(run_apart(path, until_step=step)[step])
    return [compare("first_step_after_resume", "s", median(first["resumed"]), median(first["fresh"]))]


def stall_times(folder: Path, steps: int, rounds: int) -> list[dict[str, Any]]:
    """Time whole stages from their first step to their last, which the trainer does not save."""
    seconds: dict[str, list[float]] = {"saving": [], "plain": []}
    for number in range(rounds):
        names = ("saving", "plain") if number % 2 else ("plain", "saving")
        for name in names:
            shutil.rmtree(folder / name, ignore_errors=True)
            took = run_apart(write_recipe(folder, name, steps, 50 if name == "saving" else 10**6))
            seconds[name].append(took[steps] - took[1])
    return [compare("training_with_saves", "s", median(seconds["saving"]), median(seconds["plain"]))]


def main() -> int:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="finish within a minute")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="number of rounds (5)")
    parser.add_argument("--megabytes", type=int, default=1000, metavar="N", help="size of the checkpoint (1000)")
    options = parser.parse_args()
    rounds, megabytes, steps = (2, 200, 120) if options.quick else (options.rounds, options.megabytes, 300)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir="."))
    try:
        runs = resume_times(folder, rounds) + stall_times(folder, steps, rounds)  # forks, before torch has threads
        results = save_times(folder, megabytes, rounds) + runs
    finally:
        shutil.rmtree(folder)
    report(results, rounds, ["torch", "transformers", "accelerate", "safetensors"])
    return 0


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    import train.pipeline  # noqa: F401  (everything that a run imports, once, before the forks)

    sys.exit(main())
