"""Rows as a model reads them: it is shown what it may see, hear and read, and nothing that is kept from it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
from torch import Tensor

from affectgpt.clip import Clip
from affectgpt.evidence.cues import Cues
from affectgpt.inputs.reader import ClipReader
from affectgpt.model import AffectGPTProcessor
from affectgpt.problems import InputError
from tests.support.rows import make_clip

WORDS = "I did not expect that."
ALL = {"multi": 3, "audio": 1, "face": 2}


class Features:
    """Stands for the towers: random features of all streams that a clip has files for."""

    def __init__(self, tiny) -> None:  # type: ignore[no-untyped-def]
        self.tiny = tiny

    def of(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
        return [self.tiny.features(0) if clip.has_media else {} for clip in clips]


def clip(**fields: object) -> Clip:
    return make_clip(**{"task": "text", "video": Path("/a.mp4"), "subtitle": WORDS, **fields})  # type: ignore[arg-type]


@pytest.fixture
def shown(tiny):
    """What a row's prompt shows of a clip: the number of placeholders by name, and whether the words said are there."""

    def count(row) -> tuple[dict[str, int], bool]:  # type: ignore[no-untyped-def]
        marks = {name: row.prompt_ids.count(number) for name, number in tiny.ids.items()}
        text = tiny.processor.tokenizer.decode(row.prompt_ids)
        assert set(row.inputs) == {f"{name}_features" for name in ("face", "audio") if marks[name]}
        return {name: number for name, number in marks.items() if number}, WORDS in text

    return count


@pytest.mark.parametrize(
    ("inputs", "marks", "words"),
    [
        (None, ALL, True),
        (("video", "audio", "text"), ALL, True),
        (("video",), {"face": 2}, False),
        (("audio", "text"), {"audio": 1}, True),
        (("text",), {}, True),
    ],
)
def test_a_reader_shows_the_inputs_that_it_is_told_to(tiny, shown, inputs, marks, words):
    reader = ClipReader(tiny.processor, Features(tiny), inputs)
    (row,) = reader.read([clip()])
    assert shown(row) == (marks, words)
    assert reader.lengths([clip()]) == [len(row)]


def test_by_default_a_model_is_given_what_it_was_trained_with(tiny, shown):
    processor = copy.copy(tiny.processor)
    processor.inputs = ["audio"]
    (row,) = ClipReader(processor, Features(tiny)).read([clip()])
    assert shown(row) == ({"audio": 1}, False)
    (row,) = ClipReader(processor, Features(tiny), ["video"]).read([clip()])
    assert shown(row) == ({"face": 2}, False)


def test_what_is_hidden_of_a_row_is_hidden_of_that_row_alone(tiny, shown):
    hidden = [(), ("text",), ("video",), ("audio", "text"), ("video", "audio")]
    rows = ClipReader(tiny.processor, Features(tiny)).read([clip()] * 5, hidden)
    assert [shown(row) for row in rows] == [
        (ALL, True),
        (ALL, False),
        ({"audio": 1}, True),
        ({"face": 2}, False),
        ({}, True),
    ]


def test_a_row_has_the_streams_of_its_files(tiny, shown):
    reader = ClipReader(tiny.processor, Features(tiny))
    clips = [clip(video=None, audio=Path("/a.wav")), clip(video=None, face=Path("/a.npy")), clip(video=None)]
    assert [shown(row)[0] for row in reader.read(clips)] == [{"audio": 1}, {"face": 2}, {}]


def test_the_cues_decide_what_of_the_evidence_is_shown(tiny):
    dialogue = Clip(
        id="a",
        messages=[{"role": "user", "content": "They are late."}, {"role": "assistant", "content": "Emotion: fear"}],
        task="dialogue",
        answer="fear",
        situation="A parcel was lost.",
    )
    texts = []
    for cues in (Cues(), Cues(situation=True)):
        reader = ClipReader(tiny.processor, Features(tiny), cues=cues)
        assert reader.cues is cues
        (row,) = reader.read([dialogue])
        assert reader.lengths([dialogue]) == [len(row)]
        texts.append(tiny.processor.tokenizer.decode(row.prompt_ids))
    assert ["A parcel was lost." in text for text in texts] == [False, True]


def test_a_reader_ends_answers_as_its_processor_does(tiny):
    plain = AffectGPTProcessor(tokenizer=tiny.processor.tokenizer, num_tokens={}, prompt_style="paper")
    assert ClipReader(plain, Features(tiny)).stop_strings == plain.stop_strings != []
    assert ClipReader(tiny.processor, Features(tiny)).stop_strings == []


def test_features_that_are_not_there_are_named(tiny):
    class Nothing:
        def of(self, clips: Sequence[Clip]) -> list[dict[str, Tensor]]:
            return [{} for _ in clips]

    with pytest.raises(InputError, match=r"row a: its prompt has placeholders of face, audio, but no face_features"):
        ClipReader(tiny.processor, Nothing()).read([clip()])
