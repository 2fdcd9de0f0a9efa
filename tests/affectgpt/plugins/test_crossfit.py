"""Evidence about a row comes from a plugin that has not seen its dialogue."""

from __future__ import annotations

import json

import pytest

from affectgpt.clip import Clip, read_clips, write_clips
from affectgpt.evidence.dialogue import rows_with_emotion
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.table import read_all
from affectgpt.plugins import command
from affectgpt.plugins.cause.words import CauseModel
from affectgpt.plugins.command import crossfit_main, train_main
from affectgpt.plugins.crossfit import groups_of, held_out_evidence
from affectgpt.plugins.emotion import plugin as emotion_plugin
from affectgpt.plugins.emotion.plugin import EmotionModel
from affectgpt.plugins.plugin import Plugin, load_plugin
from affectgpt.problems import InputError
from tests.support.rows import WORDS, make_clip, write_data


class Memory(Plugin):
    """Knows which groups it has seen."""

    name, kind = "memory", "emotion"

    def __init__(self, groups):
        self.groups = groups

    @classmethod
    def fit(cls, rows):
        return cls({row.group for row in rows})

    def predict(self, rows):
        seen = [float(row.group in self.groups) for row in rows]
        return [EmotionEvidence(("seen", "new"), (value, 1 - value)) for value in seen]

    def save(self, folder):
        """Nothing."""

    @classmethod
    def load(cls, folder):
        return cls(set())

    def card(self):
        return {}


def rows(count: int) -> list[Clip]:
    turns = [{"role": "user", "content": "words"}, {"role": "assistant", "content": "sad"}]
    return [
        Clip(id=str(place), messages=turns, task="dialogue", answer="sad", group=f"g{place // 3}")
        for place in range(count)
    ]


def test_no_row_was_seen():
    found = held_out_evidence(Memory.fit, rows(30), folds=4)
    assert all(piece is not None and piece.top(1)[0][0] == "new" for piece in found)  # type: ignore[union-attr]


def test_rows_of_one_first_turn_are_one_group():
    def spoken(name: str, first: str, group: str | None = None) -> Clip:
        turns = [{"role": role, "content": text} for role, text in (("user", first), ("assistant", "Oh."))]
        told = [*turns, {"role": "user", "content": name}, {"role": "assistant", "content": "sad"}]
        return Clip(id=name, messages=told, task="dialogue", answer="sad", group=group)

    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "sad"}]
    silent = [Clip(id=name, messages=turns, task="emotion_label", answer="sad") for name in ("e", "f")]
    same = [spoken("a", "My dog died."), spoken("b", "My dog died.")]
    one, again, other, named, *alone = groups_of([*same, spoken("c", "I won."), spoken("d", "I won.", "g"), *silent])
    assert one == again
    assert named == "g"
    assert len({one, other, named, *alone}) == 5


class Counted(Memory):
    """Says which rows it was fitted on."""

    @classmethod
    def fit(cls, rows):
        return cls([row.id for row in rows])

    def predict(self, rows):
        return [EmotionEvidence((row.id, *self.groups), (1.0, *([0.0] * len(self.groups)))) for row in rows]


@pytest.mark.parametrize("folds", [2, 5, 10])
def test_groups_are_dealt_evenly_into_as_many_parts_as_asked_for(folds):
    given = rows(30)
    found = held_out_evidence(Counted.fit, given, folds=folds)
    taught = [set(piece.labels[1:]) for piece in found]  # type: ignore[union-attr]
    assert len(set(map(frozenset, taught))) == folds
    assert {len(seen) for seen in taught} == {30 - 30 // folds}
    assert [piece.labels[0] for piece in found] == [row.id for row in given]  # type: ignore[union-attr]


def test_the_seed_deals_the_groups():
    def deal(seed: int) -> list[set[str]]:
        found = held_out_evidence(Counted.fit, rows(30), folds=5, seed=seed)
        return [set(piece.labels[1:]) for piece in found]  # type: ignore[union-attr]

    assert deal(3) == deal(3)
    assert deal(3) != deal(4)


@pytest.mark.parametrize("folds", [1, 11])
def test_folds_that_cannot_be_dealt(folds):
    with pytest.raises(InputError, match="expected 2 to 10"):
        held_out_evidence(Memory.fit, rows(30), folds=folds)


@pytest.mark.parametrize("folds", [2, 3])
def test_the_command_deals_as_many_parts_as_asked_for(tmp_path, folds):
    data, out = write_data(tmp_path / "data.jsonl", 40), tmp_path / "rows.jsonl"
    assert crossfit_main(["cause", str(data), "--out", str(out), "--folds", str(folds)]) == 0
    expected = held_out_evidence(CauseModel.fit, rows_with_emotion(data), folds=folds)
    assert [read_all(row.evidence)["cause"] for row in read_clips(out)] == expected


def group_rows(groups: int, count: int = 12, **fields: object) -> list[Clip]:
    """Make rows of a few speakers, whose words show the emotion."""
    words = [(emotion, word) for emotion, shown in WORDS.items() for word in shown]
    return [
        make_clip(str(n), words[n % 9][0], subtitle=f"the {words[n % 9][1]}", group=f"s{n % groups}", **fields)
        for n in range(count)
    ]


@pytest.mark.parametrize(("groups", "asked", "dealt"), [(3, [], 3), (2, [], 2), (4, ["--folds", "9"], 4), (6, [], 5)])
def test_the_command_deals_no_more_parts_than_there_are_groups(groups, asked, dealt, tmp_path, monkeypatch, capsys):
    taught = []
    monkeypatch.setattr(CauseModel, "fit", classmethod(lambda cls, rows: taught.append(rows) or Memory([])))
    monkeypatch.setattr(command, "evidence_of", lambda plugin, rows: [None] * len(rows))
    data = tmp_path / "data.jsonl"
    write_clips(data, group_rows(groups))
    monkeypatch.setattr("affectgpt.plugins.crossfit.evidence_of", lambda plugin, rows: [None] * len(rows))
    assert crossfit_main(["cause", str(data), "--out", str(tmp_path / "out.jsonl"), *asked]) == 0
    assert len(taught) == dealt
    number = asked[1] if asked else "5"
    said = f"{dealt} folds instead of {number}: {data} has no more groups."
    assert (said in capsys.readouterr().err) == (dealt < int(number))


def test_the_command_says_which_option_or_field_is_wrong(tmp_path):
    data, out = tmp_path / "data.jsonl", str(tmp_path / "out.jsonl")
    write_clips(data, group_rows(1))
    with pytest.raises(InputError, match=r"its groups: expected two or more, got 1\. .*the field 'group'"):
        crossfit_main(["cause", str(data), "--out", out])
    write_clips(data, group_rows(3))
    with pytest.raises(InputError, match=r"^--folds: its value: expected 2 or more, got 1$"):
        crossfit_main(["cause", str(data), "--out", out, "--folds", "1"])


def test_rows_without_what_a_plugin_reads_are_refused_in_those_words(tmp_path):
    wave = tmp_path / "a.wav"
    wave.touch()
    data = tmp_path / "data.jsonl"
    sounds = [make_clip(str(n), emotion, audio=wave) for n, emotion in enumerate(WORDS)]
    write_clips(data, sounds)
    with pytest.raises(InputError) as caught:
        train_main(["emotion", "--data", str(data), "--out", str(tmp_path / "plugin")])
    assert f"{data}: its rows: expected rows of task dialogue or emotion_label with words, " in str(caught.value)
    assert "got 3 rows, none with that; they have audio" in str(caught.value)
    assert "affectgpt data transcribe" in str(caught.value)
    write_clips(data, [*sounds, make_clip("w", "joyful", subtitle="We won.")])
    with pytest.raises(InputError, match="two emotions or more, got 1"):
        train_main(["emotion", "--data", str(data), "--out", str(tmp_path / "plugin")])
    write_clips(data, [make_clip("d", "sad", signal=wave.with_suffix(".npz"))])
    wave.with_suffix(".npz").touch()
    with pytest.raises(InputError, match="they have signal"):
        train_main(["emotion", "--data", str(data), "--out", str(tmp_path / "plugin")])


def test_the_command_passes_settings_on(tmp_path):
    data, out = write_data(tmp_path / "data.jsonl", 30), tmp_path / "rows.jsonl"
    settings = {"epochs": 1, "tfidf": False, "seed": 3}
    given = ["--folds", "2", "--encoder", "scratch", "--set", *(f"{key}={value}" for key, value in settings.items())]
    assert crossfit_main(["emotion", str(data), "--out", str(out), *given]) == 0
    expected = held_out_evidence(
        lambda told: EmotionModel.fit(told, encoder="scratch", **settings),  # type: ignore[arg-type]
        rows_with_emotion(data),
        folds=2,
    )
    assert [read_all(row.evidence)["emotion"] for row in read_clips(out)] == expected


def test_a_task_that_is_left_out_neither_teaches_nor_is_told(tmp_path):
    """Of a clip, questions of other tasks are told what is found in its words all the same."""
    dialogues = rows_with_emotion(write_data(tmp_path / "data.jsonl", 30))
    question = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "bored"}]
    clips = [
        Clip(
            id=f"{task}-{place}", messages=question, task=task, answer="bored", subtitle="Snake gift", group=f"a{place}"
        )
        for place in range(6)
        for task in ("emotion_label", "caption")
    ]
    path, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    write_clips(path, [*dialogues, *clips], tmp_path)

    def told(*tasks: str) -> dict[str, set[str]]:
        given = ["--set", "tfidf=false", "epochs=1", "--encoder", "scratch", "--folds", "2", "--tasks", *tasks]
        assert crossfit_main(["emotion", str(path), "--out", str(out), *given]) == 0
        rows = read_clips(out)
        return {row.id: set(row.evidence["emotion"]["labels"]) for row in rows if row.evidence}

    alone = told("dialogue")
    assert set(alone) == {row.id for row in dialogues}
    assert all("bored" not in labels for labels in alone.values())
    both = told("dialogue", "emotion_label")
    assert set(both) == {row.id for row in [*dialogues, *clips]}
    assert all("bored" in labels for labels in both.values())


class Tasks(Memory):
    """Says which tasks it has learned from."""

    @classmethod
    def fit(cls, rows):
        return cls({row.task for row in rows})

    def predict(self, rows):
        labels = tuple(sorted(self.groups))
        return [EmotionEvidence(labels, [1 / len(labels)] * len(labels)) for _ in rows]


def test_a_plugin_learns_from_the_tasks_that_were_asked_for_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "plugin_class", lambda name: Tasks)
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "sad"}]
    clips = [
        Clip(id=f"{task}-{place}", messages=turns, task=task, answer="sad", subtitle="Oh", group=f"a{place}")
        for place in range(4)
        for task in ("emotion_label", "caption")
    ]
    write_clips(tmp_path / "rows.jsonl", clips, tmp_path)
    given = [str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out.jsonl"), "--folds", "2"]
    assert crossfit_main(["emotion", *given]) == 0
    told = [row.evidence["memory"]["labels"] for row in read_clips(tmp_path / "out.jsonl")]
    assert told == [["emotion_label"]] * 8


def test_a_plugin_is_trained_as_asked_for(tmp_path, capsys, monkeypatch):
    shown: list[tuple[int, int]] = []
    monkeypatch.setattr(emotion_plugin, "Progress", lambda _: lambda *counts: shown.append(counts))
    rows = rows_with_emotion(write_data(tmp_path / "data.jsonl", 30))
    question = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "bored"}]
    clip = Clip(id="c", messages=question, task="emotion_label", answer="bored", subtitle="Snake gift")
    write_clips(tmp_path / "rows.jsonl", [*rows, clip], tmp_path)
    given = ["emotion", "--data", str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "plugin"), "--json"]
    settings = ["--encoder", "scratch", "--tasks", "dialogue", "--set", "epochs=2", "seed=4", "tfidf=0"]
    assert train_main([*given, *settings]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"] == 30
    assert "fitting plugin emotion 1/1" in captured.err
    assert shown == [(1, 2), (2, 2)]  # one batch in each epoch
    card = load_plugin(tmp_path / "plugin").card()
    assert (card["encoder"], card["seed"], set(card["scale"])) == ("scratch", 4, {"attention"})
    assert "bored" not in card["labels"]


def test_the_command(tmp_path, capsys):
    data = write_data(tmp_path / "data.jsonl", 60)
    out = tmp_path / "out" / "rows.jsonl"
    assert crossfit_main(["cause", str(data), "--out", str(out), "--folds", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["with_evidence"] == 60
    written = read_clips(out)
    assert all(set(read_all(row.evidence)) == {"cause"} for row in written)
    assert {row.task for row in written} == {"dialogue"}
    with pytest.raises(InputError, match="unknown setting of plugin 'cause'"):
        crossfit_main(["cause", str(data), "--out", str(out), "--set", "nothing=1"])
