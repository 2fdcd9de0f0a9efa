"""Packs: full, whole, and to the model the same as rows in a batch of their own."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from affectgpt.clip import Clip
from affectgpt.inputs.batch import packed_batch, supervised_batch
from affectgpt.problems import InputError
from tests.support.rows import make_clip
from train.stages.packing import draw_packs, pack
from train.stages.sft import SftStage


def log_normal(count: int, seed: int = 0) -> dict[int, int]:
    """Lengths as those of instruction data are spread."""
    drawn = np.random.default_rng(seed).lognormal(5.0, 0.8, count)
    return {row: int(length) for row, length in enumerate(np.clip(drawn, 8, 2048))}


def test_packs_hold_every_row_once_and_no_more_than_fits():
    lengths = log_normal(2000)
    packs = pack(range(2000), lengths, 2048, 0)
    assert sorted(row for rows in packs for row in rows) == list(range(2000))
    assert max(sum(lengths[row] for row in rows) for rows in packs) <= 2048
    useful = sum(lengths.values()) / (2048 * len(packs))
    assert useful >= 0.95
    assert pack(range(2000), lengths, 2048, 0) == packs
    assert pack(range(2000), lengths, 2048, 1) != packs


def test_rows_stay_near_their_place():
    lengths = log_normal(4000)
    packs = pack(range(4000), lengths, 1024 + 1024, 0)
    first = {row for rows in packs[: len(packs) // 4] for row in rows}
    assert max(first) < 1600


class Reader:
    """Lengths by row."""

    def lengths(self, clips: list[Clip]) -> list[int]:
        return [clip.extra["length"] for clip in clips]


def stage(**settings: object) -> SftStage:
    fixed = {"name": "a", "kind": "sft", "steps": 20, "batch_size": 4, "learning_rate": 1e-3, "packing": 128}
    return SftStage(**(fixed | {"mixture": {"text": 0.75, "caption": 0.25}} | settings))


def clips(lengths: dict[int, int]) -> list[Clip]:
    tasks = ("text", "caption", "tree")
    return [make_clip(f"r{row}", task=tasks[row % 3], extra={"length": length}) for row, length in lengths.items()]


def test_a_stage_gets_as_many_packs_as_it_wants_in_its_mixture():
    rng = np.random.default_rng(0)
    rows = clips({row: int(rng.integers(5, 60)) for row in range(300)})
    packs = draw_packs(stage(), rows, Reader(), 0)  # type: ignore[arg-type]
    assert len(packs) == 80
    tasks = Counter(rows[row].task for pack in packs for row in pack)
    assert set(tasks) == {"text", "caption"}
    assert tasks["text"] / tasks.total() == pytest.approx(0.75, abs=0.03)


def test_rows_longer_than_a_pack_are_named_together():
    rows = clips({0: 20, 1: 200, 2: 500, 3: 129})
    with pytest.raises(InputError) as caught:
        draw_packs(stage(), rows, Reader(), 0)  # type: ignore[arg-type]
    text = str(caught.value)
    assert "row r1: 200 tokens" in text
    assert "row r3: 129 tokens" in text
    assert "r2" not in text  # of a task that the stage does not read
    assert "Raise stages.a.packing to 200" in text


def test_a_row_as_long_as_a_pack_is_one():
    rows = clips(dict.fromkeys(range(6), 128))
    packs = draw_packs(stage(), rows, Reader(), 0)  # type: ignore[arg-type]
    assert {len(pack) for pack in packs} == {1}
    assert len(packs) == 80
    assert pack([0, 1, 2], {0: 64, 1: 64, 2: 128}, 128, 0) in ([[2], [0, 1]], [[0, 1], [2]])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_and_padded_batches_have_equal_losses_and_gradients(tiny, attention):
    questions = ["joy?", "What does this person feel?", "Explain step by step what this person feels."]
    rows = []
    for index in range(7):
        has = [{}, {"audio": False}, {"face": False}][index % 3]
        features = {} if index == 5 else tiny.features(index, **has)
        rows.append(tiny.row(questions[index % 3], "joy, anger"[: 3 + 6 * (index % 2)], features, f"r{index}"))
    results = []
    pad = tiny.processor.tokenizer.pad_token_id
    for batch in (supervised_batch(rows, pad), packed_batch([rows[:4], rows[4:]], pad), packed_batch([rows], pad)):
        model = tiny.model().train()
        model.set_attn_implementation({"text_config": attention})
        loss = model(**batch).loss
        loss.backward()
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        results.append((loss.detach(), gradients))
    (loss, gradients), *packed = results
    assert gradients
    for other_loss, others in packed:
        torch.testing.assert_close(other_loss, loss, rtol=0, atol=1e-5)
        assert others.keys() == gradients.keys()
        for name, value in gradients.items():
            torch.testing.assert_close(others[name], value, rtol=0, atol=1e-5, msg=name)
