"""Publishing of the stages of a run while it goes on. A failed upload costs the run nothing but a warning.

Each upload is a process of its own, `affectgpt push`, so that neither its work nor its failure touches training, and so
that it can be ended. Only the end of a run waits for it, `WAIT_S` at most.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from train.config.hub import HubConfig
from train.hub.push import adapted_model
from train.run_folder import RunFolder
from train.stages.kind import StageResult

WAIT_S = 600.0
"""Seconds that the end of a run waits for uploads that are under way."""
COMMAND = (sys.executable, "-m", "train.hub.command")


class BackgroundPush:
    """Context manager for uploads: `push(result, report)` sends a stage; one at a time, in their order.

    If the block fails, the upload under way is given up at once.

    Args:
        hub: repository of the stages.
        run: run folder of the stages.
        adapted: the model that the run trains an adapter on; None where it trains a whole model.
        say: callback, run in another thread, with the URL of an uploaded stage or the reason it failed.

    Raises:
        InputError: an adapter of a model that only this machine has could not be published.
    """

    def __init__(self, hub: HubConfig, run: RunFolder, adapted: Path | None, say: Callable[[str], object]) -> None:
        if adapted is not None:
            adapted_model(adapted)
        self.hub, self.run, self.say = hub, run, say
        self.waiting: queue.Queue[StageResult | None] = queue.Queue()
        self.open: list[StageResult] = []
        """Stages that are neither published nor given up yet."""
        self.process: subprocess.Popen[str] | None = None
        self.stopped = threading.Event()
        self.worker = threading.Thread(target=self._work, name="push", daemon=True)

    def __enter__(self) -> BackgroundPush:
        self.worker.start()
        return self

    def __call__(self, result: StageResult, report: dict[str, Any]) -> None:
        """Publish a stage, unless an earlier run has published it.

        Args:
            report: report with the scores of this stage and those before it; it is kept for a later push.
        """
        if self._is_published(result):
            return
        kept = self.run.published_report(result.stage.name)
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(report), encoding="utf-8")
        self.open.append(result)
        self.waiting.put(result)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.waiting.put(None)
        try:
            if kind is None:
                if self.open:
                    names = ", ".join(result.stage.name for result in self.open)
                    self.say(f"Waiting for the upload of {names} to {self.hub.repo}, {WAIT_S / 60:g} minutes at most.")
                self.worker.join(WAIT_S)
        finally:
            self.stopped.set()
            if self.process is not None:
                self.process.kill()
            self.worker.join(5)
            for result in self.open:
                self._warn(result, "the run ended before it had arrived")

    def _work(self) -> None:
        while (result := self.waiting.get()) is not None and not self.stopped.is_set():
            try:
                failure = self._send(result)
            except OSError as error:
                failure = str(error)
            if self.stopped.is_set():
                return
            self.open.remove(result)
            if failure is not None:
                self._warn(result, failure)

    def _send(self, result: StageResult) -> str | None:
        """Run the command on a stage; return its last output if it failed."""
        settings = ["--stage", result.stage.name, *self._options()]
        # No GPU: the memory there is the run's. No bars: their text would only fill a buffer.
        env = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self.process = subprocess.Popen(
            [*COMMAND, str(self.run.path), *settings, "--json"],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.stopped.is_set():  # just now: who stopped us could not know of this process yet
            self.process.kill()
        out, said = self.process.communicate()
        if self.process.returncode != 0:
            return (said.strip().splitlines() or [f"it ended with code {self.process.returncode}"])[-1]
        self.run.published(result.stage.name).write_text(self._note(result))
        sent = json.loads(out)
        self.say(f"Stage '{result.stage.name}' is at {sent['url']}")
        if sent.get("private") and not self.hub.private:
            self.say(f"{self.hub.repo} is private and stays so: make it public in its settings.")
        return None

    def _options(self) -> list[str]:
        flags = ["--repo", self.hub.repo, *(["--private"] if self.hub.private else [])]
        return [*flags, *(["--license", self.hub.license] if self.hub.license else [])]

    def _note(self, result: StageResult) -> str:
        return json.dumps({**self.hub.model_dump(), "fingerprint": result.fingerprint})

    def _is_published(self, result: StageResult) -> bool:
        """Tell whether a stage was published as it would be now; v0.1.0 noted neither licence nor privacy."""
        try:
            noted: dict[str, Any] = json.loads(self.run.published(result.stage.name).read_text())
        except (OSError, ValueError):  # not there, or cut short by a kill
            return False
        return noted.items() <= json.loads(self._note(result)).items()

    def _warn(self, result: StageResult, failure: str) -> None:
        options = " ".join(self._options())
        self.say(
            f"Warning: stage '{result.stage.name}' was not published: {failure}\n"
            f"Publish it with: affectgpt push {self.run.path} --stage {result.stage.name} {options}"
        )
