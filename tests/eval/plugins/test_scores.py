"""Evidence of any kind is scored by the answer type of its rows, beside the best constant; figures by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from affectgpt.clip import Clip
from affectgpt.evidence.evidence import Evidence
from affectgpt.evidence.kinds.cause import CauseEvidence
from affectgpt.evidence.kinds.dimensions import DimensionEvidence
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.kinds.intensities import IntensityEvidence
from affectgpt.evidence.kinds.units import UnitEvidence
from affectgpt.problems import InputError
from affectgpt.tasks import TASKS, Task
from eval.metrics.recognition import ccc, js_divergence, kl_divergence, macro_f1, pearson, weighted_f1
from eval.plugins.scores import describe, score_evidence


@pytest.fixture(autouse=True)
def unspoken(monkeypatch):
    """Tasks of the answer types that no task of the table has yet."""
    monkeypatch.setitem(TASKS, "voices", Task(answer="intensities", title="Voices"))
    monkeypatch.setitem(TASKS, "readers", Task(answer="distribution", title="Readers"))
    monkeypatch.setitem(TASKS, "arousal", Task(answer="number", title="Arousal"))


def row(task: str, answer: Any, group: str | None = None) -> Clip:
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "-"}]
    return Clip(id=f"{task} {answer} {group}", messages=turns, task=task, answer=answer, group=group)


def emotion(*values: float) -> EmotionEvidence:
    return EmotionEvidence(("a", "b", "c"), values)


def test_labels():
    rows = [row("emotion_label", label, f"g{index}") for index, label in enumerate("aabbA")]
    evidence = [emotion(0.9, 0.1, 0), emotion(0.2, 0.7, 0.1), emotion(0, 1, 0), emotion(0, 0.1, 0.9), None]
    scores = score_evidence(rows, evidence)
    gold, said = np.array([0, 0, 1, 1, 0]), np.array([0, 1, 1, 2, 3])
    assert (scores["n"], scores["coverage"]) == (5, 0.8)
    assert scores["accuracy"] == pytest.approx(0.4)
    assert scores["macro_f1"] == pytest.approx(0.5)  # a: 2 of 1 + 3; b: 2 of 2 + 2
    assert scores["weighted_f1"] == pytest.approx(weighted_f1(gold, said, 3))
    assert scores["macro_f1"] > macro_f1(gold, said, 3)  # c is never right, and no class here
    assert scores["recall_at"] == {"1": 0.4, "3": 0.8, "5": 0.8}
    assert scores["baseline"]["answer"] == "a"
    assert scores["baseline"]["accuracy"] == pytest.approx(0.6)
    assert scores["baseline"]["macro_f1"] == pytest.approx(0.375)
    assert scores["intervals"]["accuracy"]["low"] < 0.4 < scores["intervals"]["accuracy"]["high"]
    assert scores["intervals"]["macro_f1"]["value"] == pytest.approx(0.5)
    strong = [IntensityEvidence({"a": 5, "b": 1})] * 5
    scores = score_evidence(rows, strong)
    assert scores["accuracy"] == pytest.approx(0.6)
    assert "ece" not in scores


def test_sets_of_units():
    rows = [row("expression_multi", units) for units in (["AU1"], ["AU1", "AU2"], ["AU4"], ["AU2"])]
    probabilities = [(0.9, 0.1, 0.1), (0.9, 0.6, 0.2), (0.7, 0.1, 0.9)]
    evidence = [UnitEvidence(dict(zip(("AU1", "AU2", "AU4"), values, strict=True))) for values in probabilities]
    scores = score_evidence(rows, [*evidence, None])
    assert scores["coverage"] == 0.75
    assert scores["macro_f1"] == pytest.approx(np.mean([4 / 5, 2 / 3, 1]))
    assert scores["example_f1"] == pytest.approx(np.mean([1, 1, 2 / 3, 0]))
    assert scores["baseline"]["answer"] == ["au1", "au2", "au4"]
    assert scores["baseline"]["macro_f1"] == pytest.approx(np.mean([4 / 6, 4 / 6, 2 / 5]))


def test_numbers():
    gold, said = np.array([0.1, -0.5, 0.9, 0.3]), np.array([0.2, -0.2, 0.8])
    rows = [row("valence", float(value), f"g{index}") for index, value in enumerate(gold)]
    evidence = [DimensionEvidence({"valence": float(value)}, {"valence": (-1, 1)}) for value in said]
    scores = score_evidence(rows, [*evidence, None])
    assert (scores["n"], scores["coverage"]) == (4, 0.75)
    assert scores["ccc"] == pytest.approx(ccc(gold[:3], said))
    assert scores["pearson"] == pytest.approx(pearson(gold[:3], said))
    assert scores["mae"] == pytest.approx(np.abs(gold[:3] - said).mean())
    assert scores["baseline"] == {"answer": pytest.approx(0.2), "ccc": 0.0, "pearson": None, "mae": pytest.approx(0.4)}
    assert "each" not in scores
    assert describe(scores).splitlines()[0] == "4 rows, 75.0 % answered"
    assert f"mae {scores['mae']:.3f} [" in describe(scores)
    assert "constant 0.400" in describe(scores)


def test_numbers_of_several_tasks_are_not_mixed():
    ranges = {"valence": (-1, 1), "arousal": (1, 9)}
    rows = [row("valence", value / 4) for value in range(4)] + [row("arousal", value + 2) for value in range(4)]
    evidence: list[Evidence] = [
        DimensionEvidence({"valence": value / 4, "arousal": 9 - value}, ranges) for value in range(4)
    ]
    scores = score_evidence(rows, evidence * 2)
    assert scores["each"]["valence"]["pearson"]["value"] == pytest.approx(1)
    assert scores["each"]["arousal"]["pearson"]["value"] == pytest.approx(-1)
    assert scores["pearson"] == pytest.approx(0)
    assert scores["baseline"]["answer"] == {"valence": 0.375, "arousal": 3.5}


def test_intensities():
    gold = [{"joy": 8, "fear": 0}, {"joy": 2, "fear": 4}, {"joy": 4}]
    said = [{"joy": 6.0, "fear": 1.0}, {"Joy": 2.0}, {"joy": 5.0, "fear": 9.0}]
    evidence = [IntensityEvidence(values) for values in said]
    scores = score_evidence([row("voices", values) for values in gold], evidence)
    assert scores["coverage"] == pytest.approx(4 / 5)
    assert scores["each"]["joy"]["mae"]["value"] == pytest.approx(1.0)
    assert scores["each"]["fear"]["mae"]["value"] == pytest.approx(1.0)
    assert scores["each"]["joy"]["pearson"]["value"] == pytest.approx(pearson(np.array([8, 2, 4]), np.array([6, 2, 5])))
    assert scores["each"]["fear"]["pearson"]["value"] is None
    assert scores["pearson"] == pytest.approx(scores["each"]["joy"]["pearson"]["value"], abs=1e-6)
    assert scores["baseline"]["answer"] == {"joy": 4.0, "fear": 2.0}
    assert scores["baseline"]["mae"] == pytest.approx(2.0)


def test_distributions():
    gold = [{"a": 0.5, "b": 0.5, "c": 0.0}, {"a": 0.2, "b": 0.0, "c": 0.8}]
    rows = [row("readers", shares) for shares in gold]
    scores = score_evidence(rows, [emotion(0.6, 0.3, 0.1), None])
    right, given = np.array([[0.5, 0.5, 0]]), np.array([[0.6, 0.3, 0.1]])
    assert scores["coverage"] == 0.5
    assert scores["js"] == pytest.approx(js_divergence(right, given)[0])
    assert scores["kl"] == pytest.approx(kl_divergence(right, given)[0])
    assert scores["accuracy"] == 1.0
    assert scores["baseline"]["answer"] == {"a": pytest.approx(0.35), "b": 0.25, "c": 0.4}


@pytest.mark.parametrize(
    ("rows", "evidence", "said"),
    [
        ([row("caption", "A man.")], emotion(1, 0, 0), r"got caption \(text\). Choose with --tasks"),
        ([row("valence", 0.1), row("emotion_label", "a")], emotion(1, 0, 0), r"got valence \(number\), emotion_label"),
        ([row("emotion_label", "a")], CauseEvidence(), "evidence of kind cause gives no answer to task emotion_label"),
    ],
)
def test_rows_that_evidence_cannot_answer(rows, evidence, said):
    with pytest.raises(InputError, match=said):
        score_evidence(rows, [evidence] * len(rows))


def test_rows_of_a_speaker_who_are_answered_alike_make_no_interval_narrower():
    def figures(metrics: dict[str, Any]) -> dict[str, list[float]]:
        return {name: [metric[part] for part in ("value", "low", "high")] for name, metric in metrics.items()}

    labels = [row("emotion_label", label, f"g{index}") for index, label in enumerate("aabbca")]
    guesses = [emotion(0.9, 0.1, 0), emotion(0.2, 0.7, 0.1), emotion(0, 1, 0)] * 2
    once, often = (score_evidence(labels * copies, guesses * copies)["intervals"] for copies in (1, 5))
    assert once["accuracy"]["low"] < once["accuracy"]["high"]
    assert figures(often) == figures(once)

    voices = [row("voices", {"joy": index, "fear": 8 - index}, f"g{index}") for index in range(6)]
    strengths = [IntensityEvidence({"joy": joy, "fear": 9 - joy}) for joy in (1, 0, 3, 2, 5, 9)]
    once, often = (score_evidence(voices * copies, strengths * copies) for copies in (1, 5))
    assert once["each"]["joy"]["mae"]["low"] < once["each"]["joy"]["mae"]["high"]
    for name in ("joy", "fear"):
        one, many = figures(once["each"][name]), figures(often["each"][name])
        assert many == {figure: pytest.approx(values, abs=2e-6) for figure, values in one.items()}


def test_a_plugin_that_reads_none_of_the_rows_is_scored_all_the_same():
    scores = score_evidence([row("emotion_label", "a"), row("emotion_label", "b")], [None, None])
    assert (scores["coverage"], scores["accuracy"]) == (0.0, 0.0)
    assert score_evidence([row("valence", 0.1)], [None])["mae"] is None


@pytest.mark.parametrize("right", [True, False])
def test_macro_f1_has_an_interval_at_both_ends(right: bool) -> None:
    rows = [row("emotion_label", "ab"[index % 2]) for index in range(8)]
    values = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    evidence = [EmotionEvidence(("a", "b", "c"), values[index % 2 if right else 1 - index % 2]) for index in range(8)]
    found = score_evidence(rows, evidence)["intervals"]["macro_f1"]
    assert found["value"] == right
    assert found["high"] - found["low"] > 0.2
