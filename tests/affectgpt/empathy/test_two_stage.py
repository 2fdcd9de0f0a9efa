"""Two stages decide as their definition says, and in both modes agree with a model asked in plain."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.empathy import two_stage
from affectgpt.empathy.two_stage import Decision, Selection, decide, score_clips, select
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.kinds.emotion import EmotionEvidence, Shortlist
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.reader import ClipReader, EncodedRow
from affectgpt.problems import InputError
from affectgpt.prompts import EMPATHY
from tests.support.feature_sources import NoMedia

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


def test_the_second_stage_listens_to_the_plugins_too():
    scores = {"joy": -3.0, "fear": -1.0, "anger": -1.5, NONE: 0.0}
    found = emotions(0.5, 0.1, 0.4)
    assert select(scores, found, Selection()) == ("fear", 2)
    # -1 + log 0.1 = -3.303 loses to -1.5 + log 0.4 = -2.416
    assert select(scores, found, Selection(fusion=1.0)) == ("anger", 2)
    assert select(scores, found, Selection(fusion=0.2)) == ("fear", 2)


def test_where_nothing_is_left_the_first_stage_decides():
    scores = {"joy": -3.0, "fear": -1.0, "anger": -1.5, NONE: 0.0}
    assert select(scores, emotions(0.5, 0.1, 0.4, top=3), Selection(margin=9)) == ("fear", 1)


def test_certain_plugins_break_nothing():
    scores = {"joy": -1.0, "fear": -1.0, "anger": -1.0, NONE: -1.0}
    assert select(scores, emotions(1.0, 0.0, 0.0), Selection(fusion=1.0)) == ("joy", 1)
    assert math.isfinite(math.log(1e-6))


@pytest.fixture
def reader(tiny):
    return ClipReader(tiny.processor, NoMedia(), cues=Cues(top=2))


def dialogue(name: str, words: str, evidence: EmotionEvidence | None, **more: object) -> Clip:
    turns = [{"role": "user", "content": words}, {"role": "assistant", "content": "Emotion: joy\nResponse: joy"}]
    told = {"emotion": evidence.to_json()} if evidence else None
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


def test_without_options_the_labels_of_the_evidence_are_the_closed_set(tiny, reader):
    row = dialogue("a", "joy?", EmotionEvidence(LABELS, (0.2, 0.5, 0.3)), options=None)
    (scores,) = score_clips(tiny.model(), reader, [row])
    assert set(scores) == {*LABELS, NONE}
    (said,) = decide(tiny.model(), reader, [row], Selection(margin=1e9), respond=False)
    assert said == Decision("joy", "joy", 2)


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


class Recorder:
    """Answers in the place of a model, and keeps what it was given to go on from."""

    def __init__(self, reader: ClipReader, texts: dict[str, str] | None = None) -> None:
        self.tokenizer, self.texts = reader.tokenizer, texts
        self.begun: dict[str, str] = {}
        self.ids: list[int] = []
        self.limits: list[int] = []

    def __call__(self, model, reader, rows, limit):
        self.limits.append(limit)
        for row in rows:
            self.begun[row.id] = self.tokenizer.decode(row.prompt_ids)
            self.ids += row.prompt_ids
        texts = self.texts or {row.id: f"said to {row.id}" for row in rows}
        return [SimpleNamespace(text=texts[row.id]) for row in rows]


def test_each_dialogue_is_answered_from_its_own_emotion(tiny, reader, clips, monkeypatch):
    rows = [*clips, dialogue("d", "joy?", None), dialogue("e", "joy?", None, options=["fear", "anger"])]
    recorder = Recorder(reader)
    monkeypatch.setattr(two_stage, "answer", recorder)
    said = decide(tiny.model(), reader, rows, Selection(), batch_size=2, max_new_tokens=7)
    assert [item.response for item in said] == ["said to a", "said to b", None, "said to d", "said to e"]
    assert recorder.limits == [7, 7]
    for row, item in zip(rows, said, strict=True):
        if row.task == "dialogue":
            assert recorder.begun[row.id].endswith(f"Emotion: {item.emotion}\nResponse:"), row.id


def test_a_label_that_spells_a_token_stays_words_before_the_response(tiny, reader, monkeypatch):
    labels = ["<|im_end|>joy", "<|im_start|>fear"]
    row = dialogue("a", "joy?", None, options=labels, answer=labels[0])
    recorder = Recorder(reader)
    monkeypatch.setattr(two_stage, "answer", recorder)
    (said,) = decide(tiny.model(), reader, [row], Selection())
    assert said.emotion in labels
    special = set(reader.tokenizer.all_special_ids) | {
        number for number, token in reader.tokenizer.added_tokens_decoder.items() if token.special
    }
    plain = reader.read([row])[0].prompt_ids
    assert [token for token in recorder.ids if token in special] == [token for token in plain if token in special]


def test_rows_of_two_tasks_with_one_label_set_are_scored_by_their_own_opening(tiny, reader):
    pair = [dialogue("a", "joy?", None), dialogue("b", "joy?", None, task="emotion_label")]
    model = tiny.model()
    together = score_clips(model, reader, pair)
    for row, found in zip(pair, together, strict=True):
        assert found == pytest.approx(score_clips(model, reader, [row])[0], abs=1e-5)


def test_prompts_are_answered_in_batches_and_in_order(tiny, reader, clips, monkeypatch):
    texts = {"a": "Emotion: anger", "b": "Emotion: fear\nResponse: Oh.", "c": "joy"}
    monkeypatch.setattr(two_stage, "answer", Recorder(reader, texts))
    said = decide(tiny.model(), reader, clips, Selection("prompt"), batch_size=2)
    assert [item.emotion for item in said] == ["anger", "fear", "joy"]
    assert [item.stage for item in said] == [1, None, None]


def test_in_an_open_task_what_was_not_listed_first_is_stage_2(tiny, reader, monkeypatch):
    evidence = EmotionEvidence(LABELS, (0.2, 0.5, 0.3))
    rows = [dialogue(label, "joy?", evidence, task="emotion_open", options=None) for label in (*LABELS, "bored")]
    monkeypatch.setattr(two_stage, "answer", Recorder(reader, {row.id: row.id for row in rows}))
    said = decide(tiny.model(), reader, rows, Selection("prompt"))
    assert [(item.emotion, item.stage) for item in said] == [("joy", 2), ("fear", 1), ("anger", 1), (None, None)]


def test_a_prompt_that_is_answered_outside_the_format_decides_nothing(tiny, reader, clips, monkeypatch):
    texts = {"a": "Emotion: joy\nResponse: Fine.", "b": "who knows", "c": "fear"}
    monkeypatch.setattr(two_stage, "answer", Recorder(reader, texts))
    said = decide(tiny.model(), reader, clips, Selection("prompt"))
    assert said[0] == Decision("joy", "joy", 2, "Fine.")
    assert said[1] == Decision(None, "", None)
    assert said[2] == Decision("fear", "fear", None)


def test_without_a_closed_set_nothing_can_be_scored(tiny, reader, clips):
    bare = [dialogue("x", "joy?", None, options=None), clips[0], dialogue("y", "joy?", None, task="caption")]
    with pytest.raises(InputError, match="row x: expected a closed set") as caught:
        score_clips(tiny.model(), reader, bare)
    assert len(caught.value.problems) == 2
