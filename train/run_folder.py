"""The folder of a run: where everything lies that a run writes, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A run folder, what a recipe calls `output`. Nothing is made or read here; these are paths."""

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
        """What an ablation, which runs in a process of its own, said."""
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
        """Lock behind which the processes of a run do once what all of them need."""
        return self.path / ".lock"

    @property
    def cache(self) -> Path:
        """What runs beside each other share: synthetic data, features, untrained models."""
        return self.path.parent / "cache"

    def checkpoint(self, stage: str) -> Path:
        """Find the finished model of a stage."""
        return self.path / "checkpoints" / stage

    def note(self, stage: str) -> Path:
        """Find the note of a finished stage: its fingerprint, seconds and steps."""
        return self.checkpoint(stage) / NOTE

    def steps(self, stage: str) -> Path:
        """Find the trainer checkpoints of a stage that is going on."""
        return self.path / "checkpoints" / f"{stage}.steps"

    def predictions(self, stage: str, part: str) -> Path:
        """Find the answers of a stage to the rows of a part."""
        return self.path / "predictions" / f"{stage}-{part}.jsonl"

    def empathy_scores(self, stage: str) -> Path:
        """Find the scores of an empathy stage with plugins, without, and with false evidence."""
        return self.path / "predictions" / f"{stage}-empathy.json"

    def plugins(self, stage: str) -> Path:
        """Find the plugins of a stage, each in a folder of its name."""
        return self.path / "plugins" / stage

    def published_report(self, stage: str) -> Path:
        """Find the report that goes to the Hub with a stage."""
        return self.path / "hub" / f"{stage}.json"

    def published(self, stage: str) -> Path:
        """Find the note that a stage was published: where, and with which fingerprint."""
        return self.path / "hub" / f"{stage}.sent"

    def merged(self, stage: str, fingerprint: str) -> Path:
        """Find the whole model that is made of an adapter until it has been published."""
        return self.path / f".merged-{stage}-{fingerprint}"


NOTE = "stage.json"
"""File of a checkpoint that says that its stage is finished."""
