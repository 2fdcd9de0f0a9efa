"""A kind of evidence and a plugin of another package work everywhere, and no name is taken twice."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from affectgpt.clip import Clip, read_clips, write_clips
from affectgpt.evidence.controls import corrupted, kinds_of
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.prompting import evidence_summaries, prompt_of
from affectgpt.evidence.table import kind_class, kind_names, read_one
from affectgpt.plugins.command import card_main, crossfit_main, run_main, train_main
from affectgpt.plugins.plugin import find_plugins, load_plugin, plugin_class
from affectgpt.problems import InputError
from eval.benchmarks.empathy.scores import conditions
from eval.plugins.command import main as eval_main

MODULE = '''
import json
from dataclasses import dataclass
from typing import ClassVar

from affectgpt.evidence.evidence import Evidence, FieldError
from affectgpt.plugins.plugin import Plugin


@dataclass(frozen=True, slots=True)
class Tempo(Evidence):
    """How fast somebody talks, words a second."""

    kind: ClassVar[str] = "tempo"
    plural: ClassVar[str] = "tempos"
    rate: float

    def __post_init__(self):
        if not self.rate >= 0:
            raise FieldError("rate", "0 or more", self.rate)

    @classmethod
    def prompt_lines(cls, evidence, clip, cues):
        return [f"Tempo: {item.rate:.1f}." for item in evidence]

    @classmethod
    def summary(cls, evidence, clip, cues):
        return f"tempo {evidence[0].rate:.1f}"

    def shuffled(self, rng, clip):
        return Tempo(self.rate + 1 + float(rng.random()))

    def answer_to(self, clip):
        return self.rate if clip.task == "valence" else None


class Metronome(Plugin):
    name, kind = "metronome", "tempo"
    learns_from = ("valence",)
    paper, licence, status = "of nobody", "MIT", "unverified"

    def __init__(self, factor):
        self.factor = factor

    @classmethod
    def fit(cls, rows, factor: float = 1.0):
        return cls(factor * sum(row.answer for row in rows))

    def predict(self, rows):
        assert all(row.subtitle for row in rows)
        return [Tempo(self.factor * len(row.subtitle.split())) for row in rows]

    def save(self, folder):
        (folder / "factor.json").write_text(json.dumps(self.factor))

    @classmethod
    def load(cls, folder):
        return cls(json.loads((folder / "factor.json").read_text()))

    def card(self):
        return {}

    @classmethod
    def parameters(cls, beats: int = 2):
        return {"pendulum": 3 * beats, "spring": 1}

    def sizes(self):
        return {"beats": 5}


class Deaf(Metronome):
    name, reads, learns_from = "deaf", ("words", "smell"), ("valences",)


class NoEvidence:
    kind = "nothing"
'''


def install(site, monkeypatch, name: str, entries: str) -> None:
    meta = site / f"{name.replace('-', '_')}-1.0.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (meta / "entry_points.txt").write_text(entries)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another package, installed: a module, and the entry points that it declares."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "tempo_of_others.py").write_text(MODULE)
    kinds = "[affectgpt.evidence]\ntempo = tempo_of_others:Tempo\nnothing = tempo_of_others:NoEvidence\n"
    plugins = "[affectgpt.plugins]\nmetronome = tempo_of_others:Metronome\ndeaf = tempo_of_others:Deaf\n"
    install(site, monkeypatch, "tempo-of-others", kinds + plugins)


def row(name: str, words: str | None, task: str = "valence", answer: object = 0.5, **more: object) -> Clip:
    turns = [{"role": "user", "content": "How is it?"}, {"role": "assistant", "content": "0.5"}]
    return Clip(id=name, messages=turns, task=task, answer=answer, subtitle=words, group=name, **more)  # type: ignore[arg-type]


@pytest.fixture
def rows(tmp_path):
    """Four rows that it learns from, one without words, and one of another task."""
    spoken = [row(str(count), " ".join(["so"] * count), answer=count / 10) for count in (1, 2, 3, 4)]
    (tmp_path / "c.mp4").touch()
    silent = row("silent", None, video=tmp_path / "c.mp4")
    path = tmp_path / "rows.jsonl"
    write_clips(path, [*spoken, silent, row("asked", "so so", "emotion_open", ["joy"])])
    return path


def test_its_kind_is_shown_falsified_and_summed_up(other):
    tempo = {"kind": "tempo", "rate": 2.25}
    units = {"kind": "units", "probabilities": {"AU1": 0.9}}
    clip = row("q", "so", "emotion_open", ["joy"], evidence={"t": tempo, "face": units})
    assert kind_names()[-1] == "tempo"
    assert read_one(tempo).to_json() == tempo
    assert prompt_of(clip)[0]["content"] == "Face: AU1 0.90.\nTempo: 2.2."
    assert evidence_summaries(clip, Cues()) == ["units: AU1 0.90", "tempo 2.2"]
    assert [kind.kind for kind in kinds_of([clip])] == ["units", "tempo"]
    assert list(conditions([clip], Cues())) == ["plugin", "no_plugin", "oracle", "random_units", "random_tempos"]
    false = corrupted(clip, np.random.default_rng(0)).evidence or {}
    assert false["t"]["rate"] >= 3.25
    assert conditions([clip], Cues())["oracle"] == [clip]
    with pytest.raises(InputError, match=r"evidence: field 'rate': expected 0 or more, got -1"):
        read_one({"kind": "tempo", "rate": -1})
    with pytest.raises(
        InputError, match=r"kind of evidence 'nothing' .*: expected a class below Evidence of that kind"
    ):
        kind_class("nothing")


def test_its_plugin_goes_through_every_command(other, rows, tmp_path, capsys):
    saved = tmp_path / "saved"
    assert train_main(["metronome", "--data", str(rows), "--out", str(saved), "--set", "factor=2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 4
    assert load_plugin(saved).factor == pytest.approx(2.0)  # type: ignore[attr-defined]
    assert run_main([str(saved), str(rows), "--out", str(tmp_path / "run.jsonl"), "--json"]) == 0
    captured = capsys.readouterr()
    counts = json.loads(captured.out)
    assert (counts["rows"], counts["with_evidence"], counts["unread"]) == (6, 5, 1)
    assert "evidence on 5 of 6 rows; 1 have none of what it reads (words)" in captured.err
    written = read_clips(tmp_path / "run.jsonl")
    assert [(clip.evidence or {}).get("metronome", {}).get("rate") for clip in written] == [2, 4, 6, 8, None, 4]

    out = tmp_path / "held_out.jsonl"
    assert crossfit_main(["metronome", str(rows), "--out", str(out), "--folds", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["with_evidence"] == 5
    for clip in read_clips(out):
        if clip.evidence:  # the sum of the answers of the folds without it, at least its own less
            seen = clip.answer if clip.task == "valence" else 0.0
            factor = clip.evidence["metronome"]["rate"] / len((clip.subtitle or "").split())
            assert factor <= 1.0 - seen + 1e-9

    assert eval_main([str(saved), "--data", str(rows), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert (scores["n"], scores["coverage"]) == (5, 0.8)
    assert scores["pearson"] == pytest.approx(1.0)
    assert scores["mae"] == pytest.approx(np.mean([2 - 0.1, 4 - 0.2, 6 - 0.3, 8 - 0.4]))
    assert eval_main([str(saved), "--data", str(rows)]) == 0
    assert "5 rows, 80.0 % answered" in capsys.readouterr().out

    assert card_main(["metronome", "--set", "beats=4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        **{"name": "metronome", "kind": "tempo", "learns_from": ["valence"], "reads": ["words"]},
        **{"parameters": {"pendulum": 12, "spring": 1, "total": 13}},
        **{"paper": "of nobody", "licence": "MIT", "status": "unverified"},
    }
    assert card_main([str(saved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"]["total"] == 16


def test_tasks_that_it_does_not_learn_from_are_refused(other, rows, tmp_path):
    given = ["metronome", "--data", str(rows), "--out", str(tmp_path / "x"), "--tasks", "emotion_open", "valence"]
    with pytest.raises(InputError, match="--tasks emotion_open: plugin 'metronome' does not learn from it"):
        train_main(given)


def test_what_it_declares_wrongly_is_named(other):
    with pytest.raises(InputError) as caught:
        plugin_class("deaf")
    said = str(caught.value)
    assert "learns_from: expected some of" in said
    assert "got valences. Did you mean 'valence'?" in said
    assert "reads: expected some of words, video, audio, face, image, signal, got smell" in said


def test_a_name_of_ours_cannot_be_taken(other, tmp_path, monkeypatch):
    kinds = "[affectgpt.evidence]\nunits = tempo_of_others:Tempo\n"
    plugins = "[affectgpt.plugins]\nemotion = tempo_of_others:Metronome\n"
    install(tmp_path / "second", monkeypatch, "thief", kinds + plugins)
    with pytest.raises(InputError, match=r"kind of evidence 'units': expected one owner .*, got this project and"):
        read_one({"kind": "units", "probabilities": {"AU1": 1}})
    with pytest.raises(
        InputError, match=r"plugin 'emotion': expected one owner of the name, got .*Uninstall a package"
    ):
        find_plugins()


def test_two_packages_cannot_share_a_name(other, tmp_path, monkeypatch):
    install(tmp_path / "second", monkeypatch, "thief", "[affectgpt.evidence]\ntempo = elsewhere:Tempo\n")
    with pytest.raises(InputError, match="kind of evidence 'tempo': expected one owner"):
        kind_names()
