"""Sentences on a report: each stands only where the figures carry it."""

from __future__ import annotations

from typing import Any

import pytest

from eval.report.findings import findings


def metric(value: float, low: float, high: float, n: int = 40) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n}


def report(*stages: dict[str, Any], **parts: Any) -> dict[str, Any]:
    return {"stages": list(stages), "data": {"test": {"rows": 40, "clips": 40, "actors": 12}}, **parts}


def stage(name: str, taught: tuple[str, ...] = ("emotion_label",), **metrics: Any) -> dict[str, Any]:
    return {"name": name, "answers_clips": True, "taught": list(taught), "metrics": metrics}


def against_constant(value: float, constant: float, low: float, high: float, name: str) -> str:
    found = report(
        stage("one", emotion_label_accuracy=metric(value, value - 0.1, value + 0.1), valence_mae=metric(value, 0, 1)),
        baselines={"constant answer": {name: metric(constant, 0.1, 0.3)}},
        comparisons={"constant answer": {name: metric(value - constant, low, high)}, "stages": []},
    )
    found["stages"][0]["taught"].append("valence")
    (sentence,) = findings(found)
    return sentence


@pytest.mark.parametrize(
    ("value", "constant", "low", "high", "expected"),
    [
        (0.9, 0.2, 0.5, 0.8, "The difference is more than chance (+70.0 points, 95 %: +50.0 to +80.0)."),
        (0.3, 0.2, 0.05, 0.2, "It goes only 12.5 % of the way from there to 100 %."),
        (0.3, 0.2, -0.1, 0.2, "No difference can be seen"),
        (0.3, 0.2, 0.0, 0.2, "No difference can be seen"),  # an interval that touches zero
        (0.1, 0.2, -0.2, -0.05, "The model is worse than that"),
    ],
)
def test_a_score_is_held_against_the_constant_answer(
    value: float, constant: float, low: float, high: float, expected: str
) -> None:
    sentence = against_constant(value, constant, low, high, "emotion_label_accuracy")
    assert sentence.startswith(
        f"Emotion label: right (WAR): {100 * value:.1f} %; always giving the most frequent answer"
    )
    assert expected in sentence
    assert ("way from there" in sentence) == (expected.startswith("It goes"))


def test_a_smaller_error_is_a_better_score() -> None:
    assert "more than chance" in against_constant(0.2, 0.5, -0.4, -0.2, "valence_mae")
    assert "worse than that" in against_constant(0.5, 0.2, 0.2, 0.4, "valence_mae")


def test_what_was_not_taught_is_not_judged() -> None:
    found = report(
        stage("one", ("tree",), emotion_label_accuracy=metric(0.0, 0.0, 0.0)),
        baselines={"constant answer": {"emotion_label_accuracy": metric(0.2, 0.1, 0.3)}},
        comparisons={"constant answer": {"emotion_label_accuracy": metric(-0.2, -0.3, -0.1)}},
    )
    assert findings(found) == []


def test_stages_are_compared_on_the_same_clips() -> None:
    steps = [
        {"first": "one", "second": "two", "differences": {"emotion_label_accuracy": metric(0.1, 0.05, 0.2)}},
        {"first": "two", "second": "three", "differences": {"emotion_label_accuracy": metric(-0.1, -0.2, -0.05)}},
        {"first": "three", "second": "four", "differences": {"emotion_label_accuracy": metric(0.1, -0.05, 0.2)}},
        {"first": "four", "second": "five", "differences": {}},
    ]
    better, worse, same = findings(report(stage("five", x=metric(0, 0, 0)), comparisons={"stages": steps}))
    assert better.startswith(
        "Stage two against one, on the same clips: better: Emotion label: right (WAR) (+10.0 points"
    )
    assert "worse: Emotion label: right (WAR) (−10.0 points" in worse
    assert same.startswith("Stage four against three: no difference can be seen")


@pytest.mark.parametrize(("speakers", "warned"), [(0, False), (1, True), (9, True), (10, False)])
def test_few_speakers_are_warned_of(speakers: int, warned: bool) -> None:
    data = {"test": {"rows": 5, "actors": speakers}}
    assert any("Few speakers" in sentence for sentence in findings({"stages": [], "data": data})) == warned


def empathy(plugin: float, told: dict[str, Any], random: dict[str, Any], gain: dict[str, Any]) -> list[str]:
    conditions = {
        "plugin": told,
        "no_plugin": metric(0.4, 0.3, 0.45),
        "random_emotions": random,
        "random_causes": random,
    }
    found = {
        "conditions": {name: {"accuracy": value} for name, value in conditions.items()},
        "over_no_plugin": {"plugin": gain, "random_causes": metric(random["value"] - 0.4, 0, 0)},
        "plugin": {"accuracy": plugin},
    }
    return findings({"stages": [{"name": "kind", "answers_clips": False, "metrics": {}, "empathy": found}]})


def test_a_plugin_alone_is_held_against_the_model_with_it() -> None:
    told, gain = metric(0.54, 0.48, 0.57), metric(0.14, 0.05, 0.2)
    helps, alone, causes = empathy(0.58, told, metric(0.55, 0.5, 0.6), gain)
    assert helps.endswith("(+14.0 points, 95 %: +5.0 to +20.0): plugins help.")
    assert alone.endswith("loses some of what its plugin knows.")
    assert causes.endswith("no difference can be seen, so the gain is not shown to be owed to the causes.")
    assert "+15.0 points, with the plugin's own +14.0" in causes
    assert "no difference can be seen" in empathy(0.56, told, metric(0.55, 0.5, 0.6), gain)[1]
    assert empathy(0.4, told, metric(0.42, 0.4, 0.45), gain)[1].endswith("together they know more.")
    assert empathy(0.4, told, metric(0.42, 0.4, 0.45), gain)[2].endswith("true ones do better.")
    assert empathy(0.4, told, metric(0.5, 0.4, 0.6), metric(0.1, -0.1, 0.2))[0].endswith("no difference can be seen.")


def test_modalities_are_compared_where_ablations_were_run() -> None:
    whole = stage("one", ("tree",), emotion_uar=metric(0.99, 0.97, 1.0))
    alone = {
        "video_only": {"emotion_uar": metric(0.48, 0.4, 0.56)},
        "audio_only": {"emotion_uar": metric(0.43, 0.3, 0.5)},
    }
    (sentence,) = findings(report(whole, ablations=alone))
    expected = (
        "Emotion (UAR) by modality: 99.0 % with all, 48.0 with pictures, 43.0 with sound alone; no single modality"
    )
    assert sentence == f"{expected} is enough."
    alone["audio_only"] = {"emotion_uar": metric(0.96, 0.9, 0.99)}
    assert "at least one of them alone does as well" in findings(report(whole, ablations=alone))[0]
    assert findings(report(whole, ablations={"no_curriculum": {"emotion_uar": metric(0.5, 0.4, 0.6)}})) == []


def test_a_report_of_v0_1_0_has_no_comparisons_and_no_sentences() -> None:
    old = {"stages": [{"name": "one", "kind": "sft", "metrics": {"emotion_uar": metric(0.5, 0.4, 0.6)}}]}
    assert findings(old) == []


def test_intervals_that_could_not_be_computed_show_no_difference() -> None:
    told = {"value": 0.5, "low": None, "high": None, "n": 1}
    assert all("no difference can be seen" in sentence for sentence in empathy(0.9, told, told, told))
    found = report(
        stage("one", emotion_label_accuracy=told),
        baselines={"constant answer": {"emotion_label_accuracy": told}},
        comparisons={"constant answer": {"emotion_label_accuracy": {**told, "value": 0.0}}},
    )
    assert "No difference can be seen" in findings(found)[0]


def test_one_speaker_gives_no_intervals_and_the_sentences_say_so() -> None:
    one = {"value": 0.4, "low": None, "high": None, "n": 7, "groups": 1}
    found = report(
        stage("one", emotion_label_accuracy=one),
        baselines={"constant answer": {"emotion_label_accuracy": {**one, "value": 0.1}}},
        comparisons={"constant answer": {"emotion_label_accuracy": {**one, "value": 0.3}}, "stages": []},
    )
    found["data"]["test"]["actors"] = 1
    few, constant = findings(found)
    assert "1 person. Nothing tells how another would score, so there are no intervals;" in few
    assert "No difference can be seen (+30.0 points, without an interval)" in constant
