"""Rows to batches: padded, joined, packed."""

from __future__ import annotations

import pytest
import torch

from affectgpt.inputs.batch import IGNORED, join_inputs, packed_batch, pad, prompt_batch, supervised_batch
from affectgpt.inputs.reader import EncodedRow


def test_padding():
    assert pad([[5, 6, 7], [8]], 0, "right").tolist() == [[5, 6, 7], [8, 0, 0]]
    assert pad([[5, 6, 7], [8]], 0, "left").tolist() == [[5, 6, 7], [0, 0, 8]]
    assert pad([[5], [8]], 9, "left", width=3).tolist() == [[9, 9, 5], [9, 9, 8]]


ONE = EncodedRow("one", [1, 2], [3], {"x": torch.ones(1, 2)}, {"kind": [7, 7]})
TWO = EncodedRow("two", [4], [5, 6], {}, {"kind": [8]})
THREE = EncodedRow("three", [7], [8], {"x": torch.zeros(2, 2), "y": torch.ones(1, 3)}, {})


def test_supervised_rows():
    batch = supervised_batch([ONE, TWO, THREE], 0)
    assert batch["input_ids"].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 3], [IGNORED, 5, 6], [IGNORED, 8, IGNORED]]
    assert batch["kind"].tolist() == [[7, 7, 0], [8, 0, 0], [0, 0, 0]]
    assert batch["x"].tolist() == [[1, 1], [0, 0], [0, 0]]
    assert batch["y"].tolist() == [[1, 1, 1]]


def test_prompts():
    batch = prompt_batch([ONE, TWO], 0)
    assert batch["input_ids"].tolist() == [[1, 2], [0, 4]]
    assert batch["attention_mask"].tolist() == [[1, 1], [0, 1]]
    assert batch["kind"].tolist() == [[7, 7], [0, 8]]
    assert "labels" not in batch


def test_packs():
    batch = packed_batch([[ONE, TWO], [THREE]], 0)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5, 6], [7, 8, 0, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 2], [0, 1, 0, 1, 2, 3]]
    assert batch["labels"].tolist() == [
        [IGNORED, IGNORED, 3, IGNORED, 5, 6],
        [IGNORED, 8, IGNORED, IGNORED, IGNORED, IGNORED],
    ]
    # With neither a mask nor a cache, transformers tells rows apart by their positions.
    assert "attention_mask" not in batch
    assert batch["use_cache"] is False
    assert batch["x"].tolist() == [[1, 1], [0, 0], [0, 0]]


def test_inputs_that_do_not_fit_name_both_rows():
    other = EncodedRow("other", [1], [2], {"x": torch.ones(1, 5)})
    with pytest.raises(ValueError, match=r"x: row one has shape \(2,\), row other \(5,\)"):
        join_inputs([ONE, TWO, other])
