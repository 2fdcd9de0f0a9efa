"""An empathy stage is checked before anything runs; the evidence of its rows is of plugins that never saw them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydantic import ValidationError

from affectgpt.clip import Clip
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.plugins.plugin import Plugin, load_plugin
from affectgpt.problems import InputError
from affectgpt.tasks import TASKS, Task
from data_recipes.synthetic.dialogues import dialogue_rows
from tests.support.stages import make_context
from train.stages import empathy
from train.stages.empathy import EmpathyStage, rows_to_come, rows_with_evidence
from train.stages.run import require_rows

PLUGINS = {"emotion": {"encoder": "scratch", "epochs": 1}, "cause": {}}


def stage(**settings: object) -> EmpathyStage:
    fixed = {"name": "e", "kind": "empathy", "steps": 1, "batch_size": 1, "learning_rate": 1, "plugins": PLUGINS}
    return EmpathyStage.model_validate({**fixed, "mixture": {"dialogue": 1}, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"plugins": {"emotions": {}}}, "unknown plugin 'emotions'. Did you mean 'emotion'"),
        ({"plugins": {"emotion": {"epoch": 1}}}, "epoch: unknown setting of plugin 'emotion'. Did you mean 'epochs'"),
        ({"plugins": {"emotion": {"epochs": "many"}}}, "epochs of plugin 'emotion': expected a valid integer"),
        ({"plugins": {"cause": {}}}, "name at least one plugin of kind emotion"),
        ({"selection": {"mode": "guess"}}, "'score' or 'prompt'"),
        ({"evidence_dropout": 0.7, "evidence_corruption": 0.4}, "1 at most together"),
    ],
)
def test_settings_that_are_wrong(settings, message):
    with pytest.raises(ValidationError) as caught:
        stage(**settings)
    assert message in str(caught.value)


def test_rows_that_no_plugin_can_learn_from():
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    clips = [
        Clip(id="c", messages=turns, task="emotion_label", answer="joy", subtitle="Fine", options=["joy", "sadness"])
    ]
    rows = list(dialogue_rows(0, "train", 20))
    require_rows([stage()], [*rows, *clips])
    with pytest.raises(InputError, match="stage 'e': expected rows of task dialogue or emotion_label with words"):
        require_rows([stage()], clips)
    both = stage(mixture={"dialogue": 1, "emotion_label": 1})
    with pytest.raises(InputError, match="the options of row c lack afraid, disappointed"):
        require_rows([both], [*rows, *clips])


VOICE = '''
import json
from affectgpt.evidence.kinds.intensities import IntensityEvidence
from affectgpt.plugins.plugin import Plugin
from affectgpt.progress import Progress


class Voice(Plugin):
    """Says of every clip how many voices it has heard."""

    name, kind, learns_from, reads = "voice", "intensities", ("voices",), ("audio",)

    def __init__(self, heard):
        self.heard = heard

    @classmethod
    def fit(cls, rows):
        assert rows and all(row.task == "voices" for row in rows)
        Progress("voices")(1, 1)
        return cls(len(rows))

    def predict(self, rows):
        return [IntensityEvidence({"heard": self.heard}) for row in rows]

    def save(self, folder):
        (folder / "voice.json").write_text(json.dumps(self.heard))

    @classmethod
    def load(cls, folder):
        return cls(json.loads((folder / "voice.json").read_text()))

    def card(self):
        return {}
'''


@pytest.fixture
def voice(tmp_path, monkeypatch):
    """A plugin of another package that learns from rows which nobody speaks."""
    monkeypatch.setitem(TASKS, "voices", Task(answer="intensities", title="Voices"))
    meta = tmp_path / "site" / "voice-1.0.dist-info"
    meta.mkdir(parents=True)
    (tmp_path / "site" / "voice_of_others.py").write_text(VOICE)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: voice\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text("[affectgpt.plugins]\nvoice = voice_of_others:Voice\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    importlib.invalidate_caches()


def test_plugins_of_any_kind_add_evidence_to_rows_that_they_read(voice, tmp_path, capsys):
    (tmp_path / "c.wav").touch()
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]

    def clip(name: str, task: str, answer: object, **more: object) -> Clip:
        sound = {"audio": tmp_path / "c.wav", "group": name, "subtitle": "so it is"}
        return Clip(id=name, messages=turns, task=task, answer=answer, **{**sound, **more})  # type: ignore[arg-type]

    voices = [clip(f"v{index}", "voices", {"heard": 1}) for index in range(10)]
    labels = [clip(f"l{index}", "emotion_label", ("joy", "sadness")[index % 2]) for index in range(20)]
    silent = [clip(f"s{index}", "emotion_label", ("joy", "sadness")[index % 2], audio=None) for index in range(4)]
    other = clip("t", "text", "plain")
    plugins = {"emotion": PLUGINS["emotion"], "voice": {}}
    taught = stage(mixture={"emotion_label": 1, "text": 1}, plugins=plugins)
    context = make_context(tmp_path / "run")
    rows = [*voices, *labels, *silent, other]
    require_rows([taught], rows)
    changed = rows_with_evidence(context, taught, rows)
    assert changed[-1] == other
    assert all(set(row.evidence or {}) == {"emotion", "voice"} for row in changed[10:30])
    assert all(set(row.evidence or {}) == {"emotion"} for row in changed[30:34])
    heard = {row.evidence["voice"]["values"]["heard"] for row in changed[:10] if row.evidence}
    assert max(heard) < 10  # never its own
    come = rows_to_come(context, taught, [clip("n", "emotion_label", "joy"), other])
    assert [row.evidence["voice"]["values"] for row in come if row.evidence] == [{"heard": 10}]
    lines = capsys.readouterr().err.splitlines()
    fits = [line.partition(",")[0] for line in lines if line.startswith("fitting plugin voice")]
    assert fits == ["fitting plugin voice 6/6"]
    assert not any("batches" in line or "voices," in line for line in lines)
    with pytest.raises(InputError, match="stage 'e': expected rows of task voices with audio, got none"):
        require_rows([taught], labels)


def test_evidence_is_made_once_and_follows_its_rows(tmp_path):
    rows = list(dialogue_rows(0, "train", 40))
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "Fine"}]
    other = Clip(id="t", messages=turns, task="text", answer="plain")
    context = make_context(tmp_path)
    told = rows_with_evidence(context, stage(), [rows[0], other, *rows[1:]])
    assert told[1] is other
    assert [row.id for row in told] == [rows[0].id, "t", *(row.id for row in rows[1:])]
    assert all(set(row.evidence or {}) == {"emotion", "cause"} for row in told if row is not other)
    mark = context.folder.plugins("e") / "mark"
    stamp = mark.stat().st_mtime_ns
    assert rows_with_evidence(context, stage(), [rows[0], other, *rows[1:]]) == told
    assert mark.stat().st_mtime_ns == stamp
    rows_with_evidence(context, stage(), rows[:30])
    assert mark.stat().st_mtime_ns != stamp
    come = rows_to_come(context, stage(), [other, *dialogue_rows(0, "test", 5)])
    plugin = load_plugin(context.folder.plugins("e") / "emotion")
    assert len(come) == 5
    assert [row.evidence["emotion"]["labels"] for row in come if row.evidence] == [tuple(plugin.labels or ())] * 5


class Memory(Plugin):
    """A plugin that says whether it was fitted on a row."""

    name, kind = "emotion", "emotion"
    fitted: list[Memory] = []  # noqa: RUF012

    def __init__(self, rows: Sequence[Clip]) -> None:
        self.known = {row.id for row in rows}

    @classmethod
    def fit(cls, rows: Sequence[Clip], **_: object) -> Memory:
        cls.fitted.append(cls(rows))
        return cls.fitted[-1]

    def predict(self, rows: Sequence[Clip]) -> list[EmotionEvidence]:
        return [EmotionEvidence(("seen", "new"), (seen := float(row.id in self.known), 1 - seen)) for row in rows]

    def save(self, folder: Path) -> None:
        """Write nothing: `save_plugin` is replaced."""

    @classmethod
    def load(cls, folder: Path) -> Memory:
        raise NotImplementedError

    def card(self) -> dict[str, object]:
        return {}


def test_no_row_is_judged_by_a_plugin_that_was_fitted_on_it_and_rows_to_come_by_one_that_knows_all(
    tmp_path, monkeypatch
):
    saved: list[Memory] = []

    def save(plugin: Memory, folder: Path) -> None:
        folder.mkdir(parents=True)
        saved.append(plugin)

    monkeypatch.setattr(Memory, "fitted", [])
    monkeypatch.setattr(empathy, "plugin_class", lambda name: Memory)
    monkeypatch.setattr(empathy, "save_plugin", save)
    rows = list(dialogue_rows(0, "train", 30))
    settings = {"emotion": {"encoder": "scratch"}}

    def fits(seed: int = 0, rows: Sequence[Clip] = rows, **changed: object) -> int:
        before = len(Memory.fitted)
        planned = stage(plugins={"emotion": {**settings["emotion"], **changed}})
        told = rows_with_evidence(make_context(tmp_path, seed=seed), planned, rows)
        assert {row.evidence["emotion"]["probabilities"] for row in told if row.evidence} == {(0.0, 1.0)}
        return len(Memory.fitted) - before

    assert fits() == 6
    assert [plugin.known for plugin in saved] == [{row.id for row in rows}]
    assert [fits(), fits(seed=1), fits(seed=1, epochs=2), fits(seed=1, epochs=2, rows=rows[:20])] == [0, 6, 6, 6]


def test_plugins_learn_from_the_tasks_that_their_stage_teaches(tmp_path):
    """A row of another task is not told of, though it is of an emotion."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "afraid"}]
    clip = Clip(id="c", messages=turns, task="emotion_label", answer="afraid", subtitle="I run")
    rows = [*dialogue_rows(0, "train", 12), clip]
    require_rows([stage()], rows)
    told = rows_with_evidence(make_context(tmp_path), stage(plugins={"emotion": PLUGINS["emotion"]}), rows)
    assert told[-1] is clip
    assert all(row.evidence for row in told[:-1])
