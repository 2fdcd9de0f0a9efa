"""Progress of a run: a plan with the time left, a line per step of the plan, JSONL logs, memory used."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import psutil
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from train.fault_tolerance import watchdog

LOGGED = {
    "loss": "loss",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "useful_tokens": "useful_tokens",
    "reward": "reward",
    "reward_std": "reward_std",
    "advantage_std": "advantage_std",
    "zero_variance_share": "zero_variance_share",
    "exchanged_share": "exchanged_share",
    "parse_rate": "parse_rate",
    "kl": "kl",
    "entropy": "entropy",
    "completions/mean_length": "completion_length",
    "completions/clipped_ratio": "truncated_share",
    "clip_ratio/region_mean": "clipped_share",
    **{
        f"{figure}/{part}": f"{figure}/{part}"
        for figure in ("seconds", "tokens_per_s")
        for part in ("rollout", "reward", "scoring", "update")
    },
}
"""Keys of a trainer's log -> keys of `log.jsonl`; mean and spread of each reward are added."""

_LONGEST_ANSWER = 4000
"""Maximum characters of a completion in `rollouts.jsonl`."""


class Console:
    """Plan of a run on standard error: one line per step, rewritten in a terminal, printed once elsewhere.

    Args:
        steps: title -> estimated seconds, in order; measured steps correct the estimates of those to come.
        quiet: print nothing (ranks other than the first).
    """

    def __init__(self, steps: dict[str, float], quiet: bool = False, out: TextIO = sys.stderr) -> None:
        self.guess, self.quiet, self.out = dict(steps), quiet, out
        self.started = time.monotonic()
        self.measured: dict[str, float] = {}
        self.title = ""
        self.step_started = 0.0
        self.shown_at = 0.0
        self.live = out.isatty()

    def begin(self, title: str) -> None:
        """Start a step of the plan."""
        watchdog.begin(title)
        self.title, self.step_started, self.shown_at = title, time.monotonic(), 0.0
        self.show("", 0.0, force=self.live)

    def show(self, detail: str, share: float, force: bool = False) -> None:
        """Rewrite the live line: `share` of the step is done. Outside a terminal, print a line every 20 s."""
        watchdog.doing(detail)
        now = time.monotonic()
        if self.quiet or (not force and now - self.shown_at < (0.2 if self.live else 20)):
            return
        if not self.live and self.shown_at == 0.0 and not force:
            self.shown_at = now
            return
        self.shown_at = now
        spent = now - self.step_started
        left = spent / share - spent if share > 0.02 else self.guess.get(self.title, 0.0)
        self._write(f"{self._head()} {detail:<46} {_clock(left)} left, all {_clock(left + self._rest())}", end="")

    def done(self, detail: str) -> None:
        """Finish the step with a permanent line."""
        spent = time.monotonic() - self.step_started
        self.measured[self.title] = spent
        if not self.quiet:
            self._write(f"{self._head()} {detail:<58} {_clock(spent)}", end="\n")

    def say(self, text: str) -> None:
        """Print a line of its own."""
        if not self.quiet:
            self._write(text, end="\n")

    def _head(self) -> str:
        names = list(self.guess)
        number = names.index(self.title) + 1 if self.title in names else len(names)
        return f"[{number:>2}/{len(names)}] {self.title:<22}"

    def _rest(self) -> float:
        """Return the seconds of the steps to come: their estimates, corrected by the measured ones."""
        done = [title for title in self.measured if self.guess.get(title)]
        ratio = sum(self.measured[t] for t in done) / sum(self.guess[t] for t in done) if done else 1.0
        names = list(self.guess)
        coming = names[names.index(self.title) + 1 :] if self.title in names else []
        return ratio * sum(self.guess[title] for title in coming)

    def _write(self, line: str, end: str) -> None:
        if self.live:
            self.out.write("\r\x1b[2K" + line + end)
        else:
            self.out.write(line + "\n")
        self.out.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


class StageLog(TrainerCallback):
    """Callback that writes a trainer's log to `log.jsonl` and the console, and stops on Ctrl-C with a checkpoint."""

    def __init__(self, stage: str, console: Console, path: Path, rewards: Sequence[str] = ()) -> None:
        self.stage, self.console, self.path, self.rewards = stage, console, path, rewards
        self.started = time.monotonic()
        self.signal = 0
        """Number of the signal that asked the stage to stop; 0 if none has."""
        self.last: dict[str, float] = {}

    def interrupt(self, number: int, _: Any) -> None:
        """Handle a signal: save at the end of this step, then stop. A second signal stops at once."""
        if self.signal:
            raise KeyboardInterrupt(number)
        self.signal = number
        self.console.say("Stopping after this step; a checkpoint is saved. Ctrl-C again stops at once.")

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Report the forward pass to the watchdog: the step's batch has been read."""
        watchdog.doing(f"step {state.global_step + 1}, forward and backward")

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Report the update to the watchdog: the gradients are there."""
        watchdog.doing(f"step {state.global_step + 1}, optimizer")

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Update the live line; save and stop, all processes at the same step, if one of them was asked to."""
        loss = f"loss {self.last['loss']:.3f}" if "loss" in self.last else ""
        reward = f"reward {self.last['reward']:.3f}" if "reward" in self.last else ""
        detail = f"step {state.global_step}/{state.max_steps}  {reward or loss}"
        self.console.show(detail, state.global_step / state.max_steps)
        self.signal = _largest(self.signal, args)
        watchdog.doing(f"step {state.global_step + 1}, reading its rows")
        if self.signal:
            control.should_save = control.should_training_stop = True
        if state.global_step >= state.max_steps:
            control.should_save = False  # the stage's own checkpoint comes next; from this one it would train on
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Append one line to the log."""
        logs = logs or {}
        values = {name: logs[key] for key, name in LOGGED.items() if key in logs}
        for name in self.rewards:
            if f"rewards/{name}/mean" in logs:
                values[f"rewards/{name}"] = logs[f"rewards/{name}/mean"]
                values[f"rewards/{name}/std"] = logs[f"rewards/{name}/std"]
        if "loss" not in values or not state.is_world_process_zero:
            return
        self.last = values
        seconds = round(time.monotonic() - self.started, 3)
        with self.path.open("a", encoding="utf-8") as file:
            line = {"stage": self.stage, "step": state.global_step, **values, "seconds": seconds}
            file.write(json.dumps(line) + "\n")


def show_rollouts(path: Path, stage: str, to_wandb: bool, step: int, rollouts: Sequence[Mapping[str, Any]]) -> None:
    """Append rollouts with their rewards to a file of the run, a line each; send them to W&B as a table if asked."""
    with path.open("a", encoding="utf-8") as file:
        for rollout in rollouts:
            line = {"stage": stage, "step": step, **rollout, "completion": rollout["completion"][:_LONGEST_ANSWER]}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    if to_wandb:
        import wandb

        if wandb.run is not None:
            table = wandb.Table(columns=[*rollouts[0]], data=[[*rollout.values()] for rollout in rollouts])
            wandb.log({f"rollouts/{stage}": table, "train/global_step": step})


class MemoryMeter:
    """Peak resident memory of this process and its children, in MB, sampled while it is open."""

    def __init__(self, period_s: float = 0.5) -> None:
        self.peak_mb = 0.0
        self.period_s = period_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while True:
            total = 0
            for process in [me, *me.children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            self.peak_mb = max(self.peak_mb, total / 1e6)
            if self._stop.wait(self.period_s):
                return


def _largest(value: int, args: TrainingArguments) -> int:
    """Return the largest value of a number over all processes."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    held = torch.tensor(value, device=args.device)
    torch.distributed.all_reduce(held, torch.distributed.ReduceOp.MAX)
    return int(held)
