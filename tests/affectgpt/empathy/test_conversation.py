"""`affectgpt chat --empathy`: evidence is shown, the emotion decided, the turn answered and remembered."""

from __future__ import annotations

import copy
import io
import json

import pytest

from affectgpt.chat.command import main
from affectgpt.empathy import conversation as talk
from affectgpt.empathy.two_stage import Decision, Selection
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.kinds.units import UnitEvidence
from affectgpt.evidence.prompting import Cues
from affectgpt.plugins.command import train_main
from affectgpt.plugins.plugin import Plugin, load_plugin
from affectgpt.problems import InputError
from tests.support.rows import WORDS, write_data
from tests.support.text_models import tiny_text_model


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """A model, and trained plugins."""
    folder = tmp_path_factory.mktemp("talk")
    tiny.model().save_pretrained(folder / "model")
    tiny.processor.save_pretrained(folder / "model")
    data = write_data(folder / "data.jsonl", 80)
    for name, more in (("emotion", ["--encoder", "scratch", "--set", "epochs=1"]), ("cause", [])):
        train_main([name, "--data", str(data), "--out", str(folder / name), *more])
    return folder


def test_one_question(folders, capsys):
    plugins = [str(folders / "emotion"), str(folders / "cause")]
    word = next(iter(WORDS.values()))[0]
    common = ["--model", str(folders / "model"), "--device", "cpu", "--max-new-tokens", "3", "--empathy", *plugins]
    assert main([*common, "--question", f"my friend {word}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"question", "answer", "emotion", "stage", "evidence", "seconds"}
    assert set(found["evidence"]) == {"emotion", "cause"}
    assert found["emotion"] in found["evidence"]["emotion"]["labels"]
    assert found["stage"] in (1, 2)
    assert main([*common, "--question", f"my friend {word}", "--set", "top=1", "mode=prompt"]) == 0
    captured = capsys.readouterr()
    assert f"causes: {word}" in captured.err or f"{word}" in captured.err
    assert "decided: nothing, the answer was outside the format" in captured.err


def test_a_conversation_is_remembered(folders, capsys, monkeypatch):
    from affectgpt.empathy import conversation as talk

    rows = []

    def decide(model, reader, clips, *rest):
        rows.extend(clips)
        return [Decision("sad", "sad", 1, f"Answer {len(rows)}.")]

    monkeypatch.setattr(talk, "decide", decide)
    monkeypatch.setattr("sys.stdin", io.StringIO("My friend left.\n\nIt was bad.\n/quit\n"))
    common = ["--model", str(folders / "model"), "--device", "cpu", "--empathy", str(folders / "emotion")]
    assert main(common) == 0
    assert capsys.readouterr().out == "Answer 1.\nAnswer 2.\n"
    assert [turn["content"] for turn in rows[1].prompt] == ["My friend left.", "Answer 1.", "It was bad."]
    assert rows[1].evidence is not None


def test_settings_reach_the_prompt_the_decision_and_the_line_that_is_shown(folders, capsys, monkeypatch):
    asked = []

    def decide(model, reader, clips, *rest):
        asked.append((reader.cues, *rest))
        return [Decision("joyful", "joyful", 1, "Good.")]

    monkeypatch.setattr(talk, "decide", decide)
    plugins = ["--empathy", str(folders / "emotion"), str(folders / "cause")]
    common = ["--model", str(folders / "model"), "--device", "cpu", "--max-new-tokens", "5", *plugins]
    settings = ["--set", "top=2", "causes=1", "situation=true", "margin=0.5", "fusion=2"]
    assert main([*common, "--question", "party gift storm won", *settings]) == 0
    assert asked == [(Cues(2, 1, True), Selection("score", 0.5, 2.0), 1, 5)]
    captured = capsys.readouterr()
    (shown,) = [line for line in captured.err.splitlines() if "decided: " in line]
    likely, causes, decided = shown.strip().split(" | ")
    assert len(likely.split(", ")) == 2
    assert len(causes.removeprefix("causes: ").split(", ")) == 1
    assert decided == "decided: joyful"
    assert captured.out == "Good.\n"


class Face(Plugin):
    """Plugin that reads videos; notes the rows that it is given."""

    name, kind, reads = "face", "units", ("video",)

    def __init__(self, seen):
        self.seen = seen

    def predict(self, rows):
        self.seen.extend(rows)
        return [UnitEvidence({"AU12": 0.9, "AU1": 0.1}) if row.video else None for row in rows]

    def save(self, folder): ...

    @classmethod
    def fit(cls, rows):
        return cls([])

    @classmethod
    def load(cls, folder):
        return cls([])

    def card(self):
        return {}


def test_plugins_see_the_clip_and_every_kind_is_summed_up(folders, capsys, monkeypatch):
    seen = []

    monkeypatch.setattr(talk, "load_plugins", lambda _: [load_plugin(folders / "emotion"), Face(seen)])
    monkeypatch.setattr("affectgpt.inference.assistant.Assistant.encode", lambda self, **_: {})
    common = ["--model", str(folders / "model"), "--device", "cpu", "--max-new-tokens", "2", "--empathy", "x"]
    assert main([*common, "--question", "my friend left", "--video", "clip.mp4"]) == 0
    assert " | units: AU12 0.90 | decided: " in capsys.readouterr().err
    assert [str(row.video) for row in seen] == ["clip.mp4"]
    assert main([*common, "--question", "my friend left"]) == 0
    assert "units" not in capsys.readouterr().err
    assert len(seen) == 1


def test_what_does_not_go_together(folders):
    model = ["--model", str(folders / "model")]
    with pytest.raises(InputError, match="expected a plugin of kind emotion among them, got cause"):
        main([*model, "--empathy", str(folders / "cause"), "--question", "hi"])
    with pytest.raises(InputError) as caught:
        main([*model, "--set", "top=1", "--temperature", "1"])
    assert "--set: expected --empathy with it" in str(caught.value)
    with pytest.raises(InputError, match="answers are not sampled"):
        main([*model, "--empathy", str(folders / "emotion"), "--top-p", "0.5"])
    with pytest.raises(InputError, match="unknown setting"):
        main([*model, "--empathy", str(folders / "emotion"), "--set", "tops=1"])


@pytest.fixture
def words(tmp_path):
    """A model that reads text alone."""
    return tiny_text_model("qwen2", tmp_path / "words")


def test_a_model_of_words_alone_is_shown_what_plugins_make_of_a_clip(folders, words, capsys, monkeypatch):
    seen = []

    monkeypatch.setattr(talk, "load_plugins", lambda _: [load_plugin(folders / "emotion"), Face(seen)])
    common = ["--model", str(words), "--device", "cpu", "--max-new-tokens", "2", "--empathy", "x", "--show-prompt"]
    assert main([*common, "--question", "my friend left", "--video", "clip.mp4"]) == 0
    shown = capsys.readouterr().err
    assert "--- prompt" in shown
    assert "Face: AU12 0.90." in shown
    assert "my friend left" in shown
    assert " | units: AU12 0.90 | decided: " in shown
    assert [str(row.video) for row in seen] == ["clip.mp4"]
    assert main([*common, "--question", "my friend left"]) == 0
    shown = capsys.readouterr().err
    assert " | face: nothing, it reads video, and there is none of that | decided: " in shown
    assert "Face:" not in shown
    with pytest.raises(InputError, match=r"--audio: the clip: expected none: .* the plugins read video and words"):
        main([*common, "--question", "my friend left", "--audio", "clip.wav"])


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (EmotionEvidence(("joyful", "sad"), (0.9, 0.1)), "other: joyful 0.90, sad 0.10"),
        (None, "other: nothing, it had nothing to say about this"),
    ],
)
def test_two_plugins_of_one_kind_are_told_apart_and_no_word_steers_the_terminal(
    evidence, said, folders, words, capsys, monkeypatch
):
    emotion = load_plugin(folders / "emotion")
    other = copy.copy(emotion)
    other.__class__ = type(
        "Other", (type(other),), {"name": "other", "predict": lambda self, rows: [evidence] * len(rows)}
    )
    monkeypatch.setattr(talk, "load_plugins", lambda _: [emotion, other])
    monkeypatch.setattr(talk, "decide", lambda *_: [Decision("sad", "sad", 1, "\x1b[2JOh \u202eno.")])
    common = ["--model", str(words), "--device", "cpu", "--empathy", "x", "--question", "my friend left"]
    assert main(common) == 0
    captured = capsys.readouterr()
    assert f" | {said} | decided: sad" in captured.err
    assert "  emotion: " in captured.err
    assert captured.out == "\\x1b[2JOh \\u202eno.\n"
    assert main([*common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] == "\x1b[2JOh \u202eno."
