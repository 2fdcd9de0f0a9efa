"""The model that an adapter adapts is found from wherever the adapter is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from affectgpt.model.adapters import base_of
from affectgpt.problems import InputError


def test_the_model_of_an_adapter_is_found_from_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, adapter = tmp_path / "runs/cache/base-1", tmp_path / "runs/mine/checkpoints/emotion"
    elsewhere = tmp_path / "elsewhere"
    for folder in (base, adapter, elsewhere):
        folder.mkdir(parents=True)
    settings = {"base_model_name_or_path": "runs/cache/base-1"}
    monkeypatch.chdir(tmp_path)
    assert Path(base_of(adapter, settings)).resolve() == base.resolve()  # where the run was started
    monkeypatch.chdir(elsewhere)
    assert base_of(adapter, settings) == base
    monkeypatch.chdir(adapter)
    assert Path(base_of(Path(), settings)).resolve() == base.resolve()


def test_a_hub_id_stays_one_and_a_path_at_which_nothing_is_is_refused(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    assert base_of(tmp_path, {"base_model_name_or_path": "owner/name"}) == "owner/name"
    assert base_of(tmp_path / "adapter", {"base_model_name_or_path": "name"}) == "name"
    with pytest.raises(InputError, match="nothing at"):
        base_of(tmp_path, {"base_model_name_or_path": "./lost"})
