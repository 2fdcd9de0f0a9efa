"""The part of the report about plugins: every figure, every text escaped."""

from __future__ import annotations

from typing import Any

from eval.report.empathy import empathy
from eval.report.html import render_template


def metric(value: float | None) -> dict:
    low, high = (None, None) if value is None else (value - 0.05, value + 0.05)
    return {"value": value, "low": low, "high": high, "n": 40}


def scores(accuracy: float, stage1: float | None = None) -> dict:
    found = {"accuracy": metric(accuracy), "macro_f1": metric(0.4321), "coverage": metric(1.0)}
    return found if stage1 is None else {**found, "stage1_rate": metric(stage1)}


FOUND = {
    "n": 40,
    "plugin": {"accuracy": 0.5678, "recall_at": {"1": 0.5678, "3": 0.789, "5": 0.9}},
    "conditions": {"plugin": scores(0.612, 0.876), "no_plugin": scores(0.345), "other": scores(0.1, 1.0)},
    "over_no_plugin": {"plugin": metric(0.267), "other": metric(None)},
    "responses": {"plugin": {"dist1": 0.0321, "bleu": 0.1234}},
    "examples": [
        {
            "id": "d<1>",
            "turns": ["I am <b>fine</b>", "Really?"],
            "first": ["sad", "angry"],
            "causes": ["fine"],
            "truth": "sad",
            "said": {
                "plugin": {"emotion": "sad", "response": "Oh <i>no</i>"},
                "no_plugin": {"emotion": None, "response": None},
                "oracle": {"emotion": "sad", "response": None},
            },
        }
    ],
}


def section(found: dict[str, Any]) -> str:
    return render_template("empathy.html.j2", empathy=empathy(found))


def test_all_of_it():
    page = section(FOUND)
    for shown in ("56.8 %", "78.9 %", "61.2", "+26.7", "+21.7 to +31.7", "87.6", "43.2", "3.2", "12.3"):
        assert shown in page, shown
    assert "I am &lt;b&gt;fine&lt;/b&gt;" in page
    assert "Oh &lt;i&gt;no&lt;/i&gt;" in page
    assert "d&lt;1&gt;" in page
    assert page.count("✓") == 1
    assert page.count("✗") == 1
    assert "Plugins: sad, angry; causes: fine" in page
    assert "<svg" in page


def test_what_plugins_say_of_an_example_is_shown_kind_by_kind():
    example = {**FOUND["examples"][0], "evidence": ["sad 0.60, angry 0.20", "units: AU<12> 0.90"]}
    page = section({**FOUND, "examples": [example]})
    assert "Plugins: sad 0.60, angry 0.20; units: AU&lt;12&gt; 0.90" in page


def test_without_responses_and_examples():
    page = section({**FOUND, "responses": {}, "examples": []})
    assert "Responses" not in page
    assert "card" not in page
