"""Plugins go to the GPU of their process, where there is one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from affectgpt.evidence.dialogue import rows_with_emotion
from affectgpt.plugins.cause.moments import train_head
from affectgpt.plugins.emotion.plugin import EmotionModel
from affectgpt.plugins.parts.device import plugin_device
from affectgpt.plugins.plugin import load_plugin, save_plugin
from tests.support.rows import write_data


@pytest.mark.parametrize(("rank", "index"), [(None, 0), ("1", 1), ("5", 1)])
def test_the_gpu_of_this_process(monkeypatch, rank, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("LOCAL_RANK", rank)
    assert plugin_device() == torch.device("cuda", index)


def test_without_a_gpu_it_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert plugin_device() == torch.device("cpu")


def test_models_are_made_where_plugins_run(monkeypatch):
    """The meta device stands for a GPU: what is made lies there, whoever makes it."""
    monkeypatch.setattr("affectgpt.plugins.emotion.plugin.plugin_device", lambda: torch.device("meta"))
    monkeypatch.setattr("affectgpt.plugins.cause.moments.plugin_device", lambda: torch.device("meta"))
    from affectgpt.plugins.parts.text_encoders import ScratchEncoder

    model = EmotionModel(["a", "b"], ScratchEncoder(["word"]), None, {})
    assert {parameter.device.type for parameter in model.network.parameters()} == {"meta"}
    head = train_head([torch.ones(3, 4)] * 2, torch.tensor([0, 1]), 2, epochs=1)
    assert {parameter.device.type for parameter in head.parameters()} == {"meta"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_plugin_of_the_gpu_says_the_same_on_the_cpu(tmp_path, monkeypatch):
    rows = rows_with_emotion(write_data(tmp_path / "data.jsonl", 60))
    model = EmotionModel.fit(rows, encoder="scratch", epochs=2)
    save_plugin(model, tmp_path / "saved")
    there = [item.probabilities for item in model.predict(rows) if item]
    monkeypatch.setattr("affectgpt.plugins.emotion.plugin.plugin_device", lambda: torch.device("cpu"))
    here = [item.probabilities for item in load_plugin(tmp_path / "saved").predict(rows) if item]  # type: ignore[attr-defined]
    np.testing.assert_allclose(there, here, atol=1e-4)
