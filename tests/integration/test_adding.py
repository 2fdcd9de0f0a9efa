"""A task, a kind of evidence, a plugin, a benchmark and a kind of stages: each one file and one line of a table.

They are added to a copy of the source, as docs/adding.md says, and then found in prompts, controls, commands, chat,
scores and the report without another change.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from affectgpt.clip import Clip

ROOT = Path(__file__).parents[2]
PACKAGES = ("affectgpt", "videmo", "eval", "data_recipes", "train")
LINES = {
    "affectgpt/tasks.py": (
        "TASKS: dict[str, Task] = {\n",
        '    "pain_label": Task(answer="label", title="Pain", shows_evidence=True, judged="choice"),\n',
    ),
    "affectgpt/evidence/table.py": ("KINDS = {\n", '    "pulse": "affectgpt.evidence.kinds.pulse:PulseEvidence",\n'),
    "train/stages/kinds.py": (
        "KINDS: dict[str, type[StageKind]] = {\n",
        '    "rest": RestStage,\n',
    ),
}
IMPORT = "from train.stages.rest import RestStage\n"
FILES = {
    "affectgpt/evidence/kinds/pulse.py": '''
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from affectgpt.evidence.evidence import Evidence


@dataclass(frozen=True, slots=True)
class PulseEvidence(Evidence):
    """Beats of the heart in a minute."""

    kind: ClassVar[str] = "pulse"
    plural: ClassVar[str] = "pulses"
    beats: float

    @classmethod
    def prompt_lines(cls, evidence, clip, cues):
        return [f"Pulse: {evidence[0].beats:.0f}."]

    @classmethod
    def summary(cls, evidence, clip, cues):
        return f"pulse {evidence[0].beats:.0f}"

    def shuffled(self, rng, clip):
        return replace(self, beats=240 - self.beats)

    def answer_to(self, clip):
        return "strong" if self.beats > 100 else "none"
''',
    "affectgpt/plugins/pulse/__init__.py": "",
    "affectgpt/plugins/pulse/plugin.py": '''
import json

from affectgpt.evidence.kinds.pulse import PulseEvidence
from affectgpt.plugins.plugin import Plugin


class PulseModel(Plugin):
    """Tells the pulse from how long somebody speaks."""

    name, kind = "pulse", "pulse"
    learns_from, reads = ("pain_label",), ("words",)

    def __init__(self, scale):
        self.scale = scale

    @classmethod
    def fit(cls, rows, scale: float = 10.0):
        return cls(scale)

    def predict(self, rows):
        return [PulseEvidence(self.scale * len(row.subtitle.split())) for row in rows]

    def save(self, folder):
        (folder / "pulse.json").write_text(json.dumps(self.scale))

    @classmethod
    def load(cls, folder):
        return cls(json.loads((folder / "pulse.json").read_text()))

    def card(self):
        return {"scale": self.scale}
''',
    "eval/benchmarks/pain/__init__.py": "",
    "eval/benchmarks/pain/command.py": '''
def main(argv: list[str]) -> int:
    """Score pain."""
    print("pain scored")
    return 0
''',
    "train/stages/rest.py": '''
from typing import ClassVar, Literal

from train.stages.sft import SupervisedStage


class RestStage(SupervisedStage):
    """A supervised stage that rests between its steps."""

    title: ClassVar[str] = "resting"
    card_title: ClassVar[str] = "resting"
    seconds_per_step: ClassVar[float] = 1.0

    kind: Literal["rest"]
    rest_s: float = 0.0
''',
}
ENTRIES = {
    "affectgpt.commands": "eval.pain = eval.benchmarks.pain.command:main",
    "affectgpt.plugins": "pulse = affectgpt.plugins.pulse.plugin:PulseModel",
}
CHECKS = """
import json, sys
from affectgpt.__main__ import find_commands
from affectgpt.answers.judge import is_right
from affectgpt.clip import read_clips
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.prompting import evidence_summaries, prompt_of
from eval.benchmarks.empathy.scores import conditions
from eval.predict.answers import as_prediction
from eval.report.scores import score
from videmo.rewards import accuracy_reward

rows = read_clips(sys.argv[1])
answers = [row.answer for row in rows[:-1]] + ["other"]
predictions = [as_prediction(row, answer) for row, answer in zip(rows, answers)]
print(json.dumps({
    "prompt": prompt_of(rows[0])[0]["content"],
    "chat": evidence_summaries(rows[0]),
    "controls": sorted(conditions(rows, Cues())),
    "false": conditions(rows, Cues())["random_pulses"][0].evidence["pulse"]["beats"],
    "score": score(rows, predictions, 20).metrics["pain_label_accuracy"]["value"],
    "reward": accuracy_reward(answers, [row.task for row in rows], [row.answer for row in rows]),
    "commands": ["eval", "pain"] in map(list, find_commands()),
}))
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the source with everything added, and what an installation of it would register."""
    folder = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, (table, line) in LINES.items():
        text = (folder / name).read_text()
        assert text.count(table) == 1
        (folder / name).write_text(text.replace(table, table + line))
    kinds = folder / "train/stages/kinds.py"
    kinds.write_text(kinds.read_text().replace("from train.stages.sft import", f"{IMPORT}from train.stages.sft import"))
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    groups = {name: lines + "\n" + ENTRIES.get(name, "") for name, lines in setup["options.entry_points"].items()}
    meta = folder / "affectgpt-0.1.0.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: affectgpt\nVersion: 0.1.0\n")
    (meta / "entry_points.txt").write_text("".join(f"[{name}]{lines}\n" for name, lines in groups.items()))
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("rows")
    paths = {part: folder / f"{part}.jsonl" for part in ("train", "test")}
    for part, path in paths.items():
        clips = []
        for number in range(12):
            label, words = ("strong", "it hurts " * 6) if number % 2 else ("none", "I am fine")
            turns = [{"role": "user", "content": "Does it hurt?"}, {"role": "assistant", "content": label}]
            clips.append(
                Clip(
                    id=f"{part}{number}", task="pain_label", messages=turns, answer=label, subtitle=words.strip(),
                    options=["none", "strong"], group=f"person{number // 2}",
                )
            )  # fmt: skip
        # Written by hand: in this checkout nobody knows the task.
        path.write_text("".join(json.dumps(clip.to_json()) + "\n" for clip in clips))
    return paths


@pytest.fixture
def run(source):
    """`run(*words)`: a program of the copied source; returns what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(source), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

    def call(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], cwd=source, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return call


def test_all_of_them_are_found(run, rows, tmp_path):
    assert run("-m", "affectgpt", "eval", "pain") == "pain scored\n"
    assert "Score pain." in run("-m", "affectgpt", "--help")
    assert "pulse" in run("-m", "affectgpt", "plugins", "list")
    card = json.loads(run("-m", "affectgpt", "plugins", "card", "pulse", "--json"))
    assert (card["kind"], card["learns_from"], card["reads"]) == ("pulse", ["pain_label"], ["words"])

    plugin, told = tmp_path / "plugin", tmp_path / "told.jsonl"
    run("-m", "affectgpt", "plugins", "train", "pulse", "--data", rows["train"], "--out", plugin)
    run("-m", "affectgpt", "plugins", "run", plugin, rows["test"], "--out", told)
    scores = json.loads(run("-m", "affectgpt", "plugins", "eval", plugin, "--data", rows["test"], "--json"))
    assert (scores["accuracy"], scores["coverage"], scores["n"]) == (1.0, 1.0, 12)

    found = json.loads(run("-c", CHECKS, told))
    assert "Pulse: 30." in found["prompt"]
    assert found["chat"] == ["pulse 30"]
    assert {"no_plugin", "oracle", "random_pulses"} <= set(found["controls"])
    assert found["false"] == 210
    assert found["score"] == pytest.approx(11 / 12, abs=1e-5)
    assert found["reward"] == [1.0] * 11 + [0.0]
    assert found["commands"]


def test_a_run_has_the_stage_and_the_task_in_its_report(run, rows, tmp_path):
    tiny = {"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 48, "vocab_size": 320}
    stage = {
        "name": "calm", "kind": "rest", "rest_s": 0.5, "steps": 2, "batch_size": 4, "learning_rate": 1e-3,
        "mixture": {"pain_label": 1.0},
    }  # fmt: skip
    recipe = {
        "output": str(tmp_path / "run"),
        "threads": 1,
        "data": {part: str(path) for part, path in rows.items()},
        "model": {"tiny": tiny},
        "stages": [stage],
        "evaluation": {"max_new_tokens": 4, "resamples": 20},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(recipe))  # JSON is YAML
    report = json.loads(run("-m", "train.run", path, "--json"))
    (entry,) = report["stages"]
    assert (entry["name"], entry["kind"], entry["title"]) == ("calm", "rest", "resting")
    assert entry["metrics"]["pain_label_accuracy"]["n"] == 12
    page = (tmp_path / "run" / "report.html").read_text()
    assert "resting" in page
    assert "Pain: right (WAR)" in page
