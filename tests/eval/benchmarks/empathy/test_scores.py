"""The controls of a language model with plugins: a model whose answers are known, and the real command."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace

import pytest

from affectgpt.clip import Clip, write_clips
from affectgpt.empathy.two_stage import Decision, Selection
from affectgpt.evidence.cues import Cues
from affectgpt.evidence.kinds.emotion import EmotionEvidence
from affectgpt.evidence.shortlist import shortlist
from affectgpt.inputs.reader import ClipReader
from affectgpt.problems import InputError
from eval.benchmarks.empathy.command import main
from eval.benchmarks.empathy.scores import conditions, describe, evaluate, require_evidence
from tests.support.feature_sources import NoMedia

LABELS = tuple("abcdefgh")


def row(place: int, truth: str, likeliest: str, **values: object) -> Clip:
    evidence = EmotionEvidence(LABELS, tuple(0.3 if label == likeliest else 0.1 for label in LABELS))
    turns = [
        {"role": "user", "content": "I am fine now, thanks to my brother"},
        {"role": "assistant", "content": f"Emotion: {truth}\nResponse: I see."},
    ]
    fixed = {"messages": turns, "task": "dialogue", "answer": truth, "options": list(LABELS), "group": f"g{place // 2}"}
    return Clip(**{**fixed, "id": str(place), "evidence": {"emotion": evidence.to_json()}, **values})  # type: ignore[arg-type]


@pytest.fixture
def rows():
    """The plugin is right of three rows in four."""
    return [row(place, LABELS[place % 8], LABELS[(place + (place % 4 == 3)) % 8]) for place in range(80)]


@pytest.fixture
def reader(tiny):
    return ClipReader(tiny.processor, NoMedia(), cues=Cues(top=1))


def believer(model, reader, clips, selection, batch_size, max_new_tokens, respond):
    """Says what is likeliest, 'h' without evidence; every tenth answer is outside the format."""
    found = []
    for place, clip in enumerate(clips):
        emotions = shortlist(clip, reader.cues)
        label = emotions.first[0] if emotions.first else "h"
        readable = place % 10 or not emotions.first
        stage = 1 if emotions.first and readable else None
        found.append(Decision(label if readable else None, f"({label})", stage, "I see." if respond else None))
    return found


def test_every_condition(rows, reader, monkeypatch):
    monkeypatch.setattr("eval.benchmarks.empathy.scores.decide", believer)
    report = evaluate(None, reader, rows, Selection("prompt"), resamples=200)
    scored = {name: found["accuracy"]["value"] for name, found in report["conditions"].items()}
    assert list(scored) == ["plugin", "no_plugin", "oracle", "random_emotions"]
    right = [place % 4 != 3 and place % 10 != 0 for place in range(80)]
    assert scored["plugin"] == pytest.approx(sum(right) / 80)
    assert scored["no_plugin"] == 1 / 8
    assert scored["oracle"] == pytest.approx(0.9)
    assert scored["random_emotions"] < 0.3
    assert report["plugin"]["accuracy"] == 0.75
    assert report["baselines"]["always a"]["accuracy"]["value"] == 1 / 8
    found = report["conditions"]["plugin"]
    assert found["coverage"]["value"] == pytest.approx(0.9)
    assert found["accuracy_substring"]["value"] == pytest.approx(0.75)  # what stands there, read or not
    assert (found["stage1_rate"]["value"], found["fallback_rate"]["value"]) == (1.0, 0.0)
    assert found["fallback_accuracy"]["value"] is None
    assert "stage1_rate" not in report["conditions"]["no_plugin"]
    assert report["conditions"]["no_plugin"]["coverage"]["value"] == 1.0
    over = report["over_no_plugin"]
    assert over["plugin"]["low"] > 0.3
    assert over["oracle"]["value"] == pytest.approx(0.9 - 1 / 8)
    assert set(report["responses"]) == {"plugin", "no_plugin"}
    assert report["responses"]["plugin"]["dist1"] == pytest.approx(3 / 240)
    text = describe(report)
    assert "oracle               0.900 [" in text
    assert "first: share of rows decided among the first emotions" in text
    assert "responses, no_plugin: dist1" in text


def likeliest(model, reader, clips, *_):
    """Says what is likeliest, 'h' without evidence, and answers as the row does; the emotions come from stage 2."""
    firsts = [shortlist(clip, reader.cues).first for clip in clips]
    responses = [clip.target.partition("Response: ")[2] or None for clip in clips]
    return [
        Decision(first[0] if first else "h", "", 2 if first else None, response)
        for first, response in zip(firsts, responses, strict=True)
    ]


def test_rows_of_a_dialogue_that_are_all_alike_make_no_interval_narrower(rows, reader, monkeypatch):
    monkeypatch.setattr(inspect.getmodule(evaluate), "decide", likeliest)

    def found(count, grouped):
        many = [
            replace(clip, id=f"{place:02}.{number}", group=f"{place:02}" if grouped else None)
            for place, clip in enumerate(rows[:20])
            for number in range(count)
        ]
        report = evaluate(None, reader, many, Selection("prompt"), resamples=300)
        scores = {**report["conditions"]["plugin"], "over": report["over_no_plugin"]["plugin"]}
        return {name: [metric[part] for part in ("value", "low", "high")] for name, metric in scores.items()}

    one, many = found(1, False), found(5, True)
    assert one["accuracy"][1] < one["accuracy"][2]
    assert many == one


def test_rates_of_the_stages_are_of_rows_that_had_one(rows, reader, monkeypatch):
    def in_turn(model, reader, clips, *_):
        """Decided in stage 1, twice in stage 2, of which once wrongly, and not at all."""
        stages = [(1, 2, 2, None)[place % 4] for place in range(len(clips))]
        said = [(clip.answer, clip.answer, "z", None)[place % 4] for place, clip in enumerate(clips)]
        return [Decision(emotion, "", stage) for emotion, stage in zip(said, stages, strict=True)]

    monkeypatch.setattr(inspect.getmodule(evaluate), "decide", in_turn)
    found = evaluate(None, reader, rows, Selection("prompt"), resamples=20)["conditions"]["plugin"]
    rates = [found[name]["value"] for name in ("stage1_rate", "fallback_rate", "fallback_accuracy", "coverage")]
    assert rates == [pytest.approx(1 / 3, abs=1e-6), pytest.approx(2 / 3, abs=1e-6), 0.5, 0.75]


def test_responses_are_held_against_those_of_their_own_rows(rows, reader, monkeypatch):
    monkeypatch.setattr(inspect.getmodule(evaluate), "decide", likeliest)

    def told(place, clip):
        response = f"\nResponse: I see how number {place} of your many days went by." if place % 2 else ""
        return replace(clip, messages=[clip.messages[0], {"role": "assistant", "content": f"Emotion: a{response}"}])

    half = [told(place, clip) for place, clip in enumerate(rows[:8])]
    report = evaluate(None, reader, half, Selection("prompt"), resamples=20)
    assert report["responses"]["plugin"]["bleu"] == pytest.approx(1)


def test_every_kind_of_evidence_has_a_control(rows, reader, monkeypatch):
    cause = {"kind": "cause", "words": [{"turn": 0, "start": 28, "end": 35, "text": "brother", "weight": 1.0}]}
    face = {"kind": "units", "probabilities": {"AU1": 0.9, "AU12": 0.1}}
    more = [replace(clip, evidence={"face": face, "cause": cause, **(clip.evidence or {})}) for clip in rows]
    given = conditions(more, Cues(top=1))
    names = ["plugin", "no_plugin", "oracle", "random_emotions", "random_causes", "random_units"]
    assert list(given) == names
    for name, changed in (("random_causes", "cause"), ("random_units", "face"), ("random_emotions", "emotion")):
        carried = [(clip.evidence or {}) for clip in given[name]]
        kept = [{key: value for key, value in evidence.items() if key != changed} for evidence in carried]
        before = [{key: value for key, value in (clip.evidence or {}).items() if key != changed} for clip in more]
        assert [list(one) for one in kept] == [list(one) for one in before]
        assert sum(one[changed] != (clip.evidence or {})[changed] for one, clip in zip(carried, more, strict=True)) > 40
    assert {clip.evidence["face"]["probabilities"]["AU12"] for clip in given["random_units"]} == {0.9}
    monkeypatch.setattr("eval.benchmarks.empathy.scores.decide", believer)
    report = evaluate(None, reader, more[:16], Selection("prompt"), resamples=20, examples=1)
    assert list(report["conditions"]) == names
    assert set(report["responses"]) == {"plugin", "no_plugin", "random_causes", "random_units"}
    assert report["conditions"]["random_causes"] == report["conditions"]["plugin"]
    assert report["examples"][0]["evidence"] == ["a 0.30", "causes: brother", "units: AU1 0.90"]


def test_the_situation_is_shown_beside(rows, reader, monkeypatch):
    shown = []

    def watch(model, reader, clips, *rest):
        shown.append((clips[0].evidence is not None, reader.cues.situation))
        return believer(model, reader, clips, *rest)

    monkeypatch.setattr("eval.benchmarks.empathy.scores.decide", watch)
    told = [replace(clip, situation="It was so.") for clip in rows]
    report = evaluate(None, reader, told, Selection(), resamples=50)
    assert list(report["conditions"])[-2:] == ["plugin_situation", "no_plugin_situation"]
    assert shown[-2:] == [(True, True), (False, True)]
    assert all(not situation for _, situation in shown[:-2])
    assert not reader.cues.situation


def test_conditions_are_drawn_from_a_seed(rows):
    assert conditions(rows, Cues(top=1), 3) == conditions(rows, Cues(top=1), 3)
    assert conditions(rows, Cues(top=1), 3)["random_emotions"] != conditions(rows, Cues(top=1), 4)["random_emotions"]


def test_rows_that_no_condition_can_be_made_of(rows):
    with pytest.raises(InputError, match="1 of 80 have none, such as 5"):
        require_evidence([*rows[:5], replace(rows[5], evidence=None), *rows[6:]], "rows.jsonl")
    with pytest.raises(InputError, match="got none"):
        require_evidence([], "rows.jsonl")


def test_the_command(rows, tiny, tmp_path, capsys, minilm):
    folder = tmp_path / "model"
    tiny.model().save_pretrained(folder)
    tiny.processor.save_pretrained(folder)
    file = tmp_path / "rows.jsonl"
    write_clips(file, rows[:8])
    arguments = [str(file), "--model", str(folder), "--max-new-tokens", "4", "--device", "cpu"]
    assert main([*arguments, "--text-model", minilm, "--json", "--set", "top=2", "fusion=0.5"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["settings"] == {
        **{"mode": "score", "margin": 0.0, "fusion": 0.5},
        **{"top": 2, "causes": 3, "situation": False},
    }
    assert report["n"] == 8
    assert report["conditions"]["plugin"]["coverage"]["value"] == 1
    assert "similarity" in report["responses"]["plugin"]
    assert main([*arguments, "--set", "mode=prompt"]) == 0
    assert "The plugin itself: accuracy 0.750" in capsys.readouterr().out
    with pytest.raises(InputError) as caught:
        main([*arguments, "--set", "tops=1", "mode=guess", "fusion=much"])
    assert len(caught.value.problems) == 3
