"""Measures the memory that the processes of one host need until the weights of a model are cut over them by ZeRO-3.

python scripts/bench_load.py [--quick] [--rounds N] [--megabytes N] [--processes N]

The model is a Qwen2 in bfloat16 on disk. `lora` trains an adapter on it in bfloat16, `full` all of it in float32, as a
run does on CPUs. Ours is what a run does: mapped files, each weight cut by itself. The peer loads by `from_pretrained`
in the training dtype, and DeepSpeed cuts the whole model when the trainer starts.

Figures are growth from just before loading until DeepSpeed is initialised, without an optimizer, at its peak:

- `pss`: proportional set size of all processes, summed; a page that several map counts once.
- `anonymous`: pages of no file, summed. The system can drop those of a file, and cannot drop these.
- `rss`: resident set size of all, summed; a page that several map counts for each.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

from _bench import compare, report

FIELDS = {"pss": "Pss", "anonymous": "Anonymous", "rss": "Rss"}
PORT = 29571


def write_model(folder: Path, megabytes: int) -> None:
    """Save an untrained Qwen2 of that size in bfloat16; layers of 31 MB and 131 MB of embedding and head."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        **{"vocab_size": 32_000, "hidden_size": 1024, "intermediate_size": 3584, "num_attention_heads": 16},
        **{"num_key_value_heads": 4, "num_hidden_layers": max(1, (megabytes - 131) // 27)},
    )
    torch.manual_seed(0)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)


def load(folder: Path, setting: str, is_ours: bool) -> None:
    """Load a model in a process of its own, in step with the parent, until its weights are cut."""
    import deepspeed
    import torch
    from transformers import AutoModelForCausalLM

    from train.config.model import LoraSettings, ModelConfig
    from train.model_setup import add_adapter, load_stage_model
    from train.sharding import cut_weights

    lora = LoraSettings(r=16) if setting == "lora" else None
    config: dict[str, Any] = {"train_micro_batch_size_per_gpu": 1, "zero_optimization": {"stage": 3}}
    config |= {"bf16": {"enabled": True}} if lora else {}
    deepspeed.init_distributed("gloo")
    print("ready", flush=True)
    sys.stdin.readline()
    model: Any
    if is_ours:
        settings = ModelConfig(path=str(folder), lora=lora, dtype="bfloat16", inputs=("text",))
        model = load_stage_model(folder, settings, trainable=True, as_stored=True)
        arguments = SimpleNamespace(hf_deepspeed_config=SimpleNamespace(config=config))
        cut_weights(SimpleNamespace(model=model, args=arguments), None if lora else torch.float32)
    else:
        dtype = torch.bfloat16 if lora else torch.float32
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, trust_remote_code=False)
        model = add_adapter(model, lora) if lora else model
    deepspeed.initialize(model=model, config=config)
    print("done", flush=True)
    sys.stdin.readline()


def memory_of(pids: list[int]) -> dict[str, int]:
    """Return the kB of several processes, summed, by figure."""
    lines = [line.split() for pid in pids for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()]
    return {name: sum(int(line[1]) for line in lines if line[0] == f"{field}:") for name, field in FIELDS.items()}


def peak(folder: Path, setting: str, is_ours: bool, count: int) -> dict[str, float]:
    """Return the growth, in MB, of `count` processes that load the model."""
    command = [sys.executable, __file__, "--load", str(folder), setting, "ours" if is_ours else "peer"]
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(PORT), "DS_ACCELERATOR": "cpu"}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(count)
    ]
    pids = [process.pid for process in processes]
    try:
        for process in processes:
            _wait_for(process, "ready")
        before = memory_of(pids)
        most = dict(before)
        for process in processes:
            _answer(process)
        left = {process.stdout.fileno(): process for process in processes if process.stdout is not None}
        while left:
            now = memory_of(pids)
            most = {name: max(value, now[name]) for name, value in most.items()}
            for output in select.select([*left], [], [], 0.005)[0]:
                text = os.read(output, 1 << 16)
                if not text:
                    raise RuntimeError(f"{' '.join(command)} ended with {left[output].wait()}")
                if b"done" in text:
                    del left[output]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return {name: (value - before[name]) * 1024 / 1e6 for name, value in most.items()}


def _wait_for(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise RuntimeError(f"a process ended with {process.wait()}")


def _answer(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def main() -> int:
    """Run the benchmark and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="finish within a minute or two")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="number of rounds (3)")
    parser.add_argument("--megabytes", type=int, default=500, metavar="N", help="size of the model on disk (500)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="number of processes (2)")
    parser.add_argument("--load", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        load(Path(options.load[0]), options.load[1], options.load[2] == "ours")
        return 0
    rounds, megabytes = (1, 160) if options.quick else (options.rounds, options.megabytes)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir="."))
    results = []
    try:
        write_model(folder / "model", megabytes)
        size = sum(path.stat().st_size for path in (folder / "model").iterdir()) / 1e6
        results.append(compare("model on disk", "MB", size))
        for setting in ("lora", "full"):
            found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
            for number in range(rounds):
                for is_ours in (True, False) if number % 2 else (False, True):
                    found[is_ours].append(peak(folder / "model", setting, is_ours, options.processes))
            for name in FIELDS:
                ours, peer = (median(row[name] for row in found[is_ours]) for is_ours in (True, False))
                results.append(compare(f"{setting} {name}", "MB", ours, peer))
    finally:
        shutil.rmtree(folder)
    report(results, rounds, ["torch", "transformers", "deepspeed", "peft", "safetensors"])
    return 0


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    sys.exit(main())
