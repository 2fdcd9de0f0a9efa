"""Paths of all that a run writes, in one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Run folder, the `output` of a recipe. These are paths only: nothing is created or read here."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the folder, under which W&B shows the run."""
        return self.path.name

    @property
    def recipe(self) -> Path:
        """Recipe as it was run, every default spelt out."""
        return self.path / "recipe.yaml"

    @property
    def log(self) -> Path:
        """Training log: a JSON line for each logged step."""
        return self.path / "log.jsonl"

    @property
    def rollouts(self) -> Path:
        """Completions that GRPO showed, with their rewards, a JSON line each."""
        return self.path / "rollouts.jsonl"

    @property
    def bad_samples(self) -> Path:
        """Clips that could not be used, and why."""
        return self.path / "bad_samples.jsonl"

    @property
    def report(self) -> Path:
        """Scores of all stages, as JSON; the HTML page lies beside it."""
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        """Report for people."""
        return self.path / "report.html"

    @property
    def examples(self) -> Path:
        """Clips that the report shows, with the answers of each stage."""
        return self.path / "examples.jsonl"

    @property
    def resources(self) -> Path:
        """Time and memory that the run took when nothing of it was reused."""
        return self.path / "resources.json"

    @property
    def ablations(self) -> Path:
        """Scores of the ablations."""
        return self.path / "ablations.json"

    @property
    def ablation(self) -> Path:
        """Recipe of one ablation, in the folder of its own run."""
        return self.path / "ablation.yaml"

    @property
    def console(self) -> Path:
        """Console output of an ablation, which runs in a process of its own."""
        return self.path / "console.log"

    @property
    def comparisons(self) -> Path:
        """Differences between ablations, clip by clip."""
        return self.path / "comparisons.json"

    @property
    def running(self) -> Path:
        """Lock that a run holds from its start to its end."""
        return self.path / ".running"

    @property
    def lock(self) -> Path:
        """Lock behind which one process of a run does what all of them need."""
        return self.path / ".lock"

    @property
    def hashes(self) -> Path:
        """Hashes of the files of finished stages, which are read again only if a file has changed."""
        return self.path / ".hashes.jsonl"

    @property
    def cache(self) -> Path:
        """Folder that neighbouring runs share: synthetic data, features, untrained models."""
        return self.path.parent / "cache"

    def checkpoint(self, stage: str) -> Path:
        """Return the path of the finished model of a stage."""
        return self.path / "checkpoints" / stage

    def note(self, stage: str) -> Path:
        """Return the path of the note of a finished stage: its fingerprint, seconds and steps."""
        return self.checkpoint(stage) / NOTE

    def steps(self, stage: str) -> Path:
        """Return the folder of the trainer checkpoints of an unfinished stage."""
        return self.path / "checkpoints" / f"{stage}.steps"

    def predictions(self, stage: str, part: str) -> Path:
        """Return the path of a stage's predictions for the rows of a part."""
        return self.path / "predictions" / f"{stage}-{part}.jsonl"

    def empathy_scores(self, stage: str) -> Path:
        """Return the path of an empathy stage's scores with plugins, without, and with false evidence."""
        return self.path / "predictions" / f"{stage}-empathy.json"

    def plugins(self, stage: str) -> Path:
        """Return the folder of a stage's plugins, each in a folder of its name."""
        return self.path / "plugins" / stage

    def published_report(self, stage: str) -> Path:
        """Return the path of the report that is published with a stage."""
        return self.path / "hub" / f"{stage}.json"

    def published(self, stage: str) -> Path:
        """Return the path of the note that a stage was published: its URL and fingerprint."""
        return self.path / "hub" / f"{stage}.sent"

    def merged(self, stage: str, fingerprint: str) -> Path:
        """Return the folder of the whole model that is made of an adapter, until it is published."""
        return self.path / f".merged-{stage}-{fingerprint}"


NOTE = "stage.json"
"""Name of the file of a checkpoint that shows that its stage is finished."""
