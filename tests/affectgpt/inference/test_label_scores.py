"""Scores of labels are the likelihoods that a plain forward gives each of them alone."""

from __future__ import annotations

import pytest
import torch

from affectgpt.inference.label_scores import score_labels, split_lead
from affectgpt.inputs.batch import prompt_batch
from affectgpt.inputs.reader import ClipReader, EncodedRow
from tests.support.feature_sources import Table
from tests.support.rows import make_clip


@pytest.fixture
def rows(tiny, tmp_path):
    clips = []
    for name, question, media in (("a", "joy?", True), ("b", "What does this person feel?", False)):
        path = tmp_path / f"{name}.mp4"
        clips.append(make_clip(name, question=question, video=path if media else None))
    reader = ClipReader(tiny.processor, Table({"a": tiny.features(1)}))
    return reader, reader.read(clips)


@pytest.mark.parametrize("lead", ["", "this person feels "])
def test_every_label_alone(tiny, rows, lead):
    reader, read = rows
    model = tiny.model().train()
    labels = [lead + label for label in ("joy", "anger, fear", "surprise", "this person feels nothing")]
    shared = len(reader.tokenizer(lead, add_special_tokens=False)["input_ids"]) if lead else 0
    assert len(split_lead(reader.tokenizer, labels)[0]) >= shared - 1  # the last space may belong to the label
    found = score_labels(model, reader, read, labels)
    assert model.training
    model.eval()
    assert found.shape == (2, 4)
    for row, scores in zip(read, found, strict=True):
        for label, score in zip(labels, scores, strict=True):
            ids = reader.tokenizer(label, add_special_tokens=False)["input_ids"]
            whole = EncodedRow(row.id, [*row.prompt_ids, *ids], [], row.inputs, row.per_token)
            with torch.no_grad():
                logits = model(**prompt_batch([whole], 0)).logits[0].log_softmax(-1)
            counted = len(ids) - len(split_lead(reader.tokenizer, labels)[0])
            expected = logits[-len(ids) - 1 : -1].gather(-1, torch.tensor(ids)[:, None])[-counted:].sum()
            torch.testing.assert_close(score, expected, rtol=0, atol=1e-5)


def test_a_label_that_others_begin_with_keeps_a_token_to_score(tiny):
    tokenizer = tiny.processor.tokenizer
    for labels in (["joy", "joy joy joy"], ["joy", "joy"], ["joy"]):
        lead, rests = split_lead(tokenizer, labels)
        assert all(rests)
        for label, rest in zip(labels, rests, strict=True):
            assert [*lead, *rest] == tokenizer(label, add_special_tokens=False)["input_ids"]


def test_a_prompt_is_read_once_whatever_the_number_of_labels(tiny, rows):
    reader, read = rows
    model = tiny.model()
    tokens: list[int] = []
    model.model.register_forward_pre_hook(
        lambda _, __, kwargs: tokens.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    single = score_labels(model, reader, read, ["joy", "fear"], batch_size=1)
    assert len(tokens) == 4
    longest = max(len(reader.tokenizer(label, add_special_tokens=False)["input_ids"]) for label in ("joy", "fear"))
    assert tokens == [value for row in read for value in (len(row.prompt_ids) - 1, 2 * longest)]
    together = score_labels(model, reader, read, ["joy", "fear"])
    assert len(tokens) == 6
    torch.testing.assert_close(single, together, rtol=0, atol=1e-5)
    assert score_labels(model, reader, [], ["joy"]).shape == (0, 1)
