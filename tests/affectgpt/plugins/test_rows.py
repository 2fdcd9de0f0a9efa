"""Which rows a plugin learns from and gets is decided by what it declares; of our plugins as it always was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from affectgpt.clip import Clip
from affectgpt.evidence.dialogue import TASKS, dialogue_of
from affectgpt.media.decode import read_audio
from affectgpt.plugins.cause.moments import ClipCauseModel
from affectgpt.plugins.cause.words import CauseModel
from affectgpt.plugins.emotion.plugin import EmotionModel
from affectgpt.plugins.plugin import Plugin, names_emotion
from affectgpt.plugins.rows import described_rows, evidence_of, gets_evidence, is_learned, is_read, tasks_of
from affectgpt.problems import InputError


def row(task: str, **values: object) -> Clip:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "-"}]
    return Clip(id="r", messages=turns, task=task, answer="sad", **values)  # type: ignore[arg-type]


VIDEO, SOUND, FACE = Path("c.mp4"), Path("c.wav"), Path("c.npy")
ROWS = [
    row(task, **media, subtitle=words)
    for task in ("dialogue", "emotion_label", "emotion_open", "valence", "caption")
    for media in ({}, {"video": VIDEO}, {"audio": SOUND}, {"face": FACE})
    for words in (None, "Fine", "  ")
]


@pytest.mark.parametrize("plugin", [EmotionModel, CauseModel])
def test_text_plugins_read_words_and_learn_from_emotions(plugin):
    for clip in ROWS:
        assert is_read(plugin, clip) == (dialogue_of(clip) is not None)
        assert is_learned(plugin, clip) == (clip.task in TASKS and dialogue_of(clip) is not None)
        for tasks in (("dialogue", "emotion_label"), ("emotion_label",), ("dialogue",)):
            before = clip.task in tasks or ("emotion_label" in tasks and clip.task != "dialogue")
            assert gets_evidence(plugin, clip, tasks) == before


def test_moments_are_of_clips():
    for clip in ROWS:
        assert is_read(ClipCauseModel, clip) == clip.has_media
        assert is_learned(ClipCauseModel, clip) == (clip.task == "emotion_label" and clip.has_media)
    assert described_rows(ClipCauseModel) == "rows of task emotion_label with video or audio or face"
    assert tasks_of(ClipCauseModel, TASKS) == ("emotion_label",)
    with pytest.raises(InputError, match="--tasks dialogue: plugin 'clip_cause' does not learn from it"):
        tasks_of(ClipCauseModel, ["dialogue"])


class Listener(Plugin):
    """Declares, and does nothing."""

    name, kind, reads, learns_from = "listener", "intensities", ("audio", "face"), ("valence",)


def test_a_video_has_sound_and_face():
    read = [
        is_read(Listener, row("valence", **media)) for media in ({}, {"video": VIDEO}, {"audio": SOUND}, {"face": FACE})
    ]
    assert read == [False, True, True, True]
    assert not is_read(Listener, row("dialogue", subtitle="Fine"))
    assert gets_evidence(Listener, row("dialogue"), ("valence",))


def test_who_names_the_speakers_emotion():
    class Reader(Listener):
        kind, whose = "emotion", "reader"

    assert names_emotion(EmotionModel)
    assert not names_emotion(CauseModel)
    assert not names_emotion(Reader)


def test_a_clip_that_a_plugin_cannot_read_is_named_with_its_row(tmp_path):
    def predict(rows):
        return [read_audio(clip.audio, 16000) and None for clip in rows]

    plugin = SimpleNamespace(name="listener", reads=("audio",), predict=predict)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    rows = [row("valence"), Clip(id="clip 7", task="valence", answer=0.1, audio=tmp_path / "bad.wav")]
    with pytest.raises(InputError) as caught:
        evidence_of(plugin, rows)
    message = str(caught.value)
    assert message.startswith(f"plugin 'listener': row clip 7: {tmp_path / 'bad.wav'}: no video or audio file")
    assert "affectgpt data check" in message
