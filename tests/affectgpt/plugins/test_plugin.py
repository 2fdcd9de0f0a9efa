"""The seam: plugins of other packages are found and used, saved ones come back, broken ones are explained."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace

import pytest

from affectgpt.clip import Clip, read_clips, write_clips
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.plugins import command
from affectgpt.plugins.command import run_main
from affectgpt.plugins.plugin import find_plugins, fit_settings, load_plugin, plugin_class, save_plugin, with_evidence
from affectgpt.plugins.rows import evidence_of
from affectgpt.problems import InputError
from eval.plugins.command import main as score_main

MODULE = '''
import json
from affectgpt.evidence.dialogue import dialogue_of
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.plugins.plugin import Plugin


class Shouting(Plugin):
    """Angry where there are capitals."""

    name, kind = "shouting", "emotion"

    def __init__(self, share):
        self.share = share

    @classmethod
    def fit(cls, rows, share=0.5, loud=str.isupper, **settings):
        return cls(share)

    def predict(self, rows):
        found = []
        for row in rows:
            said = dialogue_of(row)
            angry = said is not None and said.turns[-1].isupper()
            value = 1 - self.share / 2 if angry else self.share / 2
            found.append(said and EmotionEvidence(("angry", "content"), (value, 1 - value)))
        return found

    def save(self, folder):
        (folder / "share.json").write_text(json.dumps(self.share))

    @classmethod
    def load(cls, folder):
        return cls(json.loads((folder / "share.json").read_text()))

    def card(self):
        return {"share": self.share}


class Broken(Shouting):
    name = "broken"

    def predict(self, rows):
        return ["angry"] * (len(rows) - self.share)


no_plugin = 3
'''


@pytest.fixture
def other(tmp_path, monkeypatch):
    """Another package, installed: a module, and the entry points that it declares."""
    site = tmp_path / "site"
    meta = site / "affect_of_others-1.0.dist-info"
    meta.mkdir(parents=True)
    (site / "affect_of_others.py").write_text(MODULE)
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: affect-of-others\nVersion: 1.0\n")
    lines = ["shouting = affect_of_others:Shouting", "broken = affect_of_others:Broken", "gone = affect_of_others:Gone"]
    lines.append("three = affect_of_others:no_plugin")
    (meta / "entry_points.txt").write_text("[affectgpt.plugins]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()


def row(name: str, subtitle: str | None, **more: object) -> Clip:
    turns = [{"role": "user", "content": "What does this person feel?"}, {"role": "assistant", "content": "anger"}]
    return Clip(id=name, messages=turns, task="emotion_label", answer="anger", subtitle=subtitle, **more)  # type: ignore[arg-type]


def test_a_plugin_of_another_package_is_found_and_used(other, tmp_path, capsys):
    assert "shouting" in find_plugins()
    plugin = plugin_class("shouting").fit([], share=0.2)
    save_plugin(plugin, tmp_path / "saved")
    note = json.loads((tmp_path / "saved" / "plugin.json").read_text())
    assert note == {"plugin": "shouting", "format": 1, "kind": "emotion", "card": {"share": 0.2}}
    rows = [row("a", "GO AWAY"), row("b", "fine."), row("c", None, evidence={"mine": {"kind": "cause", "words": []}})]
    again = load_plugin(tmp_path / "saved")
    assert evidence_of(again, rows) == evidence_of(plugin, rows)
    write_clips(tmp_path / "rows.jsonl", rows)
    run = [str(tmp_path / "saved"), str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "told.jsonl"), "--json"]
    assert run_main(run) == 0
    assert json.loads(capsys.readouterr().out)["with_evidence"] == 2
    told = read_clips(tmp_path / "told.jsonl")
    assert told[0].evidence["shouting"]["probabilities"] == pytest.approx([0.9, 0.1])
    assert told[1].evidence["shouting"]["probabilities"] == [0.1, 0.9]
    assert told[2].evidence == {"mine": {"kind": "cause", "words": []}}
    assert [clip.id for clip in told] == ["a", "b", "c"]


def test_evidence_stands_beside_what_others_said_and_in_the_place_of_its_own():
    joyful, sad = (EmotionEvidence(("joyful", "sad"), values) for values in ((0.9, 0.1), (0.2, 0.8)))
    before = {"mine": joyful.to_json(), "voice": joyful.to_json()}
    rows = [row("a", "x", evidence=before), row("b", "x", evidence=before), row("c", "x"), row("d", "x")]
    alone = row("e", "x", evidence={"mine": joyful.to_json()})
    told = with_evidence([*rows, alone], "mine", [sad, None, sad, None, None])
    assert [clip.evidence for clip in told] == [
        {"voice": joyful.to_json(), "mine": sad.to_json()},
        {"voice": joyful.to_json()},
        {"mine": sad.to_json()},
        None,
        None,
    ]
    assert rows[0].evidence == before


def test_settings_have_the_types_of_fit_and_all_that_are_wrong_are_named(other):
    assert fit_settings("emotion", {"epochs": "3", "tfidf": "false", "learning_rate": "0.1"}) == {
        "epochs": 3,
        "tfidf": False,
        "learning_rate": 0.1,
    }
    assert fit_settings("shouting", {"share": 0.2}) == {"share": 0.2}
    with pytest.raises(InputError, match=r"(?s)2 problems.*epoch: unknown setting.*Did you mean 'epochs'.*seed of"):
        fit_settings("emotion", {"epoch": 3, "seed": "x"})
    with pytest.raises(InputError, match="loud: unknown setting of plugin 'shouting'"):  # its default is a function
        fit_settings("shouting", {"loud": "islower"})


def test_many_rows_are_told_a_few_at_a_time_and_in_order(other, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_ROWS_AT_ONCE", 2)
    save_plugin(plugin_class("shouting").fit([]), tmp_path / "saved")
    write_clips(tmp_path / "rows.jsonl", [row(str(place), ("GO", "go")[place % 3 == 0]) for place in range(5)])
    assert run_main([str(tmp_path / "saved"), str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "told.jsonl")]) == 0
    told = [clip.evidence["shouting"]["probabilities"][0] for clip in read_clips(tmp_path / "told.jsonl")]
    assert [value > 0.5 for value in told] == [False, True, True, False, True]


def test_what_a_plugin_does_wrong_is_said(other):
    with pytest.raises(InputError, match="expected EmotionEvidence or None, got 'angry'"):
        evidence_of(plugin_class("broken")(0), [row("a", "x")])  # type: ignore[call-arg]
    with pytest.raises(InputError, match="expected evidence for 2 rows, got 1"):
        evidence_of(plugin_class("broken")(1), [row("a", "x"), row("b", "x")])  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shoutin", "unknown plugin 'shoutin'. Did you mean 'shouting'"),
        ("gone", "cannot be imported"),
        ("three", "expected a Plugin whose kind"),
    ],
)
def test_what_is_no_plugin(other, name, said):
    with pytest.raises(InputError, match=said):
        plugin_class(name)


@pytest.mark.parametrize(
    ("note", "said"),
    [
        (None, "expected a saved plugin, got nothing there"),
        ("{", "a plugin's name and format"),
        ('{"plugin": "emotion"}', "a plugin's name and format"),
        ('{"plugin": "emotion", "format": 99}', "expected format 1, got 99. Train it again"),
        ('{"plugin": "of nobody", "format": 1}', "unknown plugin 'of nobody'"),
    ],
)
def test_folders_that_cannot_be_loaded(tmp_path, note, said):
    if note is not None:
        (tmp_path / "plugin.json").write_text(note)
    with pytest.raises(InputError, match=said):
        load_plugin(tmp_path)


def test_rows_are_written_where_their_media_can_be_found(other, tmp_path):
    save_plugin(plugin_class("shouting").fit([]), tmp_path / "saved")
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "a.mp4").touch()
    write_clips(tmp_path / "rows" / "rows.jsonl", [row("a", "x", video=tmp_path / "rows" / "a.mp4")])
    given = [str(tmp_path / "saved"), str(tmp_path / "rows" / "rows.jsonl"), "--out"]
    with pytest.raises(InputError, match=r"its media: expected files below .*out, got 1 elsewhere.*--media-root"):
        run_main([*given, str(tmp_path / "out" / "told.jsonl")])
    assert run_main([*given, str(tmp_path / "told.jsonl")]) == 0
    assert read_clips(tmp_path / "told.jsonl")[0].video == tmp_path / "rows" / "a.mp4"


def test_media_may_lie_in_another_folder(other, tmp_path):
    (tmp_path / "media").mkdir()
    (tmp_path / "media" / "a.mp4").touch()
    rows, saved = tmp_path / "rows.jsonl", tmp_path / "saved"
    known = replace(row("a", "Oh.", video=tmp_path / "media" / "a.mp4"), answer="angry")
    write_clips(rows, [known], tmp_path / "media")
    root = ["--media-root", str(tmp_path / "media")]
    assert command.train_main(["shouting", "--data", str(rows), "--out", str(saved), *root]) == 0
    assert score_main([str(saved), "--data", str(rows), *root]) == 0
    with pytest.raises(InputError, match=r"field 'video': expected a file, got a\.mp4"):
        score_main([str(saved), "--data", str(rows)])


def test_wrong_evidence_on_rows_is_named(other, tmp_path):
    save_plugin(plugin_class("shouting").fit([]), tmp_path / "saved")
    rows = [row("a", "x", evidence={"mine": {"kind": "mood"}}), row("b", "x", evidence={"mine": 1})]
    write_clips(tmp_path / "rows.jsonl", rows)
    with pytest.raises(InputError, match=r"(?s)row 1, evidence of mine.*row 2, evidence of mine"):
        run_main([str(tmp_path / "saved"), str(tmp_path / "rows.jsonl"), "--out", str(tmp_path / "out.jsonl")])
    assert not (tmp_path / "out.jsonl").exists()
