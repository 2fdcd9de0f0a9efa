"""Folders of a machine in configurations: found wherever they stand, and nothing else is."""

from __future__ import annotations

import copy

import pytest

from affectgpt.weights.portable import forget_folders, is_hub_id


@pytest.mark.parametrize(
    ("config", "left"),
    [
        ({"_name_or_path": "/data/me/model", "a": 1}, {"a": 1}),
        ({"name_or_path": "./model"}, {}),
        ({"name_or_path": "C:\\models\\mine"}, {}),
        ({"sources": {"vision": {"id": "/data/tower", "hash": "x"}}}, {"sources": {"vision": {"hash": "x"}}}),
        ({"text_config": {"_name_or_path": "../llm"}}, {"text_config": {}}),
        ({"layers": [{"origin": "/mnt/disk/weights"}]}, {"layers": [{}]}),
        ({"tokenizer_file": "/data/me/tokenizer.json", "pad": "/"}, {"pad": "/"}),
        ({"cache": "~/models", "url": "file:///data/me"}, {}),
    ],
)
def test_folders_are_forgotten(config, left):
    assert forget_folders(config)
    assert config == left
    assert not forget_folders(config)


@pytest.mark.parametrize(
    "config",
    [
        {"_name_or_path": "Qwen/Qwen3-8B", "sources": {"llm": {"id": "Qwen/Qwen3-8B", "revision": None}}},
        {"eos_token": "</s>", "sep": "/", "pattern": "/s", "chat_template": "/home\n{{ messages }}"},
        {"_name_or_path": "", "sources": None, "layers": [1, 2], "dtype": "float32"},
        {"sources": {"vision": None}},
    ],
)
def test_nothing_else_is(config):
    before = copy.deepcopy(config)
    assert not forget_folders(config)
    assert config == before


def test_a_folder_that_is_there_is_no_model_of_the_hub(tmp_path, monkeypatch):
    (tmp_path / "user" / "model").mkdir(parents=True)
    assert is_hub_id("user/model")
    monkeypatch.chdir(tmp_path)
    assert not is_hub_id("user/model")
