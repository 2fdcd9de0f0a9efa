"""Cards of our plugins: parameters from shapes alone are those of what is trained."""

from __future__ import annotations

import json

import pytest
import torch

from affectgpt.plugins.card import card_of
from affectgpt.plugins.cause.moments import ClipCauseModel
from affectgpt.plugins.command import card_main, train_main
from affectgpt.plugins.plugin import load_plugin
from affectgpt.problems import InputError
from tests.support.rows import write_data


def test_the_head_of_minilm_by_hand(minilm, capsys):
    assert card_main(["emotion", "--set", f"encoder={minilm}", "labels=7", "features=100", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    parts = card.pop("parameters")
    assert card == {
        **{"name": "emotion", "kind": "emotion", "learns_from": ["dialogue", "emotion_label"], "reads": ["words"]},
        **{"paper": "HEF (arXiv 2402.11801); its head is ESCM's (EMNLP Findings 2023)", "licence": "Apache-2.0"},
        "status": "tested",
    }
    assert parts["encoder"] == 22_713_216
    assert parts["head"] == 2 * (384 * 384 + 384) + 384 + 384 * 7 + 7
    assert parts["tfidf"] == 7 * 101
    assert parts["total"] == sum(parts.values()) - parts["total"]


@pytest.mark.parametrize("name", ["emotion", "cause"])
def test_the_card_of_a_trained_plugin_counts_what_it_holds(name, tmp_path):
    data = write_data(tmp_path / "data.jsonl", 60)
    more = ["--encoder", "scratch", "--set", "epochs=1"] if name == "emotion" else []
    train_main([name, "--data", str(data), "--out", str(tmp_path / name), *more])
    parts = card_of(str(tmp_path / name))["parameters"]
    plugin = load_plugin(tmp_path / name)
    if name == "emotion":
        held = sum(parameter.numel() for parameter in plugin.network.parameters())  # type: ignore[attr-defined]
        assert parts["encoder"] + parts["head"] == held
        assert parts["tfidf"] == plugin.tfidf.weights.size  # type: ignore[attr-defined]
    else:
        assert parts["counts"] == plugin.model.counts.size  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="a trained plugin, whose sizes are fixed"):
        card_of(str(tmp_path / name), ["labels=3"])


def test_nothing_is_allocated(monkeypatch):
    made = []
    fill = torch.nn.init.kaiming_uniform_
    monkeypatch.setattr(
        torch.nn.init, "kaiming_uniform_", lambda tensor, **more: made.append(tensor) or fill(tensor, **more)
    )
    parts = ClipCauseModel.parameters(labels=1000, face=20_000, frame=0, audio=30_000)
    assert parts["face"] == 2 * (20_000**2 + 20_000) + 20_000 + 1000 * 20_000 + 1000
    assert set(parts) == {"face", "audio"}
    assert made
    assert all(tensor.is_meta for tensor in made)


def test_a_card_for_people(capsys):
    assert card_main(["clip_cause", "--set", "labels=6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "clip_cause"
    assert "  reads        video, audio, face" in lines
    assert "  status       tested" in lines


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("emotions", [], "unknown plugin 'emotions'. Did you mean 'emotion'"),
        ("emotion", ["label=3"], "--set label: unknown setting of plugin 'emotion'. Did you mean 'labels'"),
        ("cause", ["labels=many"], "--set labels of plugin 'cause': expected a valid integer"),
        ("emotion", ["encoder=no/such/folder"], "encoder: no/such/folder: expected 'scratch', 'minilm', or the folder"),
    ],
)
def test_what_is_wrong_is_said(name, given, said):
    with pytest.raises(InputError, match=said):
        card_of(name, given)


def test_a_setting_that_is_given_twice_is_refused() -> None:
    """The last would win without a word."""
    with pytest.raises(InputError, match="--set: 'labels': expected a setting given once, got several values"):
        card_main(["clip_cause", "--set", "labels=6", "labels=7"])
