"""Scores of emotion plugins, by hand and through the commands."""

from __future__ import annotations

import json

import numpy as np
import pytest

from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.plugins.command import train_main
from affectgpt.problems import InputError
from eval.metrics.calibration import calibration_error, score_emotions
from eval.plugins.command import main
from tests.support.rows import write_data

LABELS = ("a", "b", "c", "d")


def evidence(*values: float) -> EmotionEvidence:
    return EmotionEvidence(LABELS, values)


def test_figures_by_hand():
    pieces = [evidence(0.7, 0.1, 0.1, 0.1), evidence(0.4, 0.3, 0.2, 0.1), evidence(0.1, 0.2, 0.3, 0.4), None]
    scores = score_emotions(pieces, ["a", "b", "a", "a"])
    assert (scores["n"], scores["accuracy"]) == (4, 0.25)
    assert scores["recall_at"] == {"1": 0.25, "3": 0.5, "5": 0.75}
    # a: said twice, once rightly, of three; b: never said.
    assert scores["macro_f1"] == pytest.approx((2 * 0.5 * (1 / 3) / (0.5 + 1 / 3)) / 2)
    assert scores["ece"] == pytest.approx((0.3 + 0.4 + 0.4) / 3)  # 0.4 and 0.4 are wrong and share a bin
    assert score_emotions([None, pieces[0]], ["a", "a"])["ece"] == pytest.approx(0.3)  # of those with evidence
    with pytest.raises(InputError, match="gold: e: expected a label of the plugin"):
        score_emotions(pieces[:1], ["e"])


def test_calibration_error():
    assert calibration_error(np.array([0.9] * 10), np.array([1.0] * 9 + [0.0])) == pytest.approx(0)
    assert calibration_error(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == pytest.approx(0.5)
    assert calibration_error(np.array([]), np.array([])) == 0


def test_train_and_eval(tmp_path, capsys):
    train = write_data(tmp_path / "train.jsonl")
    out = tmp_path / "plugin"
    given = ["emotion", "--data", str(train), "--out", str(out), "--encoder", "scratch", "--set", "epochs=8", "--json"]
    assert train_main(given) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 120
    assert main([str(out), "--data", str(train), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    figures = {"n", "accuracy", "recall_at", "macro_f1", "ece"}
    assert set(scores) == figures | {"coverage", "weighted_f1", "intervals", "baseline"}
    assert set(scores["recall_at"]) == {"1", "3", "5"}
    assert scores["accuracy"] > 0.8
    (tmp_path / "other.jsonl").write_text('{"context": ["x"], "emotion": "joyfull"}\n')
    with pytest.raises(InputError, match=r"expected a label of the plugin, got joyfull\. Did you mean 'joyful'"):
        main([str(out), "--data", str(tmp_path / "other.jsonl")])
