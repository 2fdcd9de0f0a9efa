"""Two stages decide as their definition says, and in both modes agree with a model asked in plain."""

from __future__ import annotations

import math

import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.empathy.two_stage import Decision, Selection, decide, score_clips, select
from affectgpt.evidence.kinds import EmotionEvidence, to_json
from affectgpt.evidence.prompting import Cues, Shortlist
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.reader import ClipReader, EncodedRow
from affectgpt.problems import InputError
from affectgpt.prompts import EMPATHY

LABELS = ("joy", "fear", "anger")
NONE = EMPATHY["none"]


def emotions(*probabilities: float, top: int = 1) -> Shortlist:
    evidence = EmotionEvidence(LABELS, probabilities)
    first = tuple(label for label, _ in evidence.top(top))
    return Shortlist(first, tuple(label for label in LABELS if label not in first), evidence)


def test_select_by_hand():
    scores = {"joy": -2.0, "fear": -1.0, "anger": -0.5, NONE: -3.0}
    found = emotions(0.7, 0.2, 0.1, top=2)
    assert select(scores, found, Selection()) == ("fear", 1)
    assert select(scores, found, Selection(margin=1.9)) == ("fear", 1)
    assert select(scores, found, Selection(margin=2.0)) == ("anger", 2)
    # -2 + 1 log 0.7 = -2.357 beats -1 + 1 log 0.2 = -2.609; none of the first two: -3 + log 0.1 = -5.303
    assert select(scores, found, Selection(fusion=1.0)) == ("joy", 1)
    assert select(scores, found, Selection(fusion=1.0, margin=2.94)) == ("joy", 1)
    assert select(scores, found, Selection(fusion=1.0, margin=2.95)) == ("anger", 2)
    assert select(scores, Shortlist((), LABELS), Selection(margin=9, fusion=9)) == ("anger", None)


def test_certain_plugins_break_nothing():
    scores = {"joy": -1.0, "fear": -1.0, "anger": -1.0, NONE: -1.0}
    assert select(scores, emotions(1.0, 0.0, 0.0), Selection(fusion=1.0)) == ("joy", 1)
    assert math.isfinite(math.log(1e-6))


class NoMedia:
    """Rows of text alone."""

    def of(self, clips):
        return [{} for _ in clips]


@pytest.fixture
def reader(tiny):
    return ClipReader(tiny.processor, NoMedia(), cues=Cues(top=2))


def dialogue(name: str, words: str, evidence: EmotionEvidence | None, **more: object) -> Clip:
    turns = [{"role": "user", "content": words}, {"role": "assistant", "content": "Emotion: joy\nResponse: joy"}]
    told = {"emotion": to_json(evidence)} if evidence else None
    fixed = {"id": name, "messages": turns, "task": "dialogue", "answer": "joy", "options": list(LABELS)}
    return Clip(**{**fixed, "evidence": told, **more})  # type: ignore[arg-type]


@pytest.fixture
def clips():
    return [
        dialogue("a", "What does this person feel?", EmotionEvidence(LABELS, (0.2, 0.5, 0.3))),
        dialogue("b", "joy?", None),
        dialogue("c", "joy?", None, task="emotion_label", options=["joy", "fear"]),
    ]


def test_scores_are_those_of_a_plain_forward(tiny, reader, clips):
    model = tiny.model().eval()
    for clip, found in zip(clips, score_clips(model, reader, clips), strict=True):
        assert set(found) == {*(clip.options or ()), NONE}
        (row,) = reader.read([clip])
        lead = "Emotion: " if clip.task == "dialogue" else ""
        ids = {label: reader.tokenizer(lead + label, add_special_tokens=False)["input_ids"] for label in found}
        likelihood = {}
        for label, tokens in ids.items():
            with torch.no_grad():
                batch = prompt_batch([EncodedRow("", [*row.prompt_ids, *tokens], [])], 0)
                logits = model(**batch).logits[0, -len(tokens) - 1 : -1].log_softmax(-1)
            likelihood[label] = float(logits.gather(-1, torch.tensor(tokens)[:, None]).sum())
        # What all openings share is left out of every score: differences stand.
        for label in found:
            assert found[label] - found[NONE] == pytest.approx(likelihood[label] - likelihood[NONE], abs=1e-5)


def test_decisions(tiny, reader, clips):
    model = tiny.model().eval()
    scores = score_clips(model, reader, clips)
    said = decide(model, reader, clips, Selection(), max_new_tokens=3)
    assert [item.stage for item in said] == [1, None, None]
    assert [item.emotion for item in said] == [item.said for item in said]
    assert said[0].emotion == max(("fear", "anger"), key=lambda label: scores[0][label])
    assert said[2].emotion == max(("joy", "fear"), key=lambda label: scores[2][label])
    assert said[2].response is None
    (far,) = decide(model, reader, clips[:1], Selection(margin=1e9), respond=False)
    assert far == Decision("joy", "joy", 2)


def test_a_prompt_that_is_answered_outside_the_format_decides_nothing(tiny, reader, clips, monkeypatch):
    texts = {"a": "Emotion: joy\nResponse: Fine.", "b": "who knows", "c": "fear"}
    monkeypatch.setattr(
        "affectgpt.empathy.two_stage.answer",
        lambda model, reader, rows, limit: [type("Said", (), {"text": texts[row.id]}) for row in rows],
    )
    said = decide(tiny.model(), reader, clips, Selection("prompt"))
    assert said[0] == Decision("joy", "joy", 2, "Fine.")
    assert said[1] == Decision(None, "", None)
    assert said[2] == Decision("fear", "fear", None)


def test_without_a_closed_set_nothing_can_be_scored(tiny, reader, clips):
    bare = [dialogue("x", "joy?", None, options=None), clips[0], dialogue("y", "joy?", None, task="caption")]
    with pytest.raises(InputError, match="row x: expected a closed set") as caught:
        score_clips(tiny.model(), reader, bare)
    assert len(caught.value.problems) == 2
