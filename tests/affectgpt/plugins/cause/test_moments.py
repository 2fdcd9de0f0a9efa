"""Moments of a clip: a head looks where the emotion is, spans have the right seconds, a saved plugin says the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.evidence.kinds.cause import CauseEvidence
from affectgpt.plugins.cause import moments
from affectgpt.plugins.cause.moments import ClipCauseModel, seconds_of, spans_of, train_head
from affectgpt.plugins.crossfit import held_out_evidence
from affectgpt.plugins.parts.attention_head import AttentionHead
from affectgpt.plugins.plugin import load_plugin, save_plugin
from affectgpt.problems import InputError


def test_a_head_looks_where_the_emotion_is():
    rng = np.random.default_rng(0)
    targets = torch.tensor(rng.integers(2, size=160))
    features = []
    for target in targets.tolist():
        value = rng.normal(size=(8, 6)).astype(np.float32)
        value[:, 5] = 0
        value[2, :2] = (4, 0) if target else (0, 4)
        value[2, 5] = 4  # what marks the moment
        features.append(torch.from_numpy(value))
    torch.manual_seed(0)
    head = train_head(features, targets, 2, epochs=60)
    with torch.no_grad():
        logits, weights = head(torch.stack(features), torch.ones(160, 8))
    assert (logits.argmax(-1) == targets).float().mean() > 0.95
    assert (weights.argmax(-1) == 2).float().mean() > 0.95


def test_what_pads_a_short_clip_teaches_nothing():
    """Clips that differ in nothing but their length cannot be told apart."""
    torch.manual_seed(0)
    features = [torch.ones(length, 4) for length in (2, 9) * 20]
    head = train_head(features, torch.tensor([0, 1] * 20), 2, epochs=40)
    with torch.no_grad():
        chances = head(features[0][None], torch.ones(1, 2))[0].softmax(-1)[0]
    assert 0.46 < chances[0] < 0.54


def test_spans_by_hand():
    weights = np.array([0.1, 0.3, 0.2, 0.05, 0.05, 0.3])
    found = spans_of("audio", weights, 3.0)
    assert [(span.start_s, span.end_s) for span in found] == [(0.5, 1.5), (2.5, 3.0)]
    assert [span.weight for span in found] == pytest.approx([0.5, 0.3])
    assert spans_of("video", np.full(4, 0.25), 2.0) == []
    assert spans_of("video", np.array([1.0]), 2.0) == []


def test_seconds():
    sound, times = np.zeros(8000, np.float32), np.array([0.0, 0.5, 1.0, 1.5])
    assert seconds_of("audio", {"audio": sound}, 16_000) == seconds_of("face", {"audio": sound}, 16_000) == 0.5
    assert seconds_of("face", {"times": times}, 16_000) == pytest.approx(2.0)
    both = {"audio": sound, "times": times}
    assert seconds_of("audio", both, 16_000) == 0.5  # the sound ends before the pictures do
    assert seconds_of("frame", both, 16_000) == pytest.approx(2.0)
    assert seconds_of("face", {"face": np.zeros(1)}, 16_000) == 0.0


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.model().save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    for part, tower in tiny.towers().items():
        tower.save_pretrained(folder / part)
    return folder


def clips(write_mp4, folder, count: int, seeds: int = 0) -> list[Clip]:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    return [
        Clip(
            id=str(seed),
            messages=turns,
            task="emotion_label",
            answer=("joy", "fear")[seed % 2],
            video=write_mp4(folder / f"{seed}.mp4", seeds + seed),
        )
        for seed in range(count)
    ]


def test_clips_through_the_towers(model, write_mp4, tmp_path):
    rows = clips(write_mp4, tmp_path, 4)
    plugin = ClipCauseModel.fit(rows, model=str(model), epochs=40)
    bare = Clip(id="bare", messages=rows[0].messages, task="text")
    told = [rows[1], bare, *rows]
    found = plugin.predict(told)
    assert found[1] is None
    assert found[0] == found[3] != found[2]  # rows of one clip
    spans = [span for piece in found if piece is not None for span in piece.spans]
    assert {span.stream for span in spans} <= {"video", "audio"}
    assert spans
    assert all(0 <= span.start_s < span.end_s < 0.75 for span in spans)
    save_plugin(plugin, tmp_path / "plugin")
    again = load_plugin(tmp_path / "plugin").predict(told)
    for one, other in zip(found, again, strict=True):
        assert (one is None) == (other is None)
        if isinstance(one, CauseEvidence) and isinstance(other, CauseEvidence):
            assert one == other


def test_the_folds_of_a_cross_fit_share_what_was_decoded(model, write_mp4, tmp_path, monkeypatch):
    rows, decoded = clips(write_mp4, tmp_path, 8, seeds=40), Counter()
    original = moments.map_sandboxed

    def counting(function, items, *rest):
        items = list(items)
        decoded.update(items)
        return original(function, items, *rest)

    monkeypatch.setattr(moments, "map_sandboxed", counting)
    found = held_out_evidence(lambda part: ClipCauseModel.fit(part, model=str(model), epochs=1), rows, folds=4)
    assert len(found) == 8
    assert set(decoded.values()) == {1}
    assert len(decoded) == 8
    write_mp4(tmp_path / "0.mp4", 99)  # a file that changed is decoded again
    again = ClipCauseModel.fit(rows, model=str(model), epochs=1)
    assert sorted(decoded.values()) == [1] * 7 + [2]
    assert len(again.predict(rows)) == 8


class Seen(ClipCauseModel):
    """Its towers are asked nothing: the features of a row follow from its id."""

    def _look(self, rows):
        found = []
        for row in rows:
            rng = torch.Generator().manual_seed(int(row.id))
            audio, face = torch.randn(5, 4, generator=rng), torch.randn(3, 6, generator=rng)
            found.append({"audio": (audio, 1.5), "face": (face, 1.5)})
        return found


def test_seed_and_epochs_settle_the_heads(model):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    rows = [
        Clip(
            id=str(place), messages=turns, task="emotion_label", answer=("joy", "Fear ")[place % 2], video=Path("x.mp4")
        )
        for place in range(6)
    ]

    def heads(**settings: int) -> list[float]:
        plugin = Seen.fit(rows, model=str(model), **settings)
        assert plugin.card()["labels"] == ["fear", "joy"]
        assert set(plugin.heads) == {"audio", "face"}
        return [float(value.sum()) for value in plugin.heads.state_dict().values()]

    torch.manual_seed(7)
    first = heads(seed=1, epochs=2)
    assert heads(seed=1, epochs=2) == first
    assert heads(seed=2, epochs=2) != first
    assert heads(seed=1, epochs=3) != first


class Faces(ClipCauseModel):
    """Sees a face in every other row alone; what it feels is what the row says, of even ids in a clip of no length."""

    def _look(self, rows):
        found = []
        for row in rows:
            value = torch.zeros(4, 6)
            value[:, ("fear", "joy").index(row.answer)] = 3.0
            value[1] *= 2
            found.append({"face": (value, float(int(row.id) % 4 == 3))} if int(row.id) % 2 else {})
        return found


def test_heads_learn_the_emotions_of_the_clips_that_have_their_stream(model):
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    answers = ["joy", "fear", "fear", "fear", "joy", "joy", "fear", "joy"] * 4
    rows = [
        Clip(id=str(place), messages=turns, task="emotion_label", answer=answer, video=Path("x.mp4"))
        for place, answer in enumerate(answers)
    ]
    plugin = Faces.fit(rows, model=str(model), epochs=60)
    assert set(plugin.heads) == {"face"}
    for row, streams in zip(rows, plugin._look(rows), strict=True):
        if "face" in streams:
            with torch.no_grad():
                logits, _ = plugin.heads["face"](streams["face"][0][None], torch.ones(1, 4))
            assert plugin.card()["labels"][int(logits.argmax())] == row.answer
    assert [piece is None for piece in plugin.predict(rows[:4])] == [True, True, True, False]


def test_spans_are_named_after_what_a_user_sees_and_hears(model):
    plugin = Seen(str(model), {"audio": AttentionHead(4, 2, 0.1), "face": AttentionHead(6, 2, 0.1)}, {})
    plugin.heads.eval()
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "joy"}]
    [piece] = plugin.predict([Clip(id="3", messages=turns, task="text")])
    assert piece is not None
    assert {span.stream for span in piece.spans} == {"audio", "video"}
    assert max(span.end_s for span in piece.spans) <= 1.5


def test_what_it_cannot_learn_from(model, write_mp4, tmp_path):
    rows = clips(write_mp4, tmp_path, 2)
    with pytest.raises(InputError, match="expected an AffectGPT model"):
        ClipCauseModel.fit(rows)
    with pytest.raises(InputError, match="two emotions or more, got 1"):
        ClipCauseModel.fit(rows[:1], model=str(model))
    (tmp_path / "0.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="row 0"):
        ClipCauseModel.fit(rows, model=str(model))
